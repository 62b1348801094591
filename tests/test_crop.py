"""The cropper: where it cuts, what it writes, how it continues, and what it says about bad images and full disks."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from Crop_SIDD import main
from data import crop
from data.boxes import CropSettings
from data.sidd import find_crops
from options.data import crop_parser
from tests.conftest import ROOT, contents, wait_until
from tests.refusal import one_line
from tests.test_image_formats import turn
from utils.image import PNG_END, PNG_START, read_image, write_image

PAPER = CropSettings(size=512, overlap=128, threshold=800)
SCENE = "0001_001_S6_00100_00060_3200_L"
OTHER_SCENE = "0002_001_GP_00800_00350_5500_N"
# 40 x 56 is cut by 16 with overlap 4: origins 0 12 24 and 0 12 24 36 40, 15 crops.
SMALL = {"size": 16, "overlap": 4, "threshold": 32}
SIDES = (40, 56)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_pair(scene, frame="010", sides=SIDES, seed=0):
    """Write a clean and a noisy image, and return their paths."""
    paths = [scene / f"{scene.name[:4]}_{kind}_SRGB_{frame}.PNG" for kind in ("GT", "NOISY")]
    for path, kind in zip(paths, (0, 1)):
        write_image(path, picture(*sides, seed=[seed, kind]))
    return paths


def run(root, num_workers=0, **changes):
    """Run the command on `root`/source with small crops, and return its exit code."""
    options = {"source": root / "source", "target": root / "target", **SMALL, "num_workers": num_workers, **changes}
    return main([word for option, value in options.items() for word in (f"--{option}", str(value))])


def files(folder):
    """Path -> (content, time of writing) of all files below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rewritten(before, after):
    """Names of the files that were written between two states of a folder."""
    return {name for name in after if after[name][1] != before.get(name, (b"", 0))[1]}


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch):
    """Waiting for the disk takes most of the time with files so small; nobody cuts the power here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def root(tmp_path):
    """A folder with `source`: a scene of two pairs and one of a single pair."""
    make_pair(tmp_path / "source" / SCENE, "010", seed=1)
    make_pair(tmp_path / "source" / SCENE, "011", seed=2)
    make_pair(tmp_path / "source" / OTHER_SCENE, "010", seed=3)
    return tmp_path


# --- where it cuts ---


@pytest.mark.parametrize(
    "sides, count",
    [((3000, 5328), 112), ((2988, 5312), 112), ((3120, 4208), 88), ((3044, 4048), 88), ((3024, 4032), 88)],
)
def test_sidds_images_give_the_published_number_of_crops(sides, count):
    boxes = PAPER.boxes(*sides)
    assert len(boxes) == count
    assert {box[2:] for box in boxes} == {(512, 512)}


def test_crops_begin_at_every_stride_and_end_with_the_image():
    assert PAPER.origins(3000) == [0, 384, 768, 1152, 1536, 1920, 2304, 2488]


def test_a_crop_that_ends_with_the_image_anyway_is_not_there_twice():
    assert PAPER.origins(512 + 2 * 384) == [0, 384, 768]


@pytest.mark.parametrize("sides, whole", [((800, 5328), True), ((3000, 800), True), ((801, 801), False)])
def test_an_image_is_cut_only_if_both_sides_exceed_the_threshold(sides, whole):
    boxes = PAPER.boxes(*sides)
    assert (boxes == [(0, 0, *sides)]) is whole and (len(boxes) == 1) is whole


# --- what it writes ---


def test_crops_put_back_in_their_places_are_the_image(root):
    assert run(root) == 0
    for side, kind in (("clean", "GT"), ("noisy", "NOISY")):
        image = read_image(root / "source" / SCENE / f"0001_{kind}_SRGB_011.PNG")
        again = np.zeros_like(image)
        for number, (y, x) in enumerate(((y, x) for y in (0, 12, 24) for x in (0, 12, 24, 36, 40)), start=1):
            piece = read_image(root / "target" / SCENE / side / f"0001_{kind}_SRGB_011_{number:05d}.png")
            assert np.array_equal(piece, image[y : y + 16, x : x + 16])
            again[y : y + 16, x : x + 16] = piece
        assert np.array_equal(again, image)


def test_nothing_else_is_written_than_crops_and_the_record(root):
    run(root)
    frames = {SCENE: ("010", "011"), OTHER_SCENE: ("010",)}
    expected = {
        f"{scene}/{side}/{scene[:4]}_{kind}_SRGB_{frame}_{number:05d}.png"
        for scene in frames
        for frame in frames[scene]
        for side, kind in (("clean", "GT"), ("noisy", "NOISY"))
        for number in range(1, 16)
    }
    assert set(files(root / "target")) == expected | {"crop.json"}
    assert json.loads((root / "target" / "crop.json").read_text()) == SMALL


def test_a_small_image_is_kept_whole_as_one_crop(tmp_path):
    clean, noisy = make_pair(tmp_path / "source" / SCENE, sides=(32, 90))
    assert run(tmp_path) == 0
    [(clean_crop, noisy_crop)] = find_crops(tmp_path / "target" / SCENE)
    assert clean_crop.name == "0001_GT_SRGB_010_00001.png" and noisy_crop.name == "0001_NOISY_SRGB_010_00001.png"
    assert np.array_equal(read_image(clean_crop), read_image(clean))
    assert np.array_equal(read_image(noisy_crop), read_image(noisy))


def test_threads_write_the_same_files_as_one(root):
    run(root)
    run(root, num_workers=2, target=root / "other")
    assert contents(root / "target") == contents(root / "other")


@pytest.mark.parametrize("place", ["Data", "SIDD_Small_sRGB_Only/Data"])
def test_the_source_may_have_a_data_folder_other_suffixes_and_no_instance_in_the_names(root, place):
    run(root)
    for path in list((root / "source").rglob("*.PNG")):
        scene = root / "small" / place / path.parent.name
        scene.mkdir(parents=True, exist_ok=True)
        path.rename(scene / f"{path.stem[5:]}.png")
    assert run(root, source=root / "small", target=root / "other") == 0
    plain = {re.sub(r"\d{4}_(GT|NOISY)", r"\1", name): content for name, content in contents(root / "target").items()}
    assert contents(root / "other") == plain


def test_the_last_line_counts_images_crops_skipped_and_failures(root, capsys):
    run(root)
    assert capsys.readouterr().out == (
        f"6 images of 2 scenes in {root / 'target'}: 90 crops written, 0 images skipped (complete before), 0 failures\n"
    )
    (root / "target" / SCENE / "noisy" / "0001_NOISY_SRGB_010_00007.png").unlink()
    run(root)
    assert ": 30 crops written, 4 images skipped (complete before), 0 failures\n" in capsys.readouterr().out


# --- how it continues ---


def test_a_complete_target_is_not_touched(root, monkeypatch):
    run(root)
    before = files(root / "target")
    monkeypatch.setattr(crop, "read_image", lambda path: pytest.fail(f"decoded {path}"))
    assert run(root) == 0
    assert files(root / "target") == before


def delete(crops):
    for path in crops[3:9]:
        path.unlink()


def truncate(crops):
    crops[4].write_bytes(crops[4].read_bytes()[:-5])


def overwrite_the_start(crops):
    crops[4].write_bytes(bytes(8) + crops[4].read_bytes()[8:])


def shrink(crops):
    write_image(crops[4], picture(16, 15))


def age(crops):
    os.utime(crops[4], ns=(0, 0))


def add_one_too_many(crops):
    write_image(crops[0].with_name("0001_NOISY_SRGB_010_00016.png"), picture(16, 16))


def leave_a_temporary_file(crops):
    crops[0].with_name(".0001_NOISY_SRGB_010_00003.4711.tmp.png").write_bytes(b"half a crop")


@pytest.mark.parametrize(
    "harm", [delete, truncate, overwrite_the_start, shrink, age, add_one_too_many, leave_a_temporary_file]
)
def test_a_pair_that_is_not_complete_is_done_again_and_no_other(root, harm):
    run(root)
    before = files(root / "target")
    harm(sorted((root / "target" / SCENE / "noisy").glob("0001_NOISY_SRGB_010_*.png")))
    assert run(root) == 0
    after = files(root / "target")
    assert {name: content for name, (content, _) in after.items()} == {n: content for n, (content, _) in before.items()}
    assert {re.sub(r"_\d{5}\.png", "", name) for name in rewritten(before, after)} == {
        f"{SCENE}/clean/0001_GT_SRGB_010",
        f"{SCENE}/noisy/0001_NOISY_SRGB_010",
    }


@pytest.mark.parametrize("orientation", [3, 6])
def test_images_with_an_orientation_are_cut_upright_and_once(root, orientation):
    make_pair(root / "source" / SCENE, "012", (20, 30))  # kept whole
    for path in (root / "source" / SCENE).iterdir():
        turn(path, orientation)
    assert run(root) == 0
    before = files(root / "target")
    assert run(root) == 0
    assert not {name for name in rewritten(before, files(root / "target")) if name.endswith(".png")}
    whole = read_image(root / "source" / SCENE / "0001_GT_SRGB_010.PNG")
    assert whole.shape == ((40, 56, 3) if orientation == 3 else (56, 40, 3))
    crop = read_image(root / "target" / SCENE / "clean" / "0001_GT_SRGB_010_00001.png")
    assert np.array_equal(crop, whole[:16, :16])


@pytest.mark.parametrize("kind", ["GT", "NOISY"])
def test_an_image_newer_than_its_crops_is_done_again(root, kind):
    run(root)
    before = files(root / "target")
    later = time.time_ns() + 10**9
    os.utime(root / "source" / OTHER_SCENE / f"0002_{kind}_SRGB_010.PNG", ns=(later, later))
    assert run(root) == 0
    assert {Path(name).parts[0] for name in rewritten(before, files(root / "target"))} == {OTHER_SCENE}


@pytest.mark.parametrize("kind", ["GT", "NOISY"])
def test_an_image_replaced_by_an_older_one_of_the_same_size_is_done_again(root, kind):
    run(root)
    path = root / "source" / OTHER_SCENE / f"0002_{kind}_SRGB_010.PNG"
    write_image(path, picture(*SIDES, seed=11))
    os.utime(path, ns=(10**18, 10**18))
    assert run(root) == 0
    crop = find_crops(root / "target" / OTHER_SCENE)[0][kind == "NOISY"]
    assert np.array_equal(read_image(crop), read_image(path)[:16, :16])


def test_images_dated_in_the_future_are_done_once(root):
    later = time.time_ns() + 10**15
    for path in (root / "source").rglob("*.PNG"):
        os.utime(path, ns=(later, later))
    run(root)
    before = files(root / "target")
    run(root)
    assert files(root / "target") == before


def test_no_crops_are_listed_for_a_frame_that_declares_ten_gigapixels(tmp_path, monkeypatch):
    frames = [tmp_path / "0001_GT_SRGB_010.PNG", tmp_path / "0001_NOISY_SRGB_010.PNG"]
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    for frame in frames:
        frame.write_bytes(PNG_START[:-4] + header + struct.pack(">I", zlib.crc32(header)) + PNG_END)
    monkeypatch.setattr(CropSettings, "boxes", None)  # which takes gigabytes
    result = crop.crop_pair(crop.CropJob(*frames, tmp_path / "crops"), CropSettings(16, 8, 32))
    assert "100000x100000 pixels, expected at most" in result.failure


def test_an_image_replaced_by_a_smaller_one_leaves_no_crops_of_the_old_one(root):
    run(root)
    make_pair(root / "source" / OTHER_SCENE, sides=(33, 33), seed=9)  # origins 0 12 17: nine crops
    run(root)
    assert len(find_crops(root / "target" / OTHER_SCENE)) == 9
    assert len(find_crops(root / "target" / SCENE)) == 30


TINY = {"size": 8, "overlap": 4, "threshold": 16}  # 100 x 100: origins 0 4 .. 88 92, 576 crops of each image


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder with `source`, so many crops that a signal comes in the middle of a pair, and their `target`."""
    root = tmp_path_factory.mktemp("undisturbed")
    for frame in range(2):
        make_pair(root / "source" / SCENE, f"{frame:03d}", sides=(100, 100), seed=frame)
    make_pair(root / "source" / SCENE, "002", sides=(16, 16))  # soon done, so that its worker has nothing to do
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        assert run(root, **TINY) == 0
    return root


def test_the_command_does_not_wait_for_pytorch():
    words = "import sys, Crop_SIDD; sys.exit('torch' in sys.modules)"  # its import takes as long as a pair of frames
    assert subprocess.run([sys.executable, "-c", words], cwd=ROOT).returncode == 0


@pytest.mark.usefixtures("heard_signals")
@pytest.mark.parametrize("num_workers, number", [(0, signal.SIGINT), (3, signal.SIGINT), (3, signal.SIGKILL)])
def test_an_interrupted_command_leaves_no_process_and_can_be_continued(tmp_path, undisturbed, num_workers, number):
    """Ctrl-C goes to the whole process group, as a terminal sends it."""
    options = {"source": undisturbed / "source", "target": tmp_path, **TINY, "num_workers": num_workers}
    words = [str(word) for option, value in options.items() for word in (f"--{option}", value)]
    process = subprocess.Popen(
        [sys.executable, ROOT / "Crop_SIDD.py", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until(lambda: any(tmp_path.rglob("*_0002?.png")))
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    errors = process.communicate(timeout=20)[1]
    wait_until(lambda: not group_is_alive(process.pid))
    left = len(list(tmp_path.rglob("*.png")))
    if number == signal.SIGINT:
        assert process.returncode == 130 and "interrupted" in errors and "Traceback" not in errors
        assert left % (2 * 576) in (0, 2)  # whole pairs only
    assert left < 2 * 2 * 576

    assert run(undisturbed, **TINY, target=tmp_path) == 0
    assert contents(tmp_path) == contents(undisturbed / "target")


def group_is_alive(group):
    """Tell whether a process of the group is left that is more than a dead one's entry."""
    lines = subprocess.run(["ps", "-eo", "pgid,stat"], capture_output=True, text=True, check=True).stdout.splitlines()
    return any(line.split()[0] == str(group) and "Z" not in line.split()[1] for line in lines[1:])


# --- bad images: the rest is done, each is named at the end, exit code 1 ---


def truncated(scene):
    path = scene / "0002_NOISY_SRGB_010.PNG"
    path.write_bytes(path.read_bytes()[:-100])
    return [f"{path}: not a readable image"]


def no_image(scene):
    path = scene / "0002_GT_SRGB_010.PNG"
    path.write_text("not a picture")
    return [f"{path}: not a readable image"]


def unreadable(scene):
    path = scene / "0002_GT_SRGB_010.PNG"
    path.unlink()
    path.symlink_to(scene / "absent")
    return [f"{path}: no such file"]


def unpaired(scene):
    (scene / "0002_NOISY_SRGB_010.PNG").unlink()
    return [f"{scene / '0002_GT_SRGB_010.PNG'}: unpaired", "0002_NOISY_SRGB_010.PNG"]


def of_another_size(scene):
    write_image(scene / "0002_GT_SRGB_010.PNG", picture(41, 56))
    return [f"{scene / '0002_GT_SRGB_010.PNG'}", "0002_NOISY_SRGB_010.PNG", "41x56 and 40x56"]


def without_images(scene):
    for path in scene.iterdir():
        path.unlink()
    return [f"{scene}: no images"]


@pytest.mark.parametrize(
    "harm, num_workers",
    [(harm, 0) for harm in (truncated, no_image, unreadable, unpaired, of_another_size, without_images)]
    + [(truncated, 2)],
)
def test_a_bad_image_is_reported_by_name_while_the_rest_is_done(root, capfd, harm, num_workers):
    words = harm(root / "source" / OTHER_SCENE)
    assert run(root, num_workers) == 1
    output, errors = capfd.readouterr()
    reported = [line for line in errors.splitlines() if line.startswith("failed: ")]
    assert len(reported) == 1 and re.search(one_line("failed: ", *words), reported[0])
    assert output.endswith(", 1 failures\n")
    assert len(find_crops(root / "target" / SCENE)) == 30 and not list(root.glob(f"target/{OTHER_SCENE}/*/*"))


def test_every_failure_is_listed(root, capfd):
    truncated(root / "source" / OTHER_SCENE)
    (root / "source" / SCENE / "0001_GT_SRGB_011.PNG").unlink()
    assert run(root) == 1
    reported = [line for line in capfd.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert [re.search(r"\d{4}_(GT|NOISY)_SRGB_\d{3}.PNG", line)[0] for line in reported] == [
        "0001_NOISY_SRGB_011.PNG",
        "0002_NOISY_SRGB_010.PNG",
    ]


def test_a_repaired_image_is_all_that_the_next_run_does(root, capsys):
    truncated(root / "source" / OTHER_SCENE)
    assert run(root) == 1
    make_pair(root / "source" / OTHER_SCENE, seed=3)
    assert run(root) == 0
    assert ": 30 crops written, 4 images skipped (complete before), 0 failures\n" in capsys.readouterr().out


# --- disks ---


def test_a_full_disk_stops_at_once_with_one_line_and_no_half_pair_and_the_next_run_continues(root, monkeypatch):
    paths = []

    def write(path, image, **how):
        if len(paths) == 40:
            raise OSError(28, "No space left on device", str(path))
        paths.append(path)
        write_image(path, image, **how)

    run(root, target=root / "undisturbed")
    expected = one_line(str(root / "target" / SCENE), "No space left on device", "--target")
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=expected):
        patch.setattr(crop, "write_image", write)
        run(root)
    assert len(paths) == 40
    assert len(list((root / "target").rglob("*.png"))) == 30  # the first pair, and not 10 of the second
    assert run(root) == 0
    assert contents(root / "target") == contents(root / "undisturbed")


def test_an_error_of_a_thread_stops_the_command_too(root):
    (root / "target").mkdir()
    (root / "target" / "crop.json").write_text(json.dumps(SMALL))
    (root / "target" / SCENE).write_text("a file where the folder should be")
    with pytest.raises(ValueError, match=one_line(str(root / "target" / SCENE), "cannot be written", "--target")):
        run(root, num_workers=1)


# --- what users get wrong ---


@pytest.mark.parametrize("option, value", [("size", 24), ("overlap", 8), ("threshold", 40)])
def test_a_target_made_with_other_settings_is_an_error_that_names_the_option(root, option, value):
    run(root)
    before = files(root / "target")
    expected = one_line(str(root / "target"), f"{option} {SMALL[option]}, not {value}", "--target")
    with pytest.raises(ValueError, match=expected):
        run(root, **{option: value})
    assert files(root / "target") == before


@pytest.mark.parametrize(
    "spoil, words", [(lambda path: path.write_text("[]"), "crop.json: damaged"), (Path.unlink, "no crop.json")]
)
def test_crops_whose_record_is_damaged_or_gone_are_never_taken_for_ours(root, spoil, words):
    run(root)
    spoil(root / "target" / "crop.json")
    with pytest.raises(ValueError, match=one_line(str(root / "target"), words, "--target")):
        run(root)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"overlap": 16}, ["overlap 16: expected less than the size 16", "--overlap"]),
        ({"size": 34}, ["size 34: expected at most 33 (the threshold + 1)", "--size"]),
        ({"source": "absent"}, ["absent: no such folder", "--source"]),
        ({"source": "source/" + SCENE}, [f"{SCENE}: no scene folders", "--source"]),
        ({"target": "source"}, ["expected a folder apart", "--target"]),
        ({"target": "source/crops"}, ["expected a folder apart", "--target"]),
        ({"target": "."}, ["expected a folder apart", "--target"]),
        ({"target": "file/crops"}, ["file/crops: cannot be written", "--target"]),
    ],
)
def test_a_bad_option_is_one_clear_line_and_nothing_is_written(root, changes, words, monkeypatch):
    monkeypatch.chdir(root)
    Path("file").touch()
    before = files(root)
    with pytest.raises(ValueError, match=one_line(*words)):
        run(root, **changes)
    assert files(root) == before and not (root / "target").exists()


def test_a_crop_as_large_as_the_threshold_allows_fits_every_image_that_is_cut():
    assert CropSettings(size=33, overlap=4, threshold=32).boxes(33, 33) == [(0, 0, 33, 33)]


@pytest.mark.parametrize("words", [["--size", "0"], ["--overlap", "-1"], ["--num_workers", "two"], ["--siz", "16"]])
def test_an_impossible_option_value_is_one_line_and_exit_code_2(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and words[0] in errors


def test_the_published_defaults():
    assert vars(crop_parser().parse_args([])) == {
        "source": "./Datasets/SIDD_Medium_Srgb_Parts/",
        "target": "./Datasets/SIDD_Medium_Crop/",
        "size": 512,
        "overlap": 128,
        "threshold": 800,
        "num_workers": 4,
    }


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.zip", b"<!doctype html>", "a.zip: a web page, perhaps of a failed download"),
        ("a.zip", b"PK\3\4", "a.zip: an archive, expected a folder; unpack it"),
        ("a.png", b"\x89PNG", "a.png: not a folder"),
    ],
)
def test_a_download_in_the_place_of_the_source_is_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=one_line(words, "--source")):
        run(tmp_path, source=tmp_path / name)


def test_photographs_that_are_no_png_are_named_beside_the_pairs(tmp_path, capsys):
    make_pair(tmp_path / "source" / SCENE)
    for name in ("0001_GT_SRGB_011.JPG", "0001_NOISY_SRGB_011.JPG", "0001_GT_SRGB_012.HEIC", "info.txt"):
        (tmp_path / "source" / SCENE / name).touch()
    assert run(tmp_path) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    start, end = f"note: {tmp_path}/source/{SCENE}:", "convert to PNG to use"
    assert notes == [
        f"{start} .heic is not read: 0001_GT_SRGB_012.HEIC; {end}",
        f"{start} .jpg is not read: 0001_GT_SRGB_011.JPG, 0001_NOISY_SRGB_011.JPG; {end}",
    ]


def test_what_only_looks_like_a_scene_is_named_while_the_rest_is_done(tmp_path, capsys):
    make_pair(tmp_path / "source" / SCENE)
    misspelt = SCENE.replace("00100", "0100")
    make_pair(tmp_path / "source" / misspelt)
    (tmp_path / "source" / OTHER_SCENE).symlink_to(tmp_path / "absent")
    (tmp_path / "source" / "notes").mkdir()
    assert run(tmp_path) == 1
    told = capsys.readouterr().err
    assert misspelt in told
    assert OTHER_SCENE in told
    assert "notes" not in told
    assert len(find_crops(tmp_path / "target" / SCENE)) == 15
