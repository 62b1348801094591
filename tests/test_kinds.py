"""The table of noise models: a new row works everywhere; a camera's noise from its folder; strengths of all kinds."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import main_eval
import main_synthesize
import main_train_denoiser
from noise import AddCameraNoise, load_noise
from noise.camera import CopulaNoise, GivenNoise, PipelineNoise, RenderedNoise
from noise.copula import LEVELS, SCORES, CopulaFit
from noise.interface import Images, NoiseModel, constant
from noise.kinds import KINDS, Kind, of_own_images
from noise.strengths import ByIso, Interval, Measured, Multiple, OneOf
from tests.conftest import read_csv
from tests.noisy_set import CAMERA, make_set, make_weights, scene, with_noise
from tests.test_pipeline import make_pipeline, photograph
from utils.image import read_image, write_image

ISOS = (800, 3200)


@pytest.fixture(scope="module")
def copula() -> CopulaFit:
    """A copula of white noise of std 8 at ISO 800 and 16 at ISO 3200, on all levels."""
    table = torch.tensor(SCORES).expand(3, len(LEVELS), -1) / 255
    tables = {iso: std * table for iso, std in zip(ISOS, (8, 16))}
    return CopulaFit(torch.eye(12)[:, :, None, None], tables, dict.fromkeys(ISOS, torch.ones(1, 3)), CAMERA)


@pytest.fixture
def root(tmp_path, copula) -> Path:
    """Training and test pairs, clean images of one's own, weights of ZZ and a copula beside them."""
    make_set(tmp_path)
    make_weights(tmp_path)
    copula.save(tmp_path / "pretrain" / CAMERA / "noise.safetensors")
    for name in ("a", "b"):
        write_image(tmp_path / "in" / f"{name}.png", scene(64, 96))
    return tmp_path


def test_synthesis_offers_no_model_that_only_training_images_can_make():
    assert of_own_images() == ("neca-w", "neca-s", "pipeline", "copula", "awgn-x-std")


def synthesize(root: Path, *more: object, out: str = "out") -> list[dict[str, str]]:
    words = ["--input_dir", root / "in", "--output_dir", root / out, "--pretrain_dir", root / "pretrain"]
    words += ["--cam_name", CAMERA, "--device", "cpu", "--num_workers", "0", *more]
    assert main_synthesize.main([str(word) for word in words]) == 0
    return read_csv(root / out / "manifest.csv")


def noise_of(root: Path, name: str = "a", out: str = "out") -> np.ndarray:
    return read_image(root / out / f"{name}.png").astype(float) - read_image(root / "in" / f"{name}.png")


@dataclass(frozen=True, eq=False)
class Toy(NoiseModel):
    """Uniform noise of +-5 grey levels."""

    def noise(self, images: Images, white: torch.Tensor) -> torch.Tensor:
        return (10 * torch.special.ndtr(white) - 5) / 255


def test_a_new_row_is_judged_trained_on_and_put_on_images(root, monkeypatch):
    toy = Kind("a toy", "uniform noise", "nothing", lambda sources: GivenNoise(base=Toy()))
    monkeypatch.setitem(KINDS, "toy", toy)
    synthesize(root, "--model", "toy")
    assert np.abs(noise_of(root)).max() == 5
    assert noise_of(root).std() == pytest.approx(10 / 12**0.5, rel=0.03)
    folders = ["--data_dir", root / "data", "--data_prep_dir", root / "lists", "--output_dir", root / "report"]
    words = ["noise", *folders, "--cam_name", CAMERA, "--models", "a toy", "--num_workers", "0", "--device", "cpu"]
    main_eval.main([str(word) for word in words])
    assert {row["model"] for row in read_csv(root / "report" / "results.csv")} == {"a toy"}
    assert "| a toy | uniform noise | 0 |" in (root / "report" / "report.md").read_text()
    folders = ["--train_img_dir", root / "data", "--data_prep_dir", root / "lists", "--dir_save", root / "saves"]
    words = [*folders, "--cam_name", CAMERA, "--name", "run", "--source", "toy:0.5", "copula:0.5", "--steps", "1"]
    words += ["--pretrain_dir", root / "pretrain", "--patch_size", "32", "--batch_size", "4", "--num_workers", "0"]
    main_train_denoiser.main([*map(str, words), "--nc", "4", "--nb", "3", "--device", "cpu", "--test_epoch", "100"])
    assert (root / "saves" / "run").is_dir()


def test_synthesis_takes_the_fit_in_the_folder_and_neca_when_it_is_asked_for(root, capsys):
    rows = synthesize(root, "--iso", "3200")
    assert {(row["model"], row["gain"]) for row in rows} == {("copula", "")}
    assert [float(word) for word in rows[0]["strength"].split()] == pytest.approx([16] * 3, rel=0.02)
    assert noise_of(root).std() == pytest.approx(16, rel=0.05)
    assert {row["model"] for row in synthesize(root, "--gain", "0.05", out="neca")} == {"neca-w"}
    assert {row["model"] for row in synthesize(root, "--NeCA_type", "S", out="level")} == {"neca-s"}


def test_synthesis_multiplies_the_noise_of_an_iso(root):
    rows = synthesize(root, "--iso", "800", "--times", "0.5")
    assert [float(word) for word in rows[0]["strength"].split()] == pytest.approx([4] * 3, rel=0.02)
    assert noise_of(root).std() == pytest.approx(4, rel=0.05)
    rows = synthesize(root, "--iso", "800", "--times", "0.5:2", "--per_image", "20", out="many")
    factors = np.array([float(row["strength"].split()[0]) / 8 for row in rows])
    assert 0.49 < factors.min() < 0.7 and 1.5 < factors.max() < 2.03


@pytest.mark.parametrize("option", ["--noisy_dir", "--gain_from"])
def test_synthesis_measures_the_noise_of_a_pair_or_of_a_noisy_image_alone(root, option):
    for name in ("a", "b"):
        write_image(root / "noisy" / f"{name}.png", with_noise(np.full((64, 96, 3), 120, np.uint8), 12))
        write_image(root / "in" / f"{name}.png", np.full((64, 96, 3), 120, np.uint8))
    rows = synthesize(root, option, root / "noisy")
    assert [float(word) for word in rows[0]["strength"].split()] == pytest.approx([12] * 3, rel=0.1)
    assert Path(rows[0]["gain_from"]).parent == root / "noisy"
    assert noise_of(root).std() == pytest.approx(12, rel=0.1)


def test_synthesis_puts_on_white_noise_of_the_std_of_each_pair(root, capsys):
    for name, std in (("a", 6), ("b", 12)):
        write_image(root / "in" / f"{name}.png", np.full((64, 96, 3), 120, np.uint8))
        write_image(root / "noisy" / f"{name}.png", with_noise(np.full((64, 96, 3), 120, np.uint8), std))
    synthesize(root, "--model", "awgn-x-std", "--noisy_dir", root / "noisy")
    assert [noise_of(root, name).std() for name in ("a", "b")] == pytest.approx([6, 12], rel=0.05)
    with pytest.raises(ValueError, match="does not come from an ISO; change --iso or --model, or give --noisy_dir"):
        synthesize(root, "--model", "awgn-x-std", out="other")


def test_draws_of_iso_follow_from_the_seed_and_the_key(root):
    noise = load_noise(root / "pretrain", CAMERA)
    clean = scene(32, 32)
    assert isinstance(noise, CopulaNoise)
    made = noise.synthesize(clean, iso=800, seed=1, key="name")
    assert made.dtype == np.uint8 and made.shape == clean.shape
    assert np.array_equal(made, load_noise(root / "pretrain" / CAMERA).synthesize(clean, iso=800, seed=1, key="name"))
    assert not np.array_equal(made, noise.synthesize(clean, iso=800, seed=2, key="name"))
    batch = torch.from_numpy(np.stack([clean, clean])).permute(0, 3, 1, 2)
    both = noise.synthesize(batch, iso=800, seed=1, key=["name", "other"])
    assert np.array_equal(both[0].permute(1, 2, 0).numpy(), made) and not torch.equal(both[0], both[1])
    floats = noise.synthesize(batch.double() / 255, iso=800, seed=1, key=["name", "other"])
    assert floats.dtype == torch.float64
    assert (floats * 255 - both).abs().max() <= 0.501


def test_a_pipeline_beside_the_weights_comes_first_and_renders_the_iso(root):
    pipeline = make_pipeline(error=(0.3, 0.2, 0.4))
    pipeline.save(root / "pretrain" / CAMERA / "noise.json")
    noise, iso = load_noise(root / "pretrain" / CAMERA), pipeline.isos[0]
    assert isinstance(noise, PipelineNoise) and list(noise.isos) == pipeline.isos
    clean = torch.from_numpy(scene(32, 48)).permute(2, 0, 1)[None]
    model = noise.model(noise.of_iso(iso))
    white = model.white_noise(32, 48, 3, "x")
    unit = clean / 255
    for origin in ((0, 0), (1, 0)):
        made = model.noisy(Images(clean, isos=[iso], origins=[origin]), white)
        phase = [pipeline.rendering.phase(origin)]
        fake = pipeline.synthesize(unit, pipeline.numbers(iso), white[:, :1], phase, pipeline.balance()[None])
        assert torch.equal(made, (255 * fake).round().to(torch.uint8))
    rows = synthesize(root, "--iso", str(iso), "--times", "2")
    assert {row["model"] for row in rows} == {"pipeline"}
    doubled = [float(word) for word in rows[0]["strength"].split()]
    assert doubled[:6] == pytest.approx((4 * pipeline.numbers(iso)).flatten().tolist(), rel=1e-5)
    assert len(doubled) == 8


@pytest.mark.parametrize("side", [64, 96])
def test_noise_is_as_strong_as_a_noisy_images_its_pair_or_not(root, side):
    clean = np.full((64, 64, 3), 120, np.uint8)
    noisy = with_noise(np.full((side, side, 3), 120, np.uint8), 12)
    made = load_noise(root / "pretrain", CAMERA).synthesize(clean, noisy=noisy, times=0.5)
    assert (made.astype(float) - clean).std() == pytest.approx(6, rel=0.1)
    with pytest.raises(ValueError, match="at most one of iso, strength and noisy"):
        load_noise(root / "pretrain", CAMERA).synthesize(clean, noisy=noisy, iso=800)


def test_noise_of_weights_alone_is_necas(root):
    (root / "pretrain" / CAMERA / "noise.safetensors").unlink()
    clean = scene(32, 32)
    made = load_noise(root / "pretrain" / CAMERA).synthesize(clean, strength=0.05, seed=1, key="x")
    assert np.abs(made.astype(float) - clean).max() > 0


def test_a_real_image_tells_where_it_begins_in_the_mosaic_and_its_scene_the_light():
    pipeline = make_pipeline()
    scenes = [replace(pipeline.scenes[0], illuminant=light, balance=(light / 4000, 1.0)) for light in (3200, 5500)]
    pipeline = replace(pipeline, scenes=tuple(scenes))
    pair, clean = photograph(pipeline.rendering, 160, 0), torch.full((1, 3, 128, 128), 0.4)
    moved = pair.noisy[..., 1:129, :128]  # a crop that begins a row further
    strength = PipelineNoise(3, pipeline=pipeline).of_iso()
    images = Images(clean, isos=[400], noisy=moved, origins=[(0, 0)], illuminants=[5500])
    model = RenderedNoise(pipeline, strength)
    white = model.white_noise(128, 128, 0, "a")
    phase, balance = pipeline.rendering.phase((1, 0)), torch.tensor([[5500 / 4000, 1.0]])
    expected = pipeline.synthesize(clean, pipeline.numbers(400), white[:, :1], [phase], balance) - clean
    assert torch.equal(model.noise(images, white), expected)


@pytest.mark.parametrize(
    "write, expected",
    [
        (lambda path: path.write_text("{"), "damaged or no fit"),
        (lambda path: path.write_text("[]"), "damaged or no fit"),
        (lambda path: path.write_text(json.dumps({"format": "neca-noise", "version": 9})), "version 9, expected 1"),
        (
            lambda path: path.write_text(json.dumps({"format": "neca-noise", "version": 1, "model": "dream"})),
            "a fit of a dream, expected one of copula, pipeline",
        ),
    ],
)
def test_damaged_fits_and_those_of_other_versions_are_named(root, write, expected):
    path = root / "pretrain" / CAMERA / "noise.json"
    write(path)
    with pytest.raises(ValueError, match=rf"noise\.json: {expected}"):
        load_noise(root / "pretrain", CAMERA)


@pytest.mark.parametrize("iso, low, high", [(800, 8, 8), ((800, 3200), 8, 16), ([800, 3200], 8, 16), (None, 8, 16)])
def test_augmentation_takes_a_cameras_noise_and_isos(root, iso, low, high):
    torch.manual_seed(0)
    clean = torch.full((16, 3, 48, 48), 0.5)
    transform = AddCameraNoise(root / "pretrain" / CAMERA, iso=iso)
    made = transform(clean)
    stds = 255 * (made - clean).flatten(1).std(1)
    assert low * 0.9 < stds.min() < low * 1.4 and high * 0.7 < stds.max() < high * 1.1
    assert not torch.equal(transform(clean), made)
    torch.manual_seed(0)
    assert torch.equal(transform(clean), made)
    assert transform((255 * clean).to(torch.uint8)).dtype == torch.uint8


def test_strengths_are_drawn_by_numbers_or_by_generators():
    images = Images(torch.zeros(3, 1, 2, 2), ["A"] * 3, [100, 100, 900], uniform=np.array([0.0, 0.6, 0.9]))
    assert Interval(2, 12)(images).tolist() == [2, 8, 11]
    assert ByIso({"A": {100: [1, 2], 800: [3, 4]}})(images).tolist() == [1, 2, 4]
    drawn = OneOf([("x", [1.0, 2.0]), ("y", [3.0, 4.0])]).draw(images)
    assert (drawn.numbers.tolist(), list(drawn.origins)) == ([[1, 2], [3, 4], [3, 4]], ["x", "y", "y"])
    halves = Multiple(constant([2.0, 4.0]), 0.5, 0.5, lambda numbers, factor: numbers * factor)
    assert halves(images).tolist() == [[1, 2]] * 3
    bright = Images(torch.zeros(1, 1, 2, 2), noisy=torch.full((1, 1, 2, 2), 0.25))
    assert Measured(lambda noisy, clean: (noisy - clean).mean((1, 2, 3)))(bright).tolist() == [0.25]
