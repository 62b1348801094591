"""The demo camera: its noise is a phone's, its data set is reproducible, and its truth can be redrawn."""

import re

import numpy as np
import pytest

from data.demo import camera as demo_camera
from data.demo import content as demo_content
from data.demo.scenes import (
    DemoOptions,
    DemoScene,
    all_scenes,
    as_markdown,
    claim_demo_folder,
    measure,
    open_scene,
    parse_size,
    read_options,
    redraw,
    split_of,
)
from main_make_demo import main
from options.data import make_demo_parser
from tests.conftest import contents
from utils.image import read_image

SMALL = {"--num_scenes": "6", "--size": "256x384", "--iso": "100 800 3200", "--seed": "1"}
# SIDD's own form of a scene's name: instance, scene, camera, ISO, 1/shutter, illuminant, brightness.
SIDD_NAME = re.compile(r"^(\d{4})_(\d{3})_([A-Z0-9]{2})_(\d{5})_(\d{5})_(\d{4})_([LNH])$")


def make(root, **changes):
    """Run the command with small options, some of them changed, below `root`: -> the data set's folder."""
    options = {**SMALL, **{f"--{name}": value for name, value in changes.items()}}
    arguments = [word for option, value in options.items() for word in (option, *value.split())]
    main([*arguments, "--output_dir", str(root / "demo"), "--data_prep_dir", str(root / "lists")])
    return root / "demo"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a small data set `demo` and its `lists`."""
    root = tmp_path_factory.mktemp("demo_camera")
    make(root)
    return root


def noise(noisy, clean):
    return noisy.astype(np.float64) - clean


# --- the noise: issue 3's bars ---


def test_noise_at_every_iso_has_the_statistics_of_a_phone(root):
    table = measure(root / "demo")
    for row in table.values():
        assert 3 <= row["std"] <= 32
        assert 0.36 <= row["lag-1 h"] <= 0.48 and 0.36 <= row["lag-1 v"] <= 0.48
        assert 0.03 <= row["lag-2"] <= 0.10
        assert 0.2 <= row["rg"] <= 0.4 and 0.2 <= row["gb"] <= 0.45 and 0.4 <= row["rb"] <= 0.6
    assert 0 > table[100]["bias"] > table[800]["bias"] > table[3200]["bias"]
    assert table[100]["std"] < table[800]["std"] < table[3200]["std"]


def test_statistics_are_printed_with_a_row_for_each_iso(root):
    lines = as_markdown(measure(root / "demo")).splitlines()
    assert [line.split("|")[1].strip() for line in lines] == ["ISO", "---:", "100", "800", "3200"]
    assert len({line.count("|") for line in lines}) == 1


def test_raw_noise_is_that_of_counted_electrons():
    """Photon transfer: variance over mean is the number of steps per electron, eight times more at ISO 800."""
    rng, slopes = np.random.default_rng(0), []
    for iso in (100, 800):
        levels = [demo_camera.expose(np.full((400, 400), light), iso, rng).astype(float) for light in (0.1, 0.5)]
        means, variances = [level.mean() for level in levels], [level.var() for level in levels]
        slopes.append((variances[1] - variances[0]) / (means[1] - means[0]))
        steps = demo_camera.WHITE_LEVEL - demo_camera.BLACK_LEVEL
        assert means == pytest.approx([demo_camera.BLACK_LEVEL + light * steps for light in (0.1, 0.5)], rel=2e-3)
    assert slopes[0] == pytest.approx(steps / demo_camera.ELECTRONS_AT_ISO_100, rel=0.03)
    assert slopes[1] / slopes[0] == pytest.approx(8, rel=0.04)


def test_darkness_keeps_its_read_noise_on_both_sides_of_black():
    numbers = (
        demo_camera.expose(np.zeros((200, 200)), 3200, np.random.default_rng(0)).astype(float) - demo_camera.BLACK_LEVEL
    )
    assert (numbers < 0).mean() == pytest.approx(0.5, abs=0.02)


# --- the rendering ---


def test_demosaicking_is_exact_for_constant_and_linear_light():
    y, x = np.mgrid[:12, :14].astype(np.float32)
    for slope_y, slope_x in ((0, 0), (0.02, -0.01)):
        image = np.stack([level + slope_y * y + slope_x * (1 + level) * x for level in (0.3, 0.4, 0.6)], axis=2)
        raw = np.empty_like(y)
        for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
            raw[row::2, column::2] = image[row::2, column::2, channel]
        inside = np.s_[2:-2, 2:-2]  # the kernels reach two pixels
        np.testing.assert_allclose(demo_camera.demosaic(raw)[inside], image[inside], atol=1e-6)


def test_tone_curve_is_undone_by_its_inverse():
    values = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(demo_camera.tone_curve(demo_camera.inverse_tone_curve(values)), values, atol=1e-12)


@pytest.mark.parametrize("kelvin", [3200, 4400, 5500])
def test_rendering_undoes_the_way_to_raw_under_every_illuminant(kelvin):
    colours = np.array([[30, 30, 30], [128, 128, 128], [220, 220, 220], [150, 90, 60], [60, 100, 160]], np.uint8)
    for colour in colours:
        picture = demo_camera.photograph(np.full((8, 8, 3), colour / 255), 100, kelvin)
        assert np.abs(picture.astype(int) - colour).max() <= 1
    greys = np.arange(20, 236)[:, None, None].repeat(4, 1).repeat(3, 2)  # a slow ramp, which demosaicking keeps
    assert abs(noise(demo_camera.photograph(greys / 255, 100, kelvin), greys).mean()) < 0.1  # rounded, not truncated


def test_noise_drawn_from_the_clean_file_resembles_the_true_one(root):
    """Reading the light back from 8 bit costs little: the same std at every ISO, within what one draw can show."""
    for scene in all_scenes(read_options(root / "demo")):
        clean = scene.clean()
        again = demo_camera.photograph(clean / 255, scene.iso, scene.kelvin, np.random.default_rng(5))
        assert noise(again, clean).std() == pytest.approx(noise(scene.noisy(0), clean).std(), rel=0.02)


# --- the truth ---


def test_redraw_gives_the_frames_on_the_disk_and_then_independent_ones_of_the_same_strength(root):
    folder = root / "demo"
    for scene in list(all_scenes(read_options(folder)))[:3]:
        on_disk = [read_image(scene.path(folder, "NOISY", frame)) for frame in ("010", "011")]
        draws = [redraw(folder, scene.name, draw) for draw in range(3)]
        assert np.array_equal(draws[0], on_disk[0]) and np.array_equal(draws[1], on_disk[1])
        clean = read_image(scene.path(folder, "GT", "010"))
        first, second, third = (noise(draw, clean).ravel() for draw in draws)
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.02 and abs(np.corrcoef(first, third)[0, 1]) < 0.02
        assert third.std() == pytest.approx(first.std(), rel=0.02)


def test_an_unknown_scene_is_an_error_that_names_it(root):
    with pytest.raises(ValueError, match="9999_999_DC"):
        open_scene(root / "demo", "9999_999_DC_00100_00100_5500_N")


# --- the files ---


def test_files_have_sidds_layout(root):
    scenes = list(all_scenes(read_options(root / "demo")))
    assert {path.name for path in (root / "demo").iterdir()} == {*(scene.name for scene in scenes), "demo.json"}
    for number, scene in enumerate(scenes, start=1):
        instance, _, camera, iso, _, _, _ = SIDD_NAME.match(scene.name).groups()
        assert (int(instance), camera, int(iso)) == (number, "DC", (100, 800, 3200)[(number - 1) % 3])
        names = [f"{instance}_{kind}_SRGB_{frame}.PNG" for kind in ("GT", "NOISY") for frame in ("010", "011")]
        assert sorted(path.name for path in (root / "demo" / scene.name).iterdir()) == names
        clean, clean_again, noisy, noisy_again = (read_image(root / "demo" / scene.name / name) for name in names)
        assert clean.shape == (256, 384, 3) and np.array_equal(clean, clean_again)
        assert not np.array_equal(noisy, noisy_again)


def test_an_interrupted_set_is_completed_to_the_same_bytes(root, tmp_path):
    folder = make(tmp_path)
    assert contents(tmp_path) == contents(root)
    scenes = sorted(path for path in folder.iterdir() if path.is_dir())
    for path in (*scenes[-1].iterdir(), scenes[2] / "0003_GT_SRGB_011.PNG"):
        path.unlink()
    make(tmp_path)
    assert contents(tmp_path) == contents(root)


def test_complete_scenes_are_not_made_again(root, monkeypatch):
    monkeypatch.setattr(DemoScene, "noisy", lambda *_: pytest.fail("rendered a scene that was there"))
    make(root)


@pytest.mark.parametrize("seed, instance", [(1, 1), (0, 5)])
def test_another_seed_or_scene_gives_other_content_and_other_noise(seed, instance):
    scenes = [
        DemoScene(DemoOptions(6, (64, 64), (100, 800), key), number) for key, number in ((0, 1), (seed, instance))
    ]
    cleans = [scene.clean() for scene in scenes]
    noises = [noise(scene.noisy(0), clean) for scene, clean in zip(scenes, cleans)]
    for one, other in (cleans, noises):  # related ones would correlate, whatever the light
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.4


# --- the split ---


def test_train_and_test_scenes_show_different_photographs(monkeypatch):
    panel, shown, half = demo_content.photograph_panel, {"train": set(), "test": set()}, None

    def recorded_panel(name, *rest):
        shown[half].add(name)
        return panel(name, *rest)

    monkeypatch.setattr(demo_content, "photograph_panel", recorded_panel)
    for scene in all_scenes(DemoOptions(14, (128, 256), (100, 800), 0)):
        half = scene.half
        scene.clean()
    assert shown["train"] and shown["test"] and not shown["train"] & shown["test"]


@pytest.mark.parametrize(
    "num_scenes, iso", [(6, (100, 800, 3200)), (24, (100, 800, 3200)), (20, (400,)), (7, (50, 100))]
)
def test_lists_share_no_scene_and_both_have_every_iso(num_scenes, iso):
    train, test = split_of(DemoOptions(num_scenes, (64, 64), iso, 0))
    assert len({*train, *test}) == len(train) + len(test) == num_scenes
    assert {name.split("_")[1] for name in train}.isdisjoint(name.split("_")[1] for name in test)
    for names in (train, test):
        assert {int(name.split("_")[3]) for name in names} == set(iso)


def test_set_of_the_default_command_is_that_of_the_code():
    default = make_demo_parser().parse_args([])
    options = DemoOptions(default.num_scenes, parse_size(default.size), tuple(default.iso), default.seed)
    assert options == DemoOptions()


# --- content of any size ---


def test_a_frame_larger_than_every_photograph_is_filled():
    frame = demo_content.compose(1200, 2600, "test", np.random.default_rng(0))
    assert frame.shape == (1200, 2600, 3) and frame.dtype == np.float32
    assert 0 < frame.min() < 0.15 and 0.75 < frame.max() < 1  # dark and bright, but neither black nor white
    tiles = frame.reshape(60, 20, 130, 20, 3).std(axis=(1, 3)).mean(axis=-1)
    assert tiles.min() < 0.01 and tiles.max() > 0.1  # flat and textured
    assert np.abs(np.diff(frame, axis=1)).max() > 0.2  # with sharp edges


def test_a_photograph_smaller_than_its_panel_continues_without_a_seam():
    panel = demo_content.photograph_panel("chelsea.png", 100, 1000, 1.0, np.random.default_rng(0))
    assert np.all(panel[:, 1:] == panel[:, :-1], axis=(0, 2)).any()  # the mirror repeats the outermost column


# --- what users get wrong ---


@pytest.mark.parametrize(
    "option, value",
    [
        ("size", "12x"),
        ("size", "255x384"),
        ("size", "32x384"),
        ("size", "384x99999"),
        ("iso", "25"),
        ("iso", "100 25600"),
        ("iso", "100 100"),
        ("num_scenes", "5"),
        ("num_scenes", "99999"),
    ],
)
def test_a_bad_option_is_one_clear_line_before_anything_is_written(tmp_path, option, value):
    with pytest.raises(ValueError, match=rf"^[^\n]*{re.escape(value)}[^\n]*: expected [^\n]*; change --{option}$"):
        make(tmp_path, **{option: value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option, value", [("size", "256x256"), ("iso", "100 400 3200"), ("num_scenes", "7"), ("seed", "2")]
)
def test_a_changed_option_in_the_same_folder_is_an_error_that_names_it(root, option, value):
    shown, wanted = (text.replace("x", " ") for text in (SMALL[f"--{option}"], value))
    with pytest.raises(ValueError, match=rf"was begun with {option} {shown}, not {wanted}; .*--output_dir"):
        make(root, **{option: value})


def test_scenes_without_a_record_are_never_taken_for_finished(tmp_path):
    (tmp_path / "0001_001_DC_00100_00100_5500_N").mkdir()
    with pytest.raises(ValueError, match=r"has no demo\.json"):
        claim_demo_folder(tmp_path, DemoOptions(6, (64, 64), (100,), 0))


def test_folders_that_cannot_be_written_are_named_with_their_option(tmp_path):
    (tmp_path / "demo").write_text("")
    with pytest.raises(ValueError, match=r"demo: cannot be written .*--output_dir"):
        make(tmp_path)
    (tmp_path / "demo").unlink()
    (tmp_path / "lists").write_text("")
    with pytest.raises(ValueError, match=r"lists: scene lists cannot be written .*--data_prep_dir"):
        make(tmp_path)
