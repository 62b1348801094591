"""Pairs of one's own camera, from simulated photographs whose faults and whose noise are known."""

import io
import os
import re
import shutil
import struct
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

import main_make_pairs
from benchmark import bursts
from data import bursts as data_bursts
from data.sidd import find_frames, find_scenes, parse_scene
from metrics import noise_of
from tests.conftest import contents
from tests.refusal import refused
from utils.command import run_command
from utils.image import read_exposure, read_image, write_image

SIDE = 160


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    """The bursts with planted faults, 3 and 6, in small."""
    folder = tmp_path_factory.mktemp("bursts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bursts, "SIDE", SIDE)
        for scene in (3, 6):
            bursts.Burst(scene).write(folder)
    return folder


def words(output, *more):
    return ["--output_dir", str(output), "--camera_code", "XY", "--num_workers", "0", *map(str, more)]


def make(output, *more):
    return main_make_pairs.main(words(output, *more))


def images(scene):
    """All (clean, noisy) images of a scene."""
    files, problems = find_frames(scene)
    assert not problems
    return [(read_image(clean), read_image(noisy)) for clean, noisy in files]


def noisy_picture(seed, level=100, std=10, side=SIDE):
    noise = std * np.random.default_rng(seed).standard_normal((side, side, 3))
    return np.clip(np.round(level + noise), 0, 255).astype(np.uint8)


def texture(seed=0, side=SIDE):
    return np.random.default_rng(seed).integers(60, 190, (side, side, 3)).astype(np.uint8)


def write_burst(folder, pictures, suffix=".png"):
    for number, picture in enumerate(pictures):
        write_image(folder / f"{number:02d}{suffix}", picture)


def test_every_planted_fault_is_named_and_no_other_frame(boards, tmp_path, capsys):
    assert make(tmp_path, "--bursts", boards) == 0
    named = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out")]
    assert len(named) == 3
    expected = {
        "board_3/IMG_0005": "0.0 rows and 4.0 columns, whole pixels",
        "board_3/IMG_0008": r"2\.[4-6] rows and -(0\.9|1\.[01]) columns",
        "board_6/IMG_0010": r"exposure differs, by \+1\d",
    }
    for line, (frame, fault) in zip(named, expected.items()):
        assert re.search(f"{frame}.*{fault}", line)


def test_scenes_say_the_cameras_code_iso_and_shutter(boards, tmp_path):
    make(tmp_path, "--bursts", boards)
    scenes = [parse_scene(path.name) for path in find_scenes(tmp_path, "XY")]
    assert [(scene.iso, scene.shutter) for scene in scenes] == [(bursts.ISO[0], 100), (bursts.ISO[1], 100)]


def test_noise_of_four_frames_has_the_variance_and_neighbours_of_the_simulators(tmp_path):
    """A frame minus the mean of four has three quarters of the variance."""
    burst = bursts.Burst(2)
    clean = burst.photograph(0).astype(float)
    frames = [burst.photograph(frame) for frame in range(1, 5)]
    write_burst(tmp_path / "in" / "a", frames)
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 1600, "--frames", 0)
    pairs = images(find_scenes(tmp_path / "out")[0])
    ours = np.array([noise_of(noisy, clean) for clean, noisy in pairs])
    truth = np.array([frame - clean for frame in frames])
    truth -= truth.mean(axis=0)  # without the noise's bias, which a mean of frames has in it
    truth *= np.sqrt(4 / 3)
    for lag in (0, 1, 2):
        products = [(noise[:, :, lag:] * noise[:, :, : 512 - lag]).mean() for noise in (ours, truth)]
        assert products[0] == pytest.approx(products[1], rel=0.02, abs=0.3)  # darkness clips some
    fresh = burst.photograph(99) - clean
    assert ours.var() == pytest.approx(fresh.var(), rel=0.03)


def test_noise_of_the_pairs_is_independent_of_the_clean_images_grain(tmp_path):
    write_burst(tmp_path / "in" / "a", [noisy_picture(seed) for seed in range(4)])
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100)
    clean, noisy = images(find_scenes(tmp_path / "out")[0])[0]
    grain = clean - 100.0
    assert grain.std() == pytest.approx(10 / 2, rel=0.05)
    assert abs(np.corrcoef(grain.ravel(), noise_of(noisy, clean).ravel())[0, 1]) < 4 / SIDE / np.sqrt(3)


def test_align_uses_frames_that_moved_by_whole_pixels_and_cuts_to_what_all_show(boards, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(boards / "board_3", folder / "board_3")
    make(tmp_path / "out", "--bursts", folder, "--align", "--frames", 0)
    (row,) = data_bursts.read_manifest(tmp_path / "out")
    assert row["clean"] == "mean of 11"
    assert "IMG_0008" in row["left_out"]
    pairs = images(find_scenes(tmp_path / "out")[0])
    assert pairs[0][0].shape == (SIDE, SIDE - 4, 3)
    stds = [noise_of(noisy, clean).std() for clean, noisy in pairs]
    assert max(stds) < 1.05 * min(stds)  # an edge that does not fit would show


def test_a_shift_of_whole_pixels_is_undone_exactly(tmp_path):
    scene = texture(side=SIDE + 8)
    still, moved = scene[4:-4, 4:-4], scene[2:-6, 7:-1]
    write_burst(tmp_path / "in" / "a", [still, still, moved, still, still])
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100, "--align", "--frames", 0)
    for clean, noisy in images(find_scenes(tmp_path / "out")[0]):
        np.testing.assert_array_equal(clean, scene[4:-6, 7:-4])
        np.testing.assert_array_equal(noisy, clean)


def test_what_moves_within_a_picture_is_found(tmp_path, capsys):
    pictures = [noisy_picture(seed, level=texture() // 4 + 80) for seed in range(6)]
    pictures[3][48:72, 48:72] = noisy_picture(9, level=160, side=24)
    write_burst(tmp_path / "in" / "a", pictures)
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100)
    (named,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out")]
    assert "03.png: something moved" in named


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_even_wall_has_no_place_to_move_from_and_jpegs_errors_are_pointed_out(tmp_path, capsys, suffix):
    write_burst(tmp_path / "in" / "a", [noisy_picture(seed) for seed in range(5)], suffix)
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100)
    printed = capsys.readouterr().out
    assert ("JPEG's own errors count as noise" in printed) is (suffix == ".jpg")
    assert suffix == ".jpg" or "left out:" not in printed


def test_a_second_run_makes_only_what_is_new_or_changed(tmp_path, capsys):
    for name in ("b", "c"):
        write_burst(tmp_path / "in" / name, [noisy_picture(seed) for seed in range(4)])
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100)
    before = contents(tmp_path / "out", "*.PNG")
    write_burst(tmp_path / "in" / "a", [noisy_picture(seed) for seed in range(10, 14)])
    write_burst(tmp_path / "in" / "c", [noisy_picture(seed) for seed in range(5)])
    capsys.readouterr()
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100)
    assert "2 scenes to make, 1 complete before" in capsys.readouterr().out
    after = contents(tmp_path / "out", "*.PNG")
    assert {name for name in before if after[name] != before[name]} == {n for n in before if n.startswith("0002")}
    assert {name[:8] for name in after.keys() - before.keys()} == {"0003_003"}


def test_an_interrupted_run_continues_to_the_same_files(tmp_path, monkeypatch):
    for name in ("a", "b"):
        write_burst(tmp_path / "in" / name, [noisy_picture(seed) for seed in range(4)])
    command = ["--bursts", tmp_path / "in", "--iso", 100]
    make(tmp_path / "whole", *command)

    def interrupted(path, image):
        if path.name == "0002_NOISY_SRGB_010.PNG":
            raise KeyboardInterrupt
        write_image(path, image)

    with monkeypatch.context() as patch:
        patch.setattr(data_bursts, "write_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "out", *command)
    make(tmp_path / "out", *command)
    assert contents(tmp_path / "out", "*.PNG") == contents(tmp_path / "whole", "*.PNG")
    manifests = [(tmp_path / name / data_bursts.MANIFEST).read_text() for name in ("out", "whole")]
    assert manifests[0] == manifests[1]


def test_pairs_of_two_folders_keep_their_pixels(tmp_path):
    clean = texture()
    noisy = np.clip(clean + noisy_picture(1).astype(int) - 100, 0, 255).astype(np.uint8)
    write_image(tmp_path / "clean" / "one.png", clean)
    write_image(tmp_path / "noisy" / "one.tif", noisy)
    make(tmp_path / "out", "--clean", tmp_path / "clean", "--noisy", tmp_path / "noisy", "--iso", 800)
    (scene,) = find_scenes(tmp_path / "out")
    ((written_clean, written_noisy),) = images(scene)
    np.testing.assert_array_equal(written_clean, clean)
    np.testing.assert_array_equal(written_noisy, noisy)


def test_sixteen_bits_are_averaged_before_they_are_rounded(tmp_path):
    levels = texture() * np.uint16(257) + 64  # a quarter of a grey level more
    write_burst(tmp_path / "in" / "a", [levels, levels, levels, levels + 257], ".tif")
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100, "--frames", 0)
    clean = images(find_scenes(tmp_path / "out")[0])[0][0]
    np.testing.assert_array_equal(clean, texture())  # .249 + 1 / 4 rounds down; four rounded values would do so, too


def test_the_shot_of_lowest_iso_is_the_clean_image_of_every_other(tmp_path):
    burst, folder = bursts.Burst(1), tmp_path / "in" / "a"
    for name, iso, frame in (("x", 1600, 1), ("y", 100, 0), ("z", 6400, 2)):
        bursts.write_photograph(folder / f"{name}.png", burst.photograph(frame), iso, 100)
    make(tmp_path / "out", "--shots", tmp_path / "in")
    scenes = find_scenes(tmp_path / "out")
    assert [(parse_scene(scene.name).scene, parse_scene(scene.name).iso) for scene in scenes] == [
        ("001", 1600),
        ("001", 6400),
    ]
    for scene in scenes:
        np.testing.assert_array_equal(images(scene)[0][0], burst.photograph(0))


def test_a_noisy_image_that_moved_is_refused_by_name(tmp_path, capsys):
    write_image(tmp_path / "clean" / "one.png", texture())
    write_image(tmp_path / "noisy" / "one.png", np.roll(texture(), 3, axis=0))
    folders = ("--clean", tmp_path / "clean", "--noisy", tmp_path / "noisy", "--iso", 800)
    assert make(tmp_path / "out", *folders) == 1
    output = capsys.readouterr()
    assert "moved by 3.0 rows and 0.0 columns" in output.err
    assert "--align" in output.out
    assert make(tmp_path / "aligned", *folders, "--align") == 0


def too_few(folder):
    (folder / "a" / "03.png").unlink()
    return "a: 3 images to use, expected at least 4"


def of_another_size(folder):
    write_image(folder / "a" / "02.png", texture(side=SIDE + 2))
    return r"a/02.png: 162x162 pixels, but 00.png has 160x160"


def truncated(folder):
    path = folder / "a" / "02.png"
    path.write_bytes(path.read_bytes()[:-100])
    return "a/02.png: not a readable image"


@pytest.mark.parametrize("harm", [too_few, of_another_size, truncated])
def test_a_bad_burst_is_named_while_the_others_are_done(tmp_path, capsys, harm):
    for name in ("a", "b"):
        write_burst(tmp_path / "in" / name, [noisy_picture(seed) for seed in range(4)])
    message = harm(tmp_path / "in")
    assert make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100) == 1
    assert re.search(message, capsys.readouterr().err)
    assert len(find_scenes(tmp_path / "out")) == 1


@pytest.mark.parametrize(
    "more, message",
    [
        (["--bursts", "in"], "in/a: no ISO in the EXIF data.*--iso"),
        (["--bursts", "in/a", "--iso", "100"], "expected a folder for each scene.*--bursts"),
        (["--bursts", "nowhere"], "nowhere: no such folder.*--bursts"),
        (["--bursts", "in", "--iso", "100", "--camera_code", "phone"], "camera code of two characters.*--camera_code"),
        (["--bursts", "in", "--iso", "100", "--output_dir", "in/out"], "apart from in.*--output_dir"),
    ],
)
def test_bad_input_ends_in_one_line_that_names_the_option(tmp_path, capsys, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    write_burst(tmp_path / "in" / "a", [noisy_picture(seed) for seed in range(4)])
    assert re.search(message, refused(capsys, main_make_pairs.main, words("out", *more)))


def test_other_settings_need_another_folder(tmp_path, capsys):
    write_burst(tmp_path / "in" / "a", [noisy_picture(seed) for seed in range(4)])
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100)
    changed = words(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100, "--frames", 3)
    assert "was begun with frames 2, not 3 (--frames)" in refused(capsys, main_make_pairs.main, changed)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_names_that_are_no_text_or_not_in_the_consoles_encoding_cost_nothing(tmp_path, monkeypatch, encoding):
    folder = tmp_path / "in" / os.fsdecode(b"na\xefve \xe2\x82\xac \xe5\xb1\xb1")  # Latin-1 before UTF-8
    write_burst(folder, [noisy_picture(seed) for seed in range(5)] + [noisy_picture(5, level=140)])
    (folder / "05.png").rename(folder / os.fsdecode(b"\xff.png"))
    (folder / "é.heic").touch()
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for count in (1, 0):
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            run_command(lambda: make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100))
        output, errors = (stream.buffer.getvalue() for stream in streams.values() if not stream.flush())
        assert stop.value.code == 0
        assert b"Traceback" not in errors
        assert (
            f"{count} scenes to make, {1 - count} complete before, 1 pictures left out, 0 failures".encode() in output
        )
    assert os.fsencode(folder.name) in (tmp_path / "out" / "pairs.csv").read_bytes()
    assert b".png: its exposure differs" in output
    assert b".heic is not read: " in output


def test_photographs_of_other_formats_are_named_beside_those_that_are_read(tmp_path, capsys):
    write_burst(tmp_path / "in" / "a", [noisy_picture(seed) for seed in range(4)])
    (tmp_path / "in" / "b").mkdir()
    for name in ("a/04.HEIC", "a/05.dng", *(f"b/{number}.heic" for number in range(7)), "a/notes.txt", "a/._06.heic"):
        (tmp_path / "in" / name).write_bytes(b"x")
    assert make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    end = "convert to PNG or TIFF to use"
    assert notes == [
        f"note: {tmp_path}/in/a: .dng is not read: 05.dng; {end}",
        f"note: {tmp_path}/in/a: .heic is not read: 04.HEIC; {end}",
        f"note: {tmp_path}/in/b: .heic is not read: 0.heic, 1.heic, 2.heic, 3.heic, 4.heic and 2 more; {end}",
    ]


def test_more_scenes_than_names_are_told_to_go_into_several_folders(tmp_path, capsys, monkeypatch):
    pair = texture(side=8)
    for side in ("clean", "noisy"):
        write_image(tmp_path / side / "0.png", pair)
        for number in range(1, 10_001):
            os.link(tmp_path / side / "0.png", tmp_path / side / f"{number}.png")
    monkeypatch.setattr(data_bursts, "read_exposure", lambda _: (None, None))
    folders = ["--clean", tmp_path / "clean", "--noisy", tmp_path / "noisy", "--iso", 100]
    message = refused(capsys, main_make_pairs.main, words(tmp_path / "out", *folders))
    expected = "10001 scenes, expected at most 9999, which SIDD's names can count; split the photographs into several"
    assert message == f"error: {expected} folders, each with an --output_dir of its own\n"


@pytest.mark.parametrize("more", [[], ["--bursts", "a", "--shots", "b"], ["--clean", "a"]])
def test_exactly_one_kind_of_photographs_is_expected(more, capsys):
    with pytest.raises(SystemExit):
        make("out", *more)
    assert "expected one of --bursts, --shots, or --clean with --noisy" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png"])
def test_exposure_is_read_from_a_photograph_and_absent_from_a_bare_file(tmp_path, suffix):
    tags = Image.Exif()
    tags[0x8769] = {0x8827: 640, 0x829A: 1 / 250}  # Exif 2.32, 4.6.3 and 4.6.5: its directory, ISO, exposure time
    Image.fromarray(texture()).save(tmp_path / f"a{suffix}", exif=tags.tobytes())
    write_image(tmp_path / f"b{suffix}", texture())
    assert read_exposure(tmp_path / f"a{suffix}") == (640, 250)
    assert read_exposure(tmp_path / f"b{suffix}") == (None, None)


def test_exposure_is_read_past_a_preview(tmp_path):
    tags = Image.Exif()
    tags[0x8769] = {0x8827: 640, 0x829A: 1 / 250}
    Image.fromarray(texture()).save(tmp_path / "a.tif", exif=tags.tobytes())
    content = (tmp_path / "a.tif").read_bytes()
    place, first = len(content), content[4:8]  # of a preview of 8x8 pixels, and of the first directory
    entries = {254: 1, 256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: place, 277: 1, 278: 8, 279: 64}
    directory = struct.pack("<H", len(entries))
    for tag, number in entries.items():
        directory += struct.pack("<HHII", tag, 4, 1, number)
    start = content[:4] + struct.pack("<I", place + 64)
    (tmp_path / "a.tif").write_bytes(start + content[8:] + bytes(64) + directory + first)
    assert Image.open(tmp_path / "a.tif").size == (8, 8)
    assert read_exposure(tmp_path / "a.tif") == (640, 250)
    assert np.array_equal(read_image(tmp_path / "a.tif"), texture())


@pytest.mark.parametrize(
    "tags, expected",
    [
        ({0x8827: 65535, 0x8830: 2, 0x8832: 102400}, 102400),  # Exif 2.3, 4.6.5: RecommendedExposureIndex
        ({0x8827: 65535, 0x8830: 1, 0x8831: 204800}, 204800),  # StandardOutputSensitivity
        ({0x8827: 65535, 0x8830: 3, 0x8833: 409600}, 409600),  # ISOSpeed
        ({0x8827: 65535, 0x8830: 2, 0x8831: 70000, 0x8832: 80000}, 80000),
        ({0x8827: 65535, 0x8830: 7, 0x8833: 80000}, 80000),
        ({0x8827: 65535, 0x8832: 80000}, 80000),  # SensitivityType left out
        ({0x8830: 2, 0x8832: 3200}, 3200),
        ({0x8827: 800, 0x8830: 2, 0x8832: 1000}, 800),
        ({0x8827: 65535}, 65535),
        ({0x8827: (640, 800)}, 640),
        ({0x8827: 0}, None),
    ],
)
def test_iso_beyond_16_bits_is_in_other_tags(tmp_path, tags, expected):
    exif = Image.Exif()
    exif[0x8769] = tags
    Image.fromarray(texture()).save(tmp_path / "a.jpg", exif=exif.tobytes())
    assert read_exposure(tmp_path / "a.jpg") == (expected, None)


@pytest.mark.parametrize(
    "time, expected", [((0, 0), None), ((1, 0), None), ((0, 1), None), ((1, 180000), 180000), ((30, 1), 1)]
)
def test_a_shutter_that_says_nothing_costs_only_itself(tmp_path, time, expected):
    exif = Image.Exif()
    exif[0x8769] = {0x8827: 640, 0x829A: TiffImagePlugin.IFDRational(*time)}
    Image.fromarray(texture()).save(tmp_path / "a.jpg", exif=exif.tobytes())
    assert read_exposure(tmp_path / "a.jpg") == (640, expected)


def test_scenes_of_high_iso_and_short_shutter_have_names(tmp_path):
    for iso in (80000, 102400):
        frames = [noisy_picture(iso + seed, level=texture()) for seed in range(4)]
        for number, frame in enumerate(frames):
            exif = Image.Exif()
            exif[0x8769] = {0x8827: 65535, 0x8830: 2, 0x8832: iso, 0x829A: TiffImagePlugin.IFDRational(1, 180000)}
            (tmp_path / "in" / str(iso)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(tmp_path / "in" / str(iso) / f"{number}.png", exif=exif.tobytes())
    assert make(tmp_path / "out", "--bursts", tmp_path / "in") == 0
    scenes = [parse_scene(path.name) for path in find_scenes(tmp_path / "out", "XY")]
    assert [(scene.iso, scene.shutter) for scene in scenes] == [(102400, 99999), (80000, 99999)]


def test_a_reference_without_exif_is_found_by_the_given_iso_or_asked_for(tmp_path, capsys):
    burst, folder = bursts.Burst(1), tmp_path / "in" / "a"
    write_image(folder / "z.png", burst.photograph(0))
    for name, iso, frame in (("x", 800, 1), ("y", 6400, 2)):
        bursts.write_photograph(folder / f"{name}.png", burst.photograph(frame), iso, 100)
    assert make(tmp_path / "none", "--shots", tmp_path / "in") == 1
    assert "z.png: has no ISO in its EXIF data" in capsys.readouterr().err
    assert not list((tmp_path / "none").rglob("*.PNG"))
    assert make(tmp_path / "out", "--shots", tmp_path / "in", "--iso", 100) == 0
    scenes = find_scenes(tmp_path / "out")
    assert [parse_scene(scene.name).iso for scene in scenes] == [800, 6400]
    for scene in scenes:
        np.testing.assert_array_equal(images(scene)[0][0], burst.photograph(0))


def left_out(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out")]


def mean_of(pictures, count):
    return np.round(np.mean(pictures[:count], axis=0)).astype(np.uint8)


@pytest.mark.parametrize("level", [100, None], ids=["wall", "board"])
def test_copies_and_means_within_a_burst_are_named_and_left_out(tmp_path, capsys, level):
    board = 60 + bursts.Burst(1).photograph(0)[:SIDE, :SIDE].astype(int) // 2
    pictures = [noisy_picture(seed, level=level or board) for seed in range(8)]
    folder = tmp_path / "in" / "a"
    write_burst(folder, pictures)
    shutil.copy(folder / "02.png", folder / "copied.png")
    write_image(folder / "format.tif", pictures[3])
    write_image(folder / "format_16.tif", pictures[4] * np.uint16(257))
    Image.fromarray(pictures[5]).save(folder / "resaved.jpg", quality=90)
    for count in (2, 4, 8):
        write_image(folder / f"mean_of_{count}.png", mean_of(pictures, count))
    assert make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100, "--frames", 0) == 0
    named = left_out(capsys)
    expected = ["copied.png: is a copy of 02", "format.tif: is a copy of 03", "format_16.tif: is a copy of 04"]
    expected += [f"mean_of_{count}.png: has less noise than the other" for count in (2, 4, 8)]
    expected += ["resaved.jpg: is a copy of 05"]
    assert len(named) == len(expected)
    assert all(part in line for part, line in zip(expected, named))


def test_a_burst_all_of_copies_has_no_noise_and_is_refused(tmp_path, capsys):
    write_burst(tmp_path / "in" / "a", [noisy_picture(0)] * 4)
    assert make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100) == 1
    assert "a: 4 images of the very same pixels" in capsys.readouterr().err


def test_frames_that_lie_a_fifth_of_a_pixel_apart_are_no_copies(tmp_path, capsys):
    board = bursts.Burst(1).photograph(0)[:SIDE, :SIDE].astype(np.float32)
    moved = cv2.warpAffine(board, np.array([[1, 0, 0.2], [0, 1, 0]], np.float32), (SIDE, SIDE), borderMode=1)
    pictures = [noisy_picture(seed, level=(board, moved)[seed % 2], std=1.5) for seed in range(6)]
    write_burst(tmp_path / "in" / "a", pictures)
    assert make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100) == 0
    assert not left_out(capsys)


@pytest.mark.parametrize("way", ["same folder", "link", "copy", "another format"])
def test_identical_pixels_are_no_pair(tmp_path, capsys, way):
    clean, noisy = tmp_path / "clean", tmp_path / "noisy"
    write_image(clean / "one.png", noisy_picture(0, level=texture()))
    if way == "same folder":
        noisy = clean
    elif way == "link":
        noisy.symlink_to(clean)
    elif way == "copy":
        shutil.copytree(clean, noisy)
    else:
        write_image(noisy / "one.tif", read_image(clean / "one.png"))
    assert make(tmp_path / "out", "--clean", clean, "--noisy", noisy, "--iso", 100) == 1
    assert re.search(r"one\.\w+: has the very pixels of .*clean/one.png", capsys.readouterr().err)
    assert not list((tmp_path / "out").rglob("*.PNG"))


@pytest.mark.parametrize("std", [2, 10, 40])
def test_a_noisy_folder_that_is_the_cleaner_one_is_named(tmp_path, capsys, std):
    board = bursts.Burst(1).photograph(0)[:SIDE, :SIDE]
    write_image(tmp_path / "quiet" / "one.png", board)
    write_image(tmp_path / "loud" / "one.png", noisy_picture(0, level=board, std=std))
    assert make(tmp_path / "swapped", "--clean", tmp_path / "loud", "--noisy", tmp_path / "quiet", "--iso", 100) == 1
    assert re.search("quiet/one.png: has less noise than its clean image .*loud/one.png", capsys.readouterr().err)
    assert make(tmp_path / "out", "--clean", tmp_path / "quiet", "--noisy", tmp_path / "loud", "--iso", 100) == 0


def test_a_noisy_photograph_of_something_else_is_named(tmp_path, capsys):
    for kind, scene in (("clean", 1), ("noisy", 2)):
        write_image(tmp_path / kind / "one.png", bursts.Burst(scene).photograph(scene - 1))
    more = ("--exposure_tolerance", 9, "--iso", 100)
    assert make(tmp_path / "out", "--clean", tmp_path / "clean", "--noisy", tmp_path / "noisy", *more) == 1
    assert "one.png: shows something else than its clean image" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["relative", "link", "moved", "moved and touched", "renamed frames"])
def test_a_burst_is_known_by_what_it_holds(tmp_path, capsys, monkeypatch, change):
    for number, name in enumerate(("b", "c")):
        write_burst(tmp_path / "in" / name, [noisy_picture(10 * number + seed) for seed in range(4)])
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100)
    before = contents(tmp_path / "out", "*.PNG")
    folder = tmp_path / "elsewhere"
    if change == "relative":
        monkeypatch.chdir(tmp_path / "in" / "b")
        folder = "../../in"
    elif change == "link":
        folder.symlink_to(tmp_path / "in")
    elif change == "renamed frames":
        for path in (tmp_path / "in" / "b").iterdir():
            path.rename(path.with_name(f"IMG_{path.name}"))
        folder = tmp_path / "in"
    else:
        shutil.copytree(tmp_path / "in", folder, copy_function=shutil.copy if "touched" in change else shutil.copy2)
        (folder / "b").rename(folder / "x")
        write_burst(folder / "a", [noisy_picture(seed) for seed in range(20, 24)])
    capsys.readouterr()
    make(tmp_path / "out", "--bursts", folder, "--iso", 100)
    new = 1 if "moved" in change else 0
    assert f"{new} scenes to make, 2 complete before" in capsys.readouterr().out
    after = contents(tmp_path / "out", "*.PNG")
    assert {name: after[name] for name in before} == before
    assert len(after) - len(before) == 4 * new


def test_a_burst_replaced_by_an_older_one_of_the_same_size_is_made_again(tmp_path, capsys):
    write_burst(tmp_path / "in" / "a", [noisy_picture(seed) for seed in range(4)], ".bmp")
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100)
    before = contents(tmp_path / "out", "*.PNG")
    write_image(tmp_path / "in" / "a" / "01.bmp", noisy_picture(9))
    os.utime(tmp_path / "in" / "a" / "01.bmp", (1e9, 1e9))
    capsys.readouterr()
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100)
    assert "1 scenes to make, 0 complete before" in capsys.readouterr().out
    after = contents(tmp_path / "out", "*.PNG")
    assert after.keys() == before.keys() and after != before


def test_the_same_burst_twice_is_noted(tmp_path, capsys):
    for name in ("a", "b"):
        write_burst(tmp_path / "in" / name, [noisy_picture(seed) for seed in range(4)])
    make(tmp_path / "out", "--bursts", tmp_path / "in", "--iso", 100)
    assert re.search("note: .*in/b: holds the same photographs as .*in/a", capsys.readouterr().out)


def test_the_judge_gives_the_simulators_own_noise_0_and_white_noise_1(tmp_path, monkeypatch):
    monkeypatch.setattr(bursts, "PHOTOGRAPHS", [9])
    burst = bursts.Burst(9, 1600)
    clean, frame = burst.photograph(0), burst.photograph(5)
    white = noisy_picture(0, level=clean, std=noise_of(frame, clean).std(), side=bursts.SIDE)
    for score, image in ((0.0, frame), (1.0, white)):
        write_image(tmp_path / "board_9.png", image)
        (row,) = bursts.judge(tmp_path, 1600)
        assert row["score"] == pytest.approx(score, abs=0.3)
