"""The gain bank: what is measured, where it lies, and the curves drawn from it."""

import hashlib
import json
import shutil

import numpy as np
import pytest

import main_export
from data.demo.scenes import DemoOptions, all_scenes
from data.sidd import find_crops, parse_scene
from inference import load_neca
from inference.pretrained import hash_weights
from metrics import noise_of
from noise.gains import (
    GainBank,
    bank_note,
    bank_path,
    copy_bank,
    gain_or_fail,
    measure_scenes,
    read_bank,
    write_bank,
)
from synthesis.curves import intensity_chart, measure_curve, measure_curves
from tests.conftest import ROOT
from tests.noisy_set import CAMERA, make_set, make_weights
from tests.refusal import refused
from utils.image import read_image, write_image

BANK = GainBank(CAMERA, "abc", {100: [("x", 0.01)], 800: [("y", 0.03), ("z", 0.05), ("w", 0.04)]})


class Mean:
    """Takes an image's mean for its gain."""

    channels = 3

    def estimate_gain(self, noisy):
        return float(noisy.mean()) / 255


class KnownNoise:
    """Noise of 4 grey levels below 128 and 8 from there on, twice as strong in blue."""

    channels = 3

    def synthesize(self, clean, gain, *, seed, key):
        std = gain * 255 * np.where(clean < 128, 1, 2) * np.array([1, 1, 2])
        random = np.random.default_rng([seed, *map(ord, key)])
        return np.clip(clean + random.normal(0, std), 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six scenes of two ISO levels, the last two of them for testing -> (data folder, folder of lists)."""
    return make_set(tmp_path_factory.mktemp("data"))


@pytest.fixture
def weights(tmp_path):
    return make_weights(tmp_path) / CAMERA


def arguments(data, weights, *more) -> list[str]:
    folders = {"--data_dir": data[0], "--data_prep_dir": data[1], "--pretrain_dir": weights.parent}
    words = [str(word) for option in folders.items() for word in option]
    return ["gains", *words, "--cam_name", CAMERA, "--device", "cpu", "--num_workers", "0", *map(str, more)]


def refuse(capsys, words) -> str:
    """Run the command as from the shell -> its only line of error."""
    return refused(capsys, main_export.main, words)


# --- measuring ---


def test_gains_are_genets_of_the_training_crops_by_iso(data, weights):
    main_export.main(arguments(data, weights))
    bank = read_bank(weights / "gains.json")
    model = load_neca(weights)
    names = (data[1] / f"{CAMERA}_train.txt").read_text().split()
    assert len(names) == 4
    expected = {}
    for name in names:
        for _, noisy in find_crops(data[0] / name):
            gain = model.estimate_gain(read_image(noisy))
            expected.setdefault(parse_scene(name).iso, {})[f"{name}/{noisy.stem}"] = pytest.approx(gain, rel=1e-5)
    assert {iso: dict(named) for iso, named in bank.gains.items()} == expected
    assert list(bank.gains) == [800, 3200]
    assert len({gain for _, gain in bank.of_iso(None)}) > 4  # they are not all one


def test_bank_names_its_camera_and_the_hash_of_genet(data, weights):
    main_export.main(arguments(data, weights))
    content = json.loads((weights / "gains.json").read_text())
    expected = hashlib.sha256((weights / "checkpoint_E.pth").read_bytes()).hexdigest()
    assert (content["version"], content["camera"], content["genet_sha256"]) == (1, CAMERA, expected)


def test_test_scenes_are_measured_on_request(data, weights):
    main_export.main(arguments(data, weights, "--split", "test"))
    test_names = (data[1] / f"{CAMERA}_test.txt").read_text().split()
    names = {name.split("/")[0] for name, _ in read_bank(weights / "gains.json").of_iso(None)}
    assert names == set(test_names)


@pytest.mark.parametrize("most, expected", [(0, 6), (1, 1), (4, 4), (100, 6)])
def test_number_of_images_is_for_each_iso(data, most, expected):
    folders = sorted(path for path in data[0].iterdir())
    bank = measure_scenes(Mean(), folders, CAMERA, images_per_iso=most)
    assert {iso: len(named) for iso, named in bank.gains.items()} == {800: expected, 3200: expected}


@pytest.mark.parametrize("level", [0, 128, 255])
def test_images_of_one_colour_are_left_out_of_the_bank_and_named(tmp_path, weights, caplog, level):
    folder = make_set(tmp_path)[0]
    scenes = sorted(folder.iterdir())
    before = measure_scenes(Mean(), scenes[1:], CAMERA, num_workers=0)
    for path in [*scenes[0].glob("clean/*"), *scenes[0].glob("noisy/*")]:
        write_image(path, np.full((96, 96, 3), level, np.uint8))
    assert measure_scenes(Mean(), scenes, CAMERA, num_workers=2) == before
    assert len(caplog.records) == 2 and scenes[0].name in caplog.text


def test_bank_of_images_of_one_colour_alone_is_refused(tmp_path):
    folder = make_set(tmp_path, scenes=3)[0]
    for path in folder.rglob("*.png"):
        write_image(path, np.zeros((96, 96, 3), np.uint8))
    with pytest.raises(ValueError, match=r"0001.*black, white or of one colour, as all images"):
        measure_scenes(Mean(), sorted(folder.iterdir()), CAMERA, num_workers=0)


def test_threads_do_not_change_the_bank(data):
    folders = sorted(data[0].iterdir())
    banks = [measure_scenes(Mean(), folders, CAMERA, num_workers=count) for count in (0, 3)]
    assert banks[0] == banks[1]


@pytest.mark.parametrize("gain", [-0.01, 1.2, float("nan")])
def test_gain_out_of_range_is_refused_with_the_images_name(gain):
    class Odd:
        def estimate_gain(self, noisy):
            return gain

    with pytest.raises(ValueError, match=f"some image: GENet gives the gain {gain:g}"):
        gain_or_fail(Odd(), np.zeros((8, 8, 3), np.uint8), "some image")


# --- the file ---


def test_bank_is_read_as_it_was_written(tmp_path):
    odd = GainBank("ÄÖ", "", {0: [('na"me, \\ ♥', 1.0), ("b", 0.0)], 51200: [("c", 0.123457)]})
    for bank in (BANK, odd):
        write_bank(tmp_path / "gains.json", bank)
        assert read_bank(tmp_path / "gains.json") == bank


def test_bank_of_a_training_run_is_written_into_the_run(data, weights):
    (weights / "models").mkdir()
    for path in weights.glob("*.pth"):
        path.rename(weights / "models" / path.name)
    main_export.main(arguments(data, weights))
    assert (weights / "gains.json").is_file()


def test_copy_of_a_bank_has_the_hash_of_the_copied_genet(weights, tmp_path):
    (tmp_path / "new").mkdir()
    shutil.copy(weights / "checkpoint_E.pth", tmp_path / "new")
    assert copy_bank(weights, tmp_path / "new") is None  # there is none yet
    write_bank(bank_path(weights), BANK)
    copied = read_bank(copy_bank(weights, tmp_path / "new"))
    assert copied.gains == BANK.gains
    assert copied.genet == hashlib.sha256((tmp_path / "new" / "checkpoint_E.pth").read_bytes()).hexdigest()


def test_bank_of_another_genet_is_noted(weights):
    for genet, noted in (("abc", True), ("", False), (hash_weights({"E": weights / "checkpoint_E.pth"}), False)):
        write_bank(bank_path(weights), BANK._replace(genet=genet))
        assert ("main_export.py gains" in bank_note(weights, BANK.camera)) == noted
    (weights / "checkpoint_E.pth").unlink()
    assert bank_note(weights, BANK.camera) == ""
    assert "not QQ" in bank_note(weights, "QQ")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"version": 2, "camera": "A", "genet_sha256": "", "gains": {"100": [["a", 0.1]]}}',
        '{"version": 1, "camera": "A", "genet_sha256": "", "gains": {"100": []}}',
        '{"version": 1, "camera": "A", "genet_sha256": "", "gains": {"100": [["a", 2]]}}',
        '{"version": 1, "camera": "A", "genet_sha256": "", "gains": {"100": [["a", NaN]]}}',
        '{"version": 1, "camera": "A", "genet_sha256": "", "gains": {"100": [["a"]]}}',
    ],
)
def test_damaged_bank_is_named(tmp_path, content):
    (tmp_path / "gains.json").write_text(content)
    with pytest.raises(ValueError, match=r"gains\.json: damaged or no gain bank .*; make it .* with main_export"):
        read_bank(tmp_path / "gains.json")


def test_summary_has_median_and_range_of_each_iso():
    assert BANK.summary() == [
        "ISO 100: 1 images, gain 0.0100 (median), 0.0100 to 0.0100",
        "ISO 800: 3 images, gain 0.0400 (median), 0.0300 to 0.0500",
    ]


# --- curves ---


def test_chart_has_every_grey_level_equally_often_in_flat_patches():
    chart = intensity_chart(3)
    assert (chart == chart[..., :1]).all()
    assert np.bincount(chart[..., 0].ravel()).tolist() == [32 * 32] * 256
    assert chart[32:64, 64:96].min() == chart[32:64, 64:96].max() == 18


def test_curve_is_the_std_of_the_noise_at_each_level_and_channel():
    curve = measure_curve(KnownNoise(), 4 / 255)
    assert curve.shape == (256, 3)
    for levels, std in ((slice(30, 128), 4), (slice(128, 200), 8)):
        rounding = 1 / 12
        expected = np.sqrt([std**2 + rounding, std**2 + rounding, (2 * std) ** 2 + rounding])
        assert curve[levels].mean(axis=0) == pytest.approx(expected, rel=0.01)
        assert curve[levels] == pytest.approx(np.broadcast_to(expected, curve[levels].shape), rel=0.1)


def test_curve_falls_where_noise_is_clipped():
    curve = measure_curve(KnownNoise(), 4 / 255)
    half_normal = 4 * np.sqrt(0.5 - 0.5 / np.pi)  # the std of max(0, n)
    assert curve[0, 0] == pytest.approx(half_normal, rel=0.1)


def test_curves_are_of_each_isos_median_and_of_a_single_isos_range():
    labels = list(measure_curves(KnownNoise(), BANK))
    assert labels == ["ISO 100, gain 0.0100", "ISO 800, gain 0.0400"]
    single = GainBank(CAMERA, "", {800: [(str(n), n / 1000) for n in range(101)]})
    assert list(measure_curves(KnownNoise(), single)) == [f"ISO 800, gain 0.0{n}00" for n in (1, 5, 9)]


def test_curves_are_drawn_from_a_kept_bank(data, weights, tmp_path):
    write_bank(weights / "gains.json", BANK)
    main_export.main(arguments(data, weights, "--keep_bank", "--plot", tmp_path / "curves.png"))
    assert read_bank(weights / "gains.json") == BANK
    picture = read_image(tmp_path / "curves.png")
    assert min(picture.shape[:2]) > 200
    assert picture.std() > 5


# --- bad input ---


@pytest.mark.parametrize(
    "words, parts",
    [
        ("--data_dir nowhere", ["nowhere: no such folder", "--data_dir"]),
        ("--cam_name XX", ["camera XX has no weights"]),
        ("--data_prep_dir nowhere", ["no scene lists", "--data_prep_dir"]),
        ("--keep_bank", ["--keep_bank", "--plot"]),
        ("--keep_bank --plot x.png", ["gains.json", "main_export.py gains"]),
        ("--plot x.pdf", ["--plot x.pdf", ".png"]),
        ("--max_images -1", ["--max_images"]),
        ("--num_workers 65", ["--num_workers", "at most 64"]),
    ],
)
def test_bad_input_ends_in_one_line_that_names_it(data, weights, capsys, words, parts):
    message = refuse(capsys, arguments(data, weights, *words.split()))
    for part in parts:
        assert part in message


def test_damaged_training_image_is_named_and_no_bank_written(tmp_path, weights, capsys):
    own = make_set(tmp_path / "own")
    path = next((own[0] / "0001_001_ZZ_03200_00100_5500_N" / "noisy").iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    assert str(path) in refuse(capsys, arguments(own, weights))
    assert not (weights / "gains.json").exists()


# --- what ships ---


def test_shipped_bank_fits_the_demo_cameras_weights_and_its_noise():
    folder = ROOT / "pretrain" / "DC"
    assert (folder / "gains.json").stat().st_size < 20_000
    bank = read_bank(folder / "gains.json")
    assert (bank.camera, bank_note(folder, "DC")) == ("DC", "")
    generator, scenes = load_neca(folder), {scene.iso: scene for scene in all_scenes(DemoOptions())}
    for iso, scene in scenes.items():
        clean, noisy = (image[192:704, 384:896] for image in (scene.clean(), scene.noisy(0)))
        made = generator.synthesize(clean, gain=float(np.median([gain for _, gain in bank.gains[iso]])))
        assert noise_of(made, clean).std() == pytest.approx(noise_of(noisy, clean).std(), rel=0.15)
    for iso, std in {800: 12.46, 3200: 25.80}.items():  # of the noise itself, README; ISO 100's are 15 % above it
        assert np.median([gain for _, gain in bank.gains[iso]]) * 255 == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize("option", ["--output", "--plot"])
def test_place_that_cannot_be_written_is_told_before_measuring(data, weights, tmp_path, option, monkeypatch):
    monkeypatch.setattr(main_export, "measure_scenes", None)  # is not reached
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with pytest.raises(ValueError, match=f"expected a file name; change {option}"):
        main_export.main(arguments(data, weights, option, folder))
