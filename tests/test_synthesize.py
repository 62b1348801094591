"""Noising one's own images as users do: what is written, that runs continue, and one clear line for what goes wrong."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

import Crop_SIDD
import main_synthesize
from data.crop import find_jobs
from data.folders import ImageJob, Target, plan_scenes
from data.sidd import find_crops, find_misnamed, find_scenes, parse_scene
from inference import load_neca
from noise.camera import drawn
from noise.gains import GainBank, bank_path, write_bank
from noise.interface import Images
from noise.kinds import KINDS, Sources
from noise.strengths import Interval
from options.synthesize import synthesize_options
from synthesis.strengths import strengths_of
from tests.conftest import ROOT, contents, read_csv, wait_until
from tests.noisy_set import CAMERA, make_weights, scene, with_noise
from tests.refusal import refused
from tests.test_pipeline import camera, photograph
from utils.command import run_command
from utils.image import encode_image, read_image, read_photo, write_image

BANK = GainBank(CAMERA, "", {800: [("a", 0.03), ("b", 0.04)], 3200: [("c", 0.1)]})


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Weights of camera ZZ and their gain bank -> --pretrain_dir."""
    root = make_weights(tmp_path_factory.mktemp("weights"))
    write_bank(bank_path(root / CAMERA), BANK)
    return root


@pytest.fixture
def root(tmp_path, weights) -> Path:
    """Three images, one of them in a folder."""
    for number, name in enumerate(("b.png", "a.jpg", "trip/c d.tif")):
        write_image(tmp_path / "in" / name, scene(24 + 8 * number, seed=number))
    (tmp_path / "weights").symlink_to(weights)
    return tmp_path


def arguments(root: Path, *more: str, out: str = "out") -> list[str]:
    folders = {"--input_dir": root / "in", "--output_dir": root / out, "--pretrain_dir": root / "weights"}
    words = [str(word) for option in folders.items() for word in option]
    return [*words, "--cam_name", CAMERA, "--device", "cpu", "--num_workers", "0", *map(str, more)]


def run(root: Path, *more: str, out: str = "out", code: int = 0) -> dict[str, bytes]:
    """Run the command -> the files it has written, by name."""
    assert main_synthesize.main(arguments(root, *more, out=out)) == code
    return contents(root / out)


def images(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name not in ("manifest.csv", "synthesis.json")}


def rows(root: Path, out: str = "out") -> list[dict[str, str]]:
    return read_csv(root / out / "manifest.csv")


def refuse(root: Path, capsys, *more: str, out: str = "out") -> str:
    """Run the command as from the shell -> its only line of error; the output folder stays as it was."""
    before = contents(root / out)
    message = refused(capsys, main_synthesize.main, arguments(root, *more, out=out))
    assert contents(root / out) == before
    return message


def failed(root: Path, capsys, *more: str) -> list[str]:
    """Run the command where some images fail and the three good ones do not -> its lines about the failures."""
    made = run(root, *more, code=1)
    assert {"a.png", "b.png", "trip/c d.png"} <= made.keys()
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]


# --- what it writes ---


def test_output_is_the_generators_of_the_manifests_row(root):
    run(root, "--per_image", "2", "--seed", "7")
    model = load_neca(root / "weights", CAMERA)
    written = rows(root)
    assert len(written) == 6
    for row in written:
        clean = read_image(root / "in" / row["input"])
        key = f"{row['input']} {row['draw']}"
        expected = model.synthesize(clean, float(row["gain"]), seed=int(row["seed"]), key=key)
        assert np.array_equal(read_image(root / "out" / row["output"]), expected)


def test_manifest_names_camera_weights_and_the_image_of_the_gain(root):
    assert images(run(root)).keys() == {"a.png", "b.png", "trip/c d.png"}
    files = [root / "weights" / CAMERA / f"checkpoint_{letter}.pth" for letter in ("G1", "G2")]
    expected = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    named = dict(BANK.of_iso(None))
    for row in rows(root):
        assert (row["camera"], row["weights_sha256"], row["noise_level"]) == (CAMERA, expected, "")
        assert named[row["gain_from"]] == float(row["gain"])
    assert [row["input"] for row in rows(root)] == ["a.jpg", "b.png", "trip/c d.tif"]


def test_draws_of_an_image_have_numbers_and_differ(root):
    files = images(run(root, "--per_image", "3", "--gain", "0.05"))
    assert {"a_00.png", "a_01.png", "a_02.png", "trip/c d_02.png"} < files.keys()
    assert len(set(files.values())) == 9


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp", "webp", "jpg"])
def test_format_is_as_asked_for(root, kind):
    run(root, "--format", kind)
    clean = read_image(root / "in" / "b.png")
    expected = load_neca(root / "weights", CAMERA).synthesize(clean, float(rows(root)[1]["gain"]), key="b.png 0")
    written = read_image(root / "out" / f"b.{kind}").astype(int)
    assert np.abs(written - expected).max() == 0 if kind != "jpg" else np.abs(written - expected).mean() < 4


def test_jpeg_has_the_quality_asked_for(root, capsys):
    usual, low = (
        images(run(root, "--format", "jpg", *more, out=f"out{len(more)}")) for more in ((), ("--jpg_quality", "60"))
    )
    with PIL.Image.open(io.BytesIO(low["b.jpg"])) as made, PIL.Image.open(io.BytesIO(usual["b.jpg"])) as before:
        # Annex K's tables of ISO 10918-1, whose first entry is 16, scaled by 2 - quality / 50.
        assert made.quantization[0][0] == round(16 * (2 - 60 / 50)) and before.quantization[0][0] == round(16 * 0.1)
    assert "--jpg_quality: only with --format jpg" in refuse(root, capsys, "--jpg_quality", "60", out="other")
    assert "jpg_quality" in refuse(root, capsys, "--format", "jpg", "--jpg_quality", "50", out="out2")


def test_16_bit_image_stays_16_bit_when_asked(root):
    values = np.random.default_rng(0).integers(15000, 45000, (24, 40, 3), np.uint16)
    write_image(root / "in" / "deep.png", values)
    run(root, "--keep_16bit", "--gain", "0.05")
    written = read_photo(root / "out" / "deep.png").pixels
    clean = torch.from_numpy(values / 65535).permute(2, 0, 1).float()
    expected = load_neca(root / "weights", CAMERA).synthesize(clean, 0.05, key="deep.png 0").permute(1, 2, 0).numpy()
    assert written.dtype == np.uint16
    assert np.abs(written - expected.clip(0, 1) * 65535.0).max() < 0.6  # rounding, and the last bit of single precision
    assert read_photo(root / "out" / "b.png").pixels.dtype == np.uint8


def test_16_bit_image_is_rounded_first_otherwise_and_that_is_said(root, capsys):
    values = np.random.default_rng(0).integers(15000, 45000, (24, 40, 3), np.uint16)
    write_image(root / "in" / "deep.png", values)
    run(root, "--gain", "0.05")
    clean = np.floor(values / 257 + 0.5).astype(np.uint8)
    expected = load_neca(root / "weights", CAMERA).synthesize(clean, 0.05, key="deep.png 0")
    assert np.array_equal(read_photo(root / "out" / "deep.png").pixels, expected)
    assert "note: 16-bit, rounded to 8 bit (--keep_16bit keeps them): deep.png" in capsys.readouterr().out


def test_grey_images_are_said_once_for_all(root, capsys):
    for name in "xyz":
        cv2.imwrite(str(root / "in" / f"{name}.png"), scene()[..., 0])
    run(root, "--per_image", "2")
    assert "note: grey, repeated in three channels: x.png and 2 more\n" in capsys.readouterr().out


def test_other_files_are_counted_and_hidden_ones_passed_over(root, capsys):
    for name in ("notes.txt", "raw.dng", "other.DNG", ".hidden.png", "._b.png"):
        (root / "in" / name).write_bytes(b"x")
    assert len(images(run(root))) == 3
    told = capsys.readouterr().out
    assert "note: not read as images: 2 .dng, 1 .txt\n" in told
    assert f"note: {root / 'in'}: .dng is not read: other.DNG, raw.dng; convert to PNG or TIFF to use\n" in told


# --- what the randomness depends on ---


def test_noise_follows_from_seed_name_and_draw_alone(root):
    whole = images(run(root, "--per_image", "2"))
    alone = root / "alone"
    (alone / "in" / "trip").mkdir(parents=True)
    shutil.copy(root / "in" / "trip" / "c d.tif", alone / "in" / "trip")
    (alone / "weights").symlink_to(root / "weights")
    some = images(run(alone, "--per_image", "2", "--num_workers", "2", "--tile", "16"))
    assert some.keys() == {"trip/c d_00.png", "trip/c d_01.png"}
    assert some == {name: whole[name] for name in some}


def test_equal_images_of_different_names_and_seeds_get_different_noise(root):
    shutil.copy(root / "in" / "b.png", root / "in" / "e.png")
    first = images(run(root, "--gain", "0.05"))
    other = images(run(root, "--gain", "0.05", "--seed", "1", out="other"))
    assert len({first["b.png"], first["e.png"], other["b.png"], other["e.png"]}) == 4


@pytest.mark.parametrize("tile", [8, 64, 0])
def test_tile_changes_at_most_the_rounding_of_a_value_on_the_edge(root, tile):
    """Convolutions of other sizes add up in another order: 1e-7, which can turn over a value that is nearly k + 0.5."""
    write_image(root / "in" / "large.png", scene(100, 130))
    run(root)
    run(root, "--tile", tile, out="tiled")
    one, other = (read_image(root / out / "large.png").astype(int) for out in ("out", "tiled"))
    difference = np.abs(one - other)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 3  # of 39,000; about 255 * 1e-7 of them are expected


def test_half_precision_changes_the_noise_little_and_is_part_of_the_settings(root):
    run(root)
    run(root, "--half", "--channels_last", out="half")
    one, other = (read_image(root / out / "b.png").astype(int) for out in ("out", "half"))
    assert 0 < np.abs(one - other).mean() < 0.2  # noise of some 10 grey levels with 11 bits
    with pytest.raises(ValueError, match="was begun with half True"):
        run(root, out="half")


def test_threads_do_not_change_the_bytes(root):
    assert run(root, "--per_image", "3") == run(root, "--per_image", "3", "--num_workers", "3", out="threads")


# --- where the gain comes from ---


def genet(root: Path, path: Path) -> float:
    return load_neca(root / "weights", CAMERA).estimate_gain(read_image(path))


def test_gain_is_that_of_the_noisy_image_of_the_same_name(root):
    noisy = {"a.jpg": "a.png", "b.png": "b.png", "trip/c d.tif": "trip/c d.bmp"}
    for number, (name, partner) in enumerate(noisy.items()):
        write_image(root / "noisy" / partner, with_noise(read_image(root / "in" / name), 10 + 10 * number))
    write_image(root / "noisy" / "b.tif", scene(8, 8))  # not the very same name
    run(root, "--noisy_dir", root / "noisy", "--per_image", "2")
    gains = {row["input"]: float(row["gain"]) for row in rows(root)}
    assert len(set(gains.values())) == 3
    for name, partner in noisy.items():
        assert gains[name] == pytest.approx(genet(root, root / "noisy" / partner), rel=1e-5)


def test_gain_is_drawn_from_those_of_a_folder_of_noisy_images(root):
    for number in range(3):
        write_image(root / "shots" / f"{number}.png", with_noise(scene(32, 32), 5 + 10 * number))
    run(root, "--gain_from", root / "shots", "--per_image", "10")
    seen = {row["gain_from"]: float(row["gain"]) for row in rows(root)}
    assert seen.keys() == {str(root / "shots" / f"{number}.png") for number in range(3)}  # missed by 3 (2/3)^30
    for path, gain in seen.items():
        assert gain == pytest.approx(genet(root, Path(path)), rel=1e-5)
    run(root, "--gain_from", root / "shots" / "1.png", out="one")
    assert {row["gain"] for row in rows(root, "one")} == {repr(seen[str(root / "shots" / "1.png")])}


def test_noise_is_like_that_of_one_photograph(root, capsys):
    made = photograph(camera(), 128, 1)
    clean, noisy = ((image[0] * 255).round().byte().permute(1, 2, 0).numpy() for image in (made.clean, made.noisy))
    write_image(root / "photo.png", noisy)
    shutil.rmtree(root / "in")
    write_image(root / "in" / "a.png", clean)
    words = ["--input_dir", str(root / "in"), "--output_dir", str(root / "out"), "--num_workers", "0", "--like"]
    assert main_synthesize.main([*words, str(root / "photo.png")]) == 0
    fake = read_image(root / "out" / "a.png")
    difference = {name: image.astype(float) - clean for name, image in {"fake": fake, "real": noisy}.items()}
    ratio = difference["fake"].std((0, 1)) / difference["real"].std((0, 1))
    assert abs(ratio - 1).max() < 0.1
    assert rows(root)[0]["camera"] == "like photo.png"
    for more, expected in {
        ("--layout", "sidd"): "--camera_code: missing",
        (): "x.png: no such file; change --like",
        ("--model", "neca-w"): "--like: not with --model neca-w",
        ("--cam_name", "S6"): "--cam_name: not with --like",
        ("--iso", "800"): "--iso: not with --like",
    }.items():
        assert expected in refused(capsys, main_synthesize.main, [*words, "x.png", *more])


def test_gains_of_one_iso_are_chosen(root):
    run(root, "--iso", "3200", "--per_image", "4")
    assert {row["gain"] for row in rows(root)} == {"0.1"}
    run(root, "--iso", "800", "--per_image", "8", out="other")
    assert {row["gain"] for row in rows(root, "other")} == {"0.03", "0.04"}


@pytest.mark.parametrize("is_gain, low, high", [(True, 0.01, 0.64), (False, 5.0, 50.0)])
def test_gains_of_an_interval_are_log_uniform_and_noise_levels_uniform(is_gain, low, high):
    job = ImageJob("a.png", Path("a.png"), tuple(Target(draw, f"{draw}.png") for draw in range(1000)))
    drawn = strengths_of(job, Interval(low, high, log=is_gain, digits=6), (8, 8, 3), seed=0)
    values = np.array([one.numbers.item() for one in drawn])
    shares = np.log(values / low) / np.log(high / low) if is_gain else (values - low) / (high - low)
    assert (shares.min() >= -1e-4) and (shares.max() <= 1 + 1e-4)  # gains have a few digits
    for share in (0.25, 0.5, 0.75):
        assert np.mean(shares < share) == pytest.approx(share, abs=4 * (share * (1 - share) / 1000) ** 0.5)


def test_neca_s_has_the_level_asked_for_and_needs_only_ncnet(root, tmp_path):
    (tmp_path / "only" / CAMERA).mkdir(parents=True)
    shutil.copy(root / "weights" / CAMERA / "checkpoint_G2.pth", tmp_path / "only" / CAMERA)
    run(root, "--NeCA_type", "S", "--pretrain_dir", tmp_path / "only")
    assert {(row["noise_level"], row["gain"]) for row in rows(root)} == {("25", "")}
    expected = load_neca(tmp_path / "only", CAMERA).synthesize(scene(seed=0), noise_level=25, key="b.png 0")
    assert np.array_equal(read_image(root / "out" / "b.png"), expected)


# --- pairs for training ---


def test_scenes_are_taken_by_the_cropper_and_the_training(root):
    run(root, "--layout", "sidd", "--iso", "3200", "--per_image", "2")
    scenes = find_scenes(root / "out")
    assert [parse_scene(path.name).instance for path in scenes] == ["0001", "0002", "0003"]
    assert {(parse_scene(path.name).camera, parse_scene(path.name).iso) for path in scenes} == {(CAMERA, 3200)}
    jobs, problems = find_jobs(scenes, root / "crops")
    assert len(jobs) == 6
    assert problems + find_misnamed(root / "out") == []
    words = ["--source", root / "out", "--target", root / "crops", "--num_workers", "0"]
    assert Crop_SIDD.main([*map(str, words)]) == 0
    for path, name in zip(find_scenes(root / "crops", CAMERA), ("a.jpg", "b.png", "trip/c d.tif")):
        crops = find_crops(path)
        assert [noisy.name[4:] for _, noisy in crops] == [f"_NOISY_SRGB_01{frame}_00001.png" for frame in (0, 1)]
        for clean, noisy in crops:
            assert np.array_equal(read_image(clean), read_image(root / "in" / name))
            assert not np.array_equal(read_image(noisy), read_image(clean))


def test_scene_pairs_have_the_noise_of_the_plain_layout(root):
    plain = images(run(root, "--gain", "0.05", "--per_image", "2"))
    run(root, "--gain", "0.05", "--per_image", "2", "--layout", "sidd", "--camera_code", "Q7", out="pairs")
    for row, before in zip(rows(root, "pairs"), rows(root)):
        assert row["output"].endswith(f"NOISY_SRGB_{10 + int(row['draw']):03d}.PNG")
        assert "_Q7_00000_" in row["clean"]
        assert (root / "pairs" / row["output"]).read_bytes() == plain[before["output"]]


@pytest.mark.parametrize("model", ["pipeline", "neca-w"])
def test_scene_has_the_noise_of_the_iso_in_its_name(tmp_path, model):
    for number in range(8):
        write_image(tmp_path / "in" / f"{number}.png", scene(seed=number))
    words = ["--cam_name", "GP", "--model", model, "--layout", "sidd", "--num_workers", "0"]
    words += ["--input_dir", tmp_path / "in", "--output_dir", tmp_path / "out", "--per_image", "2"]
    assert main_synthesize.main([*map(str, words)]) == 0
    noise = KINDS[model].make(Sources(folder=str(ROOT / "pretrain"), camera="GP"))
    isos = [parse_scene(path.name).iso for path in find_scenes(tmp_path / "out")]
    assert len(isos) == 8 and len(set(isos)) > 2 and set(isos) <= set(noise.isos)
    for row in rows(tmp_path):
        iso = parse_scene(row["output"].split("/")[0]).iso
        image = Images(torch.zeros(1, 3, 8, 8), isos=[iso])
        expected = drawn(noise.of_iso(iso), image, 0, f"{row['input']} {row['draw']}").numbers[0].tolist()
        found = row["gain"] if model == "neca-w" else row["strength"]
        assert [float(number) for number in found.split()] == pytest.approx(np.atleast_1d(expected), rel=1e-6)


def test_scene_numbers_do_not_move_when_an_image_comes_before(root, capsys):
    run(root, "--layout", "sidd")
    write_image(root / "in" / "Z last.png", scene())  # upper case comes first
    assert "the input images have changed" in refuse(root, capsys, "--layout", "sidd")


def test_image_that_cannot_be_read_keeps_its_scene_number(root, capsys):
    (root / "in" / "b.png").write_bytes(b"")
    run(root, "--layout", "sidd", code=1)
    assert [path.name[:4] for path in find_scenes(root / "out")] == ["0001", "0003"]
    write_image(root / "in" / "b.png", scene())
    run(root, "--layout", "sidd")
    assert [path.name[:4] for path in find_scenes(root / "out")] == ["0001", "0002", "0003"]


# --- stopping and going on ---


def stop_after(monkeypatch, count: int, error: BaseException) -> None:
    """Let the writing of the output after `count` others fail."""
    from utils.files import write_bytes

    left = [count]

    def stopping(path, content):
        if not left[0]:
            raise error
        left[0] -= 1
        write_bytes(path, content)

    monkeypatch.setattr("synthesis.run.write_bytes", stopping)


@pytest.mark.parametrize("layout", ["plain", "sidd"])
@pytest.mark.parametrize("count", [0, 3])
def test_interrupted_run_continues_to_the_same_bytes(root, monkeypatch, layout, count):
    words = ("--per_image", "2", "--layout", layout)
    expected = run(root, *words, out="whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, count, KeyboardInterrupt())
        run(root, *words)
    if count > 1:
        assert len(rows(root)) == (count // 2 if layout == "sidd" else count)
    (root / "out" / ".b.123.tmp.png").write_bytes(b"of a killed process")
    assert run(root, *words) == expected


def test_killed_process_continues_to_the_same_bytes(root):
    words = [*arguments(root, "--per_image", "40"), "--num_workers", "2"]
    expected = run(root, "--per_image", "40", out="whole")
    process = subprocess.Popen([sys.executable, "main_synthesize.py", *words], cwd=ROOT, stderr=subprocess.DEVNULL)
    manifest = root / "out" / "manifest.csv"
    wait_until(lambda: manifest.exists() and manifest.read_bytes().count(b"\n") >= 10, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run(root, "--per_image", "40") == expected


@pytest.mark.usefixtures("heard_signals")
def test_ctrl_c_ends_the_process_soon_without_a_traceback_or_leftovers(root):
    words = [*arguments(root, "--per_image", "2000"), "--num_workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "main_synthesize.py", *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    manifest = root / "out" / "manifest.csv"
    wait_until(manifest.exists, process)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 130
    assert error.endswith("interrupted\n")
    assert "Traceback" not in error
    assert not list((root / "out").rglob("*.tmp*"))


def test_manifest_cut_short_within_a_line_is_mended(root):
    expected = run(root)
    manifest = root / "out" / "manifest.csv"
    manifest.write_bytes(expected["manifest.csv"][:-30])
    assert run(root) == expected


def test_complete_run_does_nothing_again(root, monkeypatch, capsys):
    run(root)
    stop_after(monkeypatch, 0, AssertionError())
    run(root)
    assert "0 of 3 images" in capsys.readouterr().out


def test_missing_or_emptied_output_is_made_again_and_a_new_input_added(root):
    expected = run(root)
    (root / "out" / "a.png").unlink()
    (root / "out" / "b.png").write_bytes(b"")
    assert run(root) == expected
    write_image(root / "in" / "new.png", scene())
    again = run(root)
    assert again.keys() - expected.keys() == {"new.png"}
    assert {name: again[name] for name in images(expected)} == images(expected)


def test_output_of_another_image_is_not_taken_for_this_ones(root, capsys):
    run(root)
    (root / "in" / "b.png").rename(root / "in" / "b.tif")
    message = refuse(root, capsys)
    assert "b.png: was made of b.png, now it would be of another image" in message


def test_output_whose_image_is_gone_stays_in_the_manifest(root):
    before = run(root)
    (root / "in" / "b.png").unlink()
    after = run(root)
    assert images(after) == images(before)
    assert [row["input"] for row in rows(root)] == ["a.jpg", "trip/c d.tif", "b.png"]


@pytest.mark.parametrize("changed", [time.time() + 5, 1e9], ids=["newer", "older, moved or unpacked over the input"])
def test_output_of_a_changed_image_is_made_again_whatever_its_date(root, changed):
    before = run(root)
    write_image(root / "in" / "b.png", scene(seed=9))
    os.utime(root / "in" / "b.png", (changed, changed))
    after = images(run(root))
    assert {name for name in after if before[name] != after[name]} == {"b.png"}


@pytest.mark.parametrize("date", [1e9, 4e9], ids=["older", "in the future"])
def test_output_of_a_changed_noisy_image_is_made_again_and_any_other_but_once(root, monkeypatch, date):
    for name in ("a.jpg", "b.png", "trip/c d.tif"):
        write_image(root / "noisy" / name, with_noise(read_image(root / "in" / name), 10))
        os.utime(root / "noisy" / name, (4e9, 4e9))
    run(root, "--noisy_dir", root / "noisy")
    before = rows(root)
    write_image(root / "noisy" / "b.png", with_noise(read_image(root / "in" / "b.png"), 30))
    os.utime(root / "noisy" / "b.png", (date, date))
    run(root, "--noisy_dir", root / "noisy")
    assert {new["input"] for old, new in zip(before, rows(root)) if old["gain"] != new["gain"]} == {"b.png"}
    stop_after(monkeypatch, 0, AssertionError())
    run(root, "--noisy_dir", root / "noisy")


def test_manifest_of_an_older_version_is_continued(root, monkeypatch):
    run(root)
    manifest = root / "out" / "manifest.csv"
    manifest.write_text("".join(line.rpartition(",")[0] + "\n" for line in manifest.read_text().splitlines()))
    stop_after(monkeypatch, 0, AssertionError())
    run(root)


def test_images_without_a_manifest_bind_to_their_settings(root, capsys):
    """A kill can come between the first image and its row."""
    run(root)
    (root / "out" / "manifest.csv").unlink()
    with pytest.raises(ValueError, match="was begun with seed 0, not 5"):
        run(root, "--seed", "5")
    assert images(run(root)) == images(run(root, out="anew"))


@pytest.mark.parametrize(
    "words, named",
    [
        ("--seed 1", "seed 0, not 1"),
        ("--per_image 2", "per_image 1, not 2"),
        ("--format tiff", "format png, not tiff"),
        ("--gain 0.05", "gain none, not 0.05"),
        ("--gain 0.05:0.1", "gain none, not 0.05 0.1"),
        ("--iso 800", "iso none, not 800"),
        ("--keep_16bit", "keep_16bit False, not True"),
        ("--NeCA_type S", "NeCA_type W, not S"),
        ("--layout sidd", "layout plain, not sidd"),
    ],
)
def test_changed_option_is_refused_by_name(root, capsys, words, named):
    run(root)
    message = refuse(root, capsys, *words.split())
    assert f"was begun with {named}" in message
    assert "--output_dir" in message


def test_changed_weights_and_gains_are_refused(root, tmp_path, capsys):
    run(root)
    shutil.copytree(root / "weights" / CAMERA, tmp_path / "other" / CAMERA)
    write_bank(tmp_path / "other" / CAMERA / "gains.json", BANK._replace(gains={800: [("a", 0.031)]}))
    assert "gains_sha256" in refuse(root, capsys, "--pretrain_dir", str(tmp_path / "other"))
    path = tmp_path / "other" / CAMERA / "checkpoint_G2.pth"
    content = torch.load(path)
    torch.save(content | {"epoch": 2}, path)
    assert "weights_sha256" in refuse(root, capsys, "--pretrain_dir", str(tmp_path / "other"))


def test_changed_noisy_image_of_the_gain_is_refused(root, capsys):
    write_image(root / "shot.png", with_noise(scene(32, 32), 20))
    run(root, "--gain_from", root / "shot.png")
    write_image(root / "shot.png", with_noise(scene(32, 32), 21))
    assert "gains_sha256" in refuse(root, capsys, "--gain_from", str(root / "shot.png"))


def test_files_of_others_are_not_overwritten(root, capsys):
    write_image(root / "out" / "b.png", scene())
    assert "b.png: is there, but" in refuse(root, capsys)


def test_second_process_in_the_same_folder_is_refused(root, capsys):
    run(root)
    script = "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True); input()"
    words = [sys.executable, "-c", script, str(root / "out" / ".lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        assert "another process writes to it" in refuse(root, capsys)
        holder.communicate(b"\n")


# --- what goes wrong with single images ---


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "not a readable image (0 bytes"),
        (encode_image(scene(40, 60), ".png")[:-40], "not a readable image"),
        (encode_image(scene(7, 40), ".png"), "7x40 pixels, expected at least 8x8"),
        (encode_image(scene(64, 64), ".png"), "expected at most 0.004 megapixels"),
    ],
    ids=["empty", "truncated", "small", "large"],
)
def test_bad_image_is_named_and_the_others_are_done(root, capsys, content, words):
    (root / "in" / "bad.png").write_bytes(content)
    lines = failed(root, capsys, "--per_image", "1", "--max_megapixels", "0.004")
    assert len(lines) == 1
    assert lines[0].startswith(f"failed: {root / 'in' / 'bad.png'}: ")
    assert words in lines[0]


@pytest.mark.parametrize("form, side", [("webp", 16384), ("jpg", 65501), ("png", 1_000_001)])
def test_image_that_the_format_cannot_hold_is_named_and_the_others_are_done_at_every_run(root, capsys, form, side):
    write_image(root / "in" / "long.bmp", np.zeros((8, side, 3), np.uint8))
    for _ in range(2):
        files = run(root, "--format", form, "--per_image", "2", "--gain", "0.01", code=1)
        line = f"failed: {root / 'in' / 'long.bmp'}: 8x{side} pixels, but .{form} holds at most {side - 1} a side"
        assert capsys.readouterr().err == f"{line} (choose another --format, such as png or tiff)\n"
        assert len(images(files)) == 6


def test_image_that_the_encoder_refuses_is_named_and_the_others_are_done(root, capsys, monkeypatch):
    def refuse_the_smallest(image, suffix, encoding):
        if len(image) == 24:
            raise ValueError("could not be encoded")
        return encode_image(image, suffix, encoding)

    monkeypatch.setattr("synthesis.run.encode_image", refuse_the_smallest)
    assert images(run(root, code=1)).keys() == {"a.png", "trip/c d.png"}
    assert capsys.readouterr().err == f"failed: {root / 'in' / 'b.png'}: could not be encoded\n"


def test_failed_image_of_many_draws_is_named_once_and_done_when_it_is_mended(root, capsys):
    (root / "in" / "bad.png").write_bytes(b"")
    run(root, "--per_image", "3", code=1)
    assert capsys.readouterr().err.count("failed: ") == 1
    write_image(root / "in" / "bad.png", scene())
    assert {"bad_00.png", "bad_01.png", "bad_02.png"} < run(root, "--per_image", "3").keys()


def test_image_without_its_noisy_one_is_named(root, capsys):
    for name in ("a.jpg", "b.png", "trip/c d.tif"):
        write_image(root / "noisy" / name, with_noise(read_image(root / "in" / name), 10))
    for name in ("alone", "two", "smaller", "broken"):
        write_image(root / "in" / f"{name}.png", scene())
    write_image(root / "noisy" / "two.tif", scene())
    write_image(root / "noisy" / "two.bmp", scene())
    write_image(root / "noisy" / "smaller.png", scene(16))
    (root / "noisy" / "broken.png").write_bytes(b"")
    lines = failed(root, capsys, "--noisy_dir", root / "noisy")
    expected = (
        "alone.png: has no noisy image alone.*",
        "two.png: two.bmp and two.tif are in",
        "broken.png: not a read",
    )
    for line in (*expected, "smaller.png: 16x40 pixels, but"):
        assert sum(line in one for one in lines) == 1, line
    assert len(lines) == 4


def test_links_are_followed_but_for_loops_and_those_into_the_output(root, capsys):
    write_image(root / "elsewhere" / "x.png", scene())
    run(root)
    for name, target in (("trip/again", "in"), ("linked", "elsewhere"), ("link", "out"), ("gone.png", "nowhere.png")):
        (root / "in" / name).symlink_to(root / target)
    lines = failed(root, capsys)
    for part in ("gone.png: no such file", "link: a link into the output folder", "again: a link to a folder that it"):
        assert sum(part in line for line in lines) == 1
    assert len(lines) == 3
    assert "linked/x.png" in contents(root / "out")
    assert not (root / "out" / "link").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text are for Linux")
def test_odd_names_are_kept(root):
    odd = ["Bäume ♥.png", "a'b\"c,d.png", "new\nline.png", "no text \udcff.png", "100% #1; [x] {y}.png", "-n.png"]
    for name in odd:
        write_image(root / "in" / name, scene())
    files = run(root)
    assert set(odd) < files.keys()
    assert set(odd) < {row["output"] for row in rows(root)}
    assert run(root) == files


def test_folder_that_cannot_be_read_is_named(root, capsys, monkeypatch):
    (root / "in" / "locked").mkdir()
    entries = Path.iterdir

    def iterdir(folder):
        if folder.name == "locked":
            raise PermissionError(13, "Permission denied")
        return entries(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert failed(root, capsys) == [f"failed: {root / 'in' / 'locked'}: cannot be read (Permission denied)"]


def test_name_too_long_to_write_is_named(root, capsys):
    (root / "in" / ("x" * 250 + ".png")).write_bytes(encode_image(scene(), ".png"))
    lines = failed(root, capsys, "--gain", "0.05")
    assert len(lines) == 1
    assert "cannot be written (File name too long)" in lines[0]


def test_full_disk_ends_in_one_line_and_the_run_continues(root, capsys, monkeypatch):
    expected = run(root, out="whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 1, OSError(28, "No space left on device"))
        with pytest.raises(SystemExit):
            run_command(lambda: main_synthesize.main(arguments(root)))
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(error) == 1
    assert "b.png: cannot be written (No space left on device); make room" in error[0]
    assert run(root) == expected


# --- what is refused before any work ---


@pytest.mark.parametrize(
    "spoil, words, parts",
    [
        (lambda root: shutil.rmtree(root / "in"), "", ["in: no such folder", "--input_dir"]),
        (lambda root: [shutil.rmtree(root / "in"), (root / "in").mkdir()], "", ["in: no images", "--input_dir"]),
        (lambda root: write_image(root / "in" / "a.png", scene()), "", ["a.jpg and a.png", "would both become a.png"]),
        (
            lambda root: write_image(root / "in" / "b.png.x" / "c.png", scene()),
            "--cam_name XX",
            ["camera XX has no we"],
        ),
        (
            lambda root: write_image(root / "in" / "b.bmp" / "c.png", scene()),
            "--format bmp",
            ["b.png: would become b.bm"],
        ),
        (lambda root: (root / "out").write_text("a file"), "", ["out: cannot be written", "--output_dir"]),
        (lambda root: None, "--iso 100", ["ISO 100: camera", "gains of ISO 800, 3200", "--iso"]),
        (lambda root: None, "--noisy_dir nowhere", ["nowhere: no such folder", "--noisy_dir"]),
        (lambda root: None, "--gain_from nowhere", ["nowhere: no such file or folder", "--gain_from"]),
        (lambda root: (root / "text").write_text("x"), "--gain_from {}/text", ["text: expected .png", "--gain_from"]),
        (lambda root: (root / "void").mkdir(), "--gain_from {}/void", ["void: no images", "--gain_from"]),
        (lambda root: None, "--layout sidd --camera_code abc", ["abc", "--camera_code"]),
        (lambda root: None, "--layout sidd --iso 100000", ["--iso"]),
    ],
)
def test_bad_input_ends_in_one_line_that_names_it(root, capsys, spoil, words, parts):
    spoil(root)
    message = refuse(root, capsys, *words.format(root).split())
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "folder, option",
    [("in", "input_dir"), ("in/deep", "input_dir"), (".", "input_dir"), ("in", "noisy_dir"), ("in", "gain_from")],
)
def test_outputs_do_not_go_among_the_inputs(root, tmp_path_factory, capsys, folder, option):
    other = str(tmp_path_factory.mktemp("other"))
    more = [] if option == "input_dir" else ["--input_dir", other, f"--{option}", str(root / "in")]
    message = refuse(root, capsys, *more, out=folder)
    assert f"expected a folder apart from {root / 'in'}; change --output_dir" in message


def test_more_images_than_scene_names_can_count_are_refused():
    names = [f"{number}.png" for number in range(10000)]
    assert len(plan_scenes(Path("x"), names[:-1], 1, "AB", [100])) == 9999
    with pytest.raises(ValueError, match="10000 images, expected at most 9999"):
        plan_scenes(Path("x"), names, 1, "AB", [100])


def test_camera_without_a_bank_is_told_the_command_that_makes_it(root, tmp_path, capsys):
    shutil.copytree(root / "weights" / CAMERA, tmp_path / "bare" / CAMERA)
    (tmp_path / "bare" / CAMERA / "gains.json").unlink()
    message = refuse(root, capsys, "--pretrain_dir", str(tmp_path / "bare"))
    assert str(tmp_path / "bare" / CAMERA / "gains.json") in message
    assert "main_export.py gains" in message


def test_bad_noisy_image_to_draw_from_is_named(root, capsys):
    (root / "shots").mkdir()
    (root / "shots" / "x.png").write_bytes(b"")
    with pytest.raises(SystemExit):
        run_command(lambda: main_synthesize.main(arguments(root, "--gain_from", root / "shots")))
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "x.png: not a readable image" in error[0]
    assert "--gain_from" in error[0]
    run(root, "--gain", "0.05")  # nothing was done with the other options, so they do not bind


@pytest.mark.parametrize(
    "words",
    [
        "--gain 2", "--gain -1", "--gain 0.2:0.1", "--gain 0:0.1", "--gain x", "--gain 0.1:", "--gain nan",
        "--noise_level 10", "--NeCA_type S --noise_level 300", "--NeCA_type S --noise_level 9:3",
        "--NeCA_type S --gain 0.1", "--NeCA_type S --noisy_dir x", "--NeCA_type S --gain_from x",
        "--gain 0.1 --noisy_dir x", "--gain 0.1 --gain_from x", "--noisy_dir x --gain_from x", "--gain 0.1 --iso 800",
        "--keep_16bit --format jpg", "--keep_16bit --layout sidd", "--layout sidd --format tiff", "--camera_code AB",
        "--per_image 0", "--format gif", "--layout raw", "--max_megapixels -1",
        "--num_workers 65",
    ],
)  # fmt: skip
def test_options_that_do_not_fit_end_in_one_line(root, capsys, words):
    assert words.split()[-2] in refuse(root, capsys, *words.split())


def test_shipped_camera_works_with_default_options(tmp_path, monkeypatch):
    write_image(tmp_path / "in" / "x.png", scene(64, 64))
    monkeypatch.chdir(ROOT)
    assert main_synthesize.main(["--input_dir", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out")]) == 0
    noise = read_image(tmp_path / "out" / "x.png").astype(float) - scene(64, 64)
    assert 2 < noise.std() < 40


@pytest.mark.parametrize("option", ["--input_dir", "--output_dir", "--noisy_dir", "--gain_from", "--pretrain_dir"])
def test_empty_path_of_an_unset_variable_is_refused(root, capsys, option):
    with pytest.raises(SystemExit):
        synthesize_options(["--input_dir", "x", "--output_dir", "y", option, ""])
    assert f"{option}: is empty" in capsys.readouterr().err
