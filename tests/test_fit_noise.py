"""The command that fits a camera's noise: which model it chooses, what it writes, and what it refuses."""

import json
import re

import numpy as np
import pytest
import torch

import main_fit_noise
from benchmark import parts
from data.sidd import find_scenes
from noise import load_noise
from noise.pipeline import Pipeline
from tests.refusal import refused
from tests.test_pipeline import NOISE, camera, photograph
from utils.image import read_image, write_image

SIDE, ISO = 96, 800


def write_scene(folder, number: int, pair) -> None:
    scene = folder / f"{number:04d}_{number:03d}_XY_{ISO:05d}_00100_4400_N"
    for kind, image in (("GT", pair.clean), ("NOISY", pair.noisy)):
        pixels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
        write_image(scene / f"{number:04d}_{kind}_SRGB_010.PNG", pixels)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Three scenes of a camera that renders from a mosaic."""
    folder = tmp_path_factory.mktemp("scenes")
    for number in range(1, 4):
        write_scene(folder, number, photograph(camera(), SIDE, number))
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Few steps and candidates, for what comes out need not be good here."""
    monkeypatch.setattr("noise.raw_noise.SHAPE_STEPS", 2)
    monkeypatch.setattr("noise.identify.PHASES", ((1, 0),))


def fit(folder, output, *more) -> None:
    words = ["--cam_name", "XY", "--train_img_dir", str(folder), "--output_dir", str(output), "--num_workers", "0"]
    main_fit_noise.main([*words, *map(str, more)])


def test_a_rendered_camera_gets_a_pipeline_that_other_code_loads(scenes, tmp_path, quick, caplog):
    fit(scenes, tmp_path)
    pipeline = Pipeline.load(tmp_path / "XY" / "noise.json")
    assert pipeline.isos == [ISO] and len(pipeline.scenes) == 2  # the third is tested on
    assert (tmp_path / "XY" / "noise.png").is_file()
    raw = torch.tensor([0.1, 0.3])
    found, truth = ((numbers[:, :1] * raw + numbers[:, 1:]).sqrt() for numbers in (pipeline.numbers(ISO), NOISE))
    assert (found / truth - 1).abs().max() < 0.15  # up to the scale of all light; two images of 96 x 96
    clean = np.full((64, 64, 3), 90, np.uint8)
    noisy = load_noise(tmp_path / "XY").synthesize(clean, iso=ISO, seed=1, key="a")
    assert noisy.shape == clean.shape and 3 < noisy.std() < 60


def test_an_image_without_a_mosaic_gets_a_copula_and_a_pipeline_is_refused_by_name(tmp_path, quick, monkeypatch):
    for name in ("STEPS", "REFINED", "LAST"):
        monkeypatch.setattr(f"noise.identify.{name}", 2)
    rng = np.random.default_rng(0)
    folder = tmp_path / "scenes"
    for number in (1, 2, 3):
        pair = photograph(camera(), SIDE, number)
        noisy = pair.clean + 0.04 * torch.from_numpy(rng.standard_normal(pair.clean.shape)).float()
        write_scene(folder, number, pair._replace(noisy=noisy.clamp(0, 1)))
    with pytest.raises(ValueError, match="a rendering that is not identified has no pipeline; change --model"):
        fit(folder, tmp_path / "out", "--model", "pipeline")
    assert not (tmp_path / "out" / "XY" / "noise.json").exists()
    fit(folder, tmp_path / "out")
    assert (tmp_path / "out" / "XY" / "noise.safetensors").is_file()
    assert load_noise(tmp_path / "out", "XY").synthesize(np.full((64, 64, 3), 90, np.uint8), iso=ISO).std() > 3


def made_by(pipeline: Pipeline, pair) -> torch.Tensor:
    return pipeline.synthesize(pair.clean, pipeline.numbers(ISO), phases=[pair.phase]) - pair.clean


def test_noisy_images_alone_are_enough(scenes, tmp_path, quick, capsys):
    main_fit_noise.main(["--noisy_only", str(scenes), "--cam_name", "XY", "--output_dir", str(tmp_path)])
    pipeline = Pipeline.load(tmp_path / "XY" / "noise.json")
    assert len(pipeline.scenes) == 3 and pipeline.isos == [ISO]
    pairs = [photograph(camera(), SIDE, number) for number in range(1, 4)]
    torch.manual_seed(0)
    fake = torch.cat([made_by(pipeline, pair) for pair in pairs])
    real = torch.cat([pair.noisy - pair.clean for pair in pairs])
    assert (fake.std((0, 2, 3)) / real.std((0, 2, 3)) - 1).abs().max() < 0.1
    assert (tmp_path / "XY" / "noise.png").is_file()
    told = re.search(r"^800 +3 +([\d.]+) +([\d.]+) to ([\d.]+)$", "".join(capsys.readouterr()), re.MULTILINE)
    std, low, high = map(float, told.groups())
    assert low < std < high < 1.3 * low


def test_a_noisy_image_tells_its_iso_by_its_name_or_an_option_does(scenes, tmp_path, quick, capsys):
    noisy = next(scenes.rglob("*NOISY*"))
    words = ["--cam_name", "XY", "--output_dir", str(tmp_path / "out"), "--num_workers", "0", "--noisy_only"]
    (tmp_path / "photos").mkdir()
    for name in ("plain.png", "wall_ISO1600.png"):
        (tmp_path / "photos" / name).write_bytes(noisy.read_bytes())
    expected = "plain.png: no ISO in its EXIF data or name (such as ISO800), and no other one given"
    assert expected in refused(capsys, main_fit_noise.main, [*words, str(tmp_path / "photos")])
    assert not list((tmp_path / "out").rglob("noise.*"))
    main_fit_noise.main([*words, str(tmp_path / "photos"), "--iso", "400"])
    assert Pipeline.load(tmp_path / "out" / "XY" / "noise.json").isos == [400, 1600]


def test_noisy_images_that_were_not_rendered_so_are_refused_with_the_way_out(tmp_path, quick, capsys):
    pixels = np.random.default_rng(0).normal(120, 20, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    write_image(tmp_path / "ISO800.png", pixels)
    words = ["--noisy_only", str(tmp_path / "ISO800.png"), "--cam_name", "XY", "--output_dir", str(tmp_path / "out")]
    line = refused(capsys, main_fit_noise.main, words)
    assert "rendering not identified" in line and "such images need clean ones, or bursts" in line
    assert not list((tmp_path / "out").rglob("noise.*"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [((), "x: no such file or folder"), (("--test_images", "3"), "--test_images: not with --noisy_only")],
)
def test_noisy_images_that_are_not_there_and_options_of_pairs_are_refused(tmp_path, capsys, words, expected):
    words = ["--noisy_only", "x", "--output_dir", str(tmp_path), *words]
    assert expected in refused(capsys, main_fit_noise.main, words)


def test_small_and_blank_images_among_others_are_left_out_and_named(scenes, tmp_path, quick, caplog):
    noisy = read_image(next(scenes.rglob("*NOISY*")))
    for name, image in {"a": noisy, "b": noisy[:40, :40], "c": np.full_like(noisy, 9)}.items():
        write_image(tmp_path / "photos" / f"{name}_ISO800.png", image)
    (tmp_path / "photos" / "d.dng").touch()
    words = ["--noisy_only", str(tmp_path / "photos"), "--cam_name", "XY", "--output_dir", str(tmp_path / "out")]
    main_fit_noise.main(words)
    assert "d.dng" in caplog.text  # a photograph that is not read
    assert re.search(r"left out, for it is smaller than 64x64 pixels: \S*b_ISO800.png", caplog.text)
    assert re.search(r"left out, for it is black, white or of one colour: \S*c_ISO800.png", caplog.text)
    assert len(Pipeline.load(tmp_path / "out" / "XY" / "noise.json").scenes) == 1


def test_without_test_images_nothing_is_tested(scenes, tmp_path, quick, monkeypatch):
    monkeypatch.setattr("evaluation.fit_report.evaluate", lambda *given: pytest.fail("tested"))
    (tmp_path / "XY").mkdir()
    (tmp_path / "XY" / "noise.safetensors").touch()  # a fit of another kind, which goes
    fit(scenes, tmp_path, "--test_images", 0)
    assert sorted(path.name for path in (tmp_path / "XY").iterdir()) == ["noise.json", "noise.png"]


def test_one_pair_is_fitted_and_tested_alike(scenes, tmp_path, quick):
    single = tmp_path / "one"
    single.mkdir()
    source = find_scenes(scenes)[0]
    (single / source.name).symlink_to(source)
    fit(single, tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "XY" / "noise.json").read_text())["scenes"]) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--cam_name", "ZZ"), "no scenes of camera ZZ"),
        (("--frame_size", "10", "10"), "--frame_size: only with --reduced_dir"),
        (("--reduced_dir", "x"), "the size of its frames is not known"),
        (("--reduced_dir", "x", "--model", "copula"), "--reduced_dir: not with --model copula"),
        (("--noisy_only", "x", "--model", "copula"), "--noisy_only: not with --model copula"),
        (("--noisy_only", "x", "--reduced_dir", "x"), "--noisy_only: not with --reduced_dir"),
        (("--noisy_only", "x"), "--train_img_dir: not with --noisy_only"),
        (("--iso", "800"), "--iso: only with --noisy_only"),
    ],
)
def test_options_that_do_not_fit_end_in_one_line(scenes, tmp_path, capsys, words, expected):
    arguments = ["--cam_name", "XY", "--train_img_dir", str(scenes), "--output_dir", str(tmp_path / "out"), *words]
    assert expected in refused(capsys, main_fit_noise.main, arguments)
    assert not list((tmp_path / "out").rglob("noise.*"))


def test_the_benchmark_of_parts_fits_without_each(scenes, tmp_path, quick, monkeypatch):
    for name in ("STEPS", "REFINED", "LAST"):
        monkeypatch.setattr(f"noise.identify.{name}", 2)
    (tmp_path / "lists").mkdir()
    names = sorted(path.name for path in scenes.iterdir())
    for half, listed in (("train", names[:2]), ("test", names[2:])):
        (tmp_path / "lists" / f"XY_{half}.txt").write_text("".join(f"{name}\n" for name in listed))
    words = ["--cam_name", "XY", "--train_img_dir", str(scenes), "--data_prep_dir", str(tmp_path / "lists")]
    parts.main([*words, "--output_dir", str(tmp_path)])
    fits = {path.parents[1].name: Pipeline.load(path) for path in tmp_path.rglob("noise.json")}
    whole = fits.pop("none")
    assert not torch.equal(whole.rendering.matrix, torch.eye(3)) and whole.shape.abs().max() > 0
    assert torch.equal(fits.pop("matrix").rendering.matrix, torch.eye(3))
    assert fits.pop("curve").rendering.light.tolist() == pytest.approx(torch.linspace(0, 1, 256).tolist(), abs=1e-6)
    assert fits.pop("demosaicking").rendering.demosaicking != whole.rendering.demosaicking
    assert fits.pop("clipping").rendering.clips is not whole.rendering.clips
    assert fits.pop("shape").shape.abs().max() == 0
    level = fits.pop("level").numbers(ISO)
    assert level[:, 0].max() < 1e-6 and (level[:, 1] > whole.numbers(ISO)[:, 1]).all()
    assert fits == {}
