"""Two-sample tests must know two draws of one process for the same, and find what other metrics do not see."""

import numpy as np
import pytest
import torch

from data.pairs import find_pairs
from evaluation import c2st
from evaluation.noise_metrics import Comparison, Reference, measure
from noise.fitting import fit_noise
from noise.interface import Images
from noise.kinds import FITTED
from tests.conftest import read_csv
from tests.noisy_set import make_set
from tests.refusal import one_line
from tests.test_eval_noise import evaluate
from tests.test_fitting import interpolated
from utils.image import read_image, write_image

SIDE = 160
CPU = torch.device("cpu")


def drawn(seed: int, first: int = 0, size: int = SIDE) -> np.ndarray:
    """Noise of mean -3 with a mosaic, neighbours that depend on each other, and green that depends on red."""
    noise = interpolated(size, size + 1, np.random.default_rng(seed))[:, first : first + size]
    noise[..., 1] = 0.6 * noise[..., 0] + 0.8 * noise[..., 1]
    return np.rint(noise - 3).astype(np.int16)


def images(change, size: int = SIDE, scenes: int = 4) -> list[tuple[str, c2st.TwoImages]]:
    """Scenes of grey squares; the fake noise is another draw, changed."""
    found = []
    for seed in range(scenes):
        clean = np.random.default_rng(seed).integers(80, 170, (size // 16, size // 16, 3)).astype(np.uint8)
        clean = clean.repeat(16, 0).repeat(16, 1)
        both = drawn(seed, size=size), change(100 + seed)
        found.append((f"scene {seed}", c2st.TwoImages((clean,) * 2, both, (0, 0), 8.0)))
    return found


def auc_of(found: list[tuple[str, c2st.TwoImages]], side: int, device: torch.device = CPU) -> float:
    training, testing, split_by = c2st.split(found)
    assert split_by == "scene" and len(training) == len(testing) == len(found) // 2
    return c2st.classify("", training, testing, side, 0, device).auc


@pytest.mark.parametrize(("side", "size", "scenes"), [(8, SIDE, 4), (32, 448, 6)])
def test_two_draws_of_one_process_cannot_be_told_apart(side, size, scenes):
    # Patches: 800 and 588 of each kind, whose AUC has a standard error of .41 / sqrt(n) = .014 and .017.
    found = images(lambda seed: drawn(seed, size=size), size, scenes)
    assert auc_of(found, side) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("kind", "low", "high"), [("coloured-phase", 0.45, 0.55), ("coloured", 0.95, 1)])
def test_gaussian_by_phase_is_the_truth_of_a_linear_camera_and_one_without_phase_is_not(kind, low, high):
    clean = np.full((SIDE, SIDE, 3), 128, np.uint8)
    pairs = [("", clean, (clean + drawn(seed)).astype(np.uint8), (0, 0)) for seed in range(200, 220)]
    model = FITTED[kind](fit_noise({800: [pairs]}, lambda group: group, 0)[800])

    def fitted(seed: int) -> np.ndarray:
        noise = model.noise(Images(torch.full((1, 3, SIDE, SIDE), 128 / 255)), model.white_noise(SIDE, SIDE, seed, ""))
        return np.rint(255 * noise[0].permute(1, 2, 0).numpy()).astype(np.int16)

    assert low < auc_of(images(fitted), 8) <= high


def shuffled(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(drawn(seed).reshape(-1, 3)).reshape(SIDE, SIDE, 3)


FAKES = {
    "shuffled pixels": shuffled,
    "permuted channels": lambda seed: drawn(seed)[..., [1, 2, 0]],
    "no mean": lambda seed: drawn(seed) + 3,
    "another phase": lambda seed: drawn(seed, first=1),
}


@pytest.mark.parametrize("name", FAKES)
def test_wrong_arrangement_channels_mean_and_phase_are_found(name, device):
    assert auc_of(images(FAKES[name]), 32, device) > 0.95


def test_all_metrics_but_phase_pass_the_same_covariance_with_another_phase():
    _, real = images(drawn)[0]
    noisy = (real.clean[0] + real.noise[0]).astype(np.uint8)
    same, moved = (
        measure(Comparison(Reference(real.clean[0], noisy), noise.astype(float)))
        for noise in (drawn(100), FAKES["another phase"](100))
    )
    for name in set(same) - {"phase", "std"}:
        assert moved[name] < 2 * abs(same[name]) + 0.02, name
    assert moved["phase"] > 5 * same["phase"]


def test_single_images_are_split_into_halves_and_single_scenes_by_image():
    one = images(drawn)[0][1]
    training, testing, split_by = c2st.split([("scene", one)])
    assert (training[0].box, testing[0].box, split_by) == ((0, 0, 80, 160), (80, 0, 80, 160), "half of the image")
    assert c2st.split([("scene", one)] * 3)[2] == "image"


def test_patches_begin_at_the_first_pixel_of_the_mosaic():
    part = c2st.Part(images(drawn)[0][1]._replace(origin=(1, 0)), c2st.Box(3, 0, 40, 20))
    assert set(map(tuple, part.corners(8, 8).tolist())) == {(y, x) for y in (3, 11, 19, 27, 35) for x in (0, 8)}


def test_auc_is_the_share_of_pairs_in_order():
    assert c2st.auc(np.array([3, 1, 2]), np.array([0, 2])) == pytest.approx((2 + 1 + 1.5) / 6)


def test_report_has_the_tests_their_floor_and_the_surest_patches(tmp_path, monkeypatch):
    monkeypatch.setattr(c2st, "STEPS", 20)
    make_set(tmp_path, frames=1)
    evaluate(tmp_path, "--models", "AWGN-image", "--c2st", "--num_workers", "0")
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Two-sample tests" in report and "real, mirrored" in report and "c2st.png" in report
    lines = (tmp_path / "out" / "c2st.csv").read_text().splitlines()
    assert lines[0] == "model,patch,seed,auc,steps,tested" and len(lines) == 1 + 2 * 2 * 3


def test_images_too_small_for_the_patches_are_named():
    small = images(drawn)[0][1]
    parts = [c2st.Part(small, c2st.Box(0, 0, 60, 60))]
    with pytest.raises(ValueError, match="coloured: 60x60 pixels to learn from, expected 66 by 33"):
        c2st.classify("coloured", parts, parts, 32, 0, CPU)


@pytest.fixture
def small_scene(tmp_path):
    """A set whose second test scene is smaller than the patches need."""
    make_set(tmp_path, frames=2)
    for path in (tmp_path / "data").glob("0006_*/*/*.png"):
        write_image(path, read_image(path)[:65])
    return tmp_path


@pytest.fixture
def untrained(monkeypatch) -> list[c2st.Part]:
    """Classifiers that say .5 without a training -> the parts that they would have learned from."""
    learned = []

    def classify(name, training, testing, side, seed, device):
        learned.extend(training)
        return c2st.Test(name, side, seed, 0.5, 1, 1, *np.zeros((2, 8, 8, 3), np.float32))

    monkeypatch.setattr(c2st, "classify", classify)
    return learned


def test_small_scenes_are_left_out_with_a_remark(small_scene, untrained):
    rows = evaluate(small_scene, "--models", "AWGN-image", "--c2st", "--num_workers", "0")
    assert {row["image"][:4] for row in rows} == {"0005", "0006"}  # the metrics take them
    assert {part.box.height for part in untrained} == {96}
    assert "without 2 of 4 images, which are too small" in (small_scene / "out" / "report.md").read_text()


@pytest.mark.parametrize("size", [(65, 96), (96, 32)])
def test_images_that_are_all_too_small_are_refused_before_the_evaluation(tmp_path, monkeypatch, size):
    make_set(tmp_path)
    for path in (tmp_path / "data").rglob("*.png"):
        write_image(path, read_image(path)[: size[0], : size[1]])
    monkeypatch.setattr("main_eval.evaluate", None)  # is not reached
    with pytest.raises(ValueError, match=rf"{size[0]}x{size[1]} pixels, two-sample tests need 66 by 33.*--c2st$"):
        evaluate(tmp_path, "--models", "AWGN-image", "--c2st")


def test_one_image_has_to_be_large_enough_in_halves(tmp_path):
    make_set(tmp_path)
    pairs = find_pairs(sorted((tmp_path / "data").iterdir()))
    assert c2st.large_enough(pairs) == pairs
    with pytest.raises(ValueError, match="96x96 pixels, two-sample tests need 132 by 33"):
        c2st.large_enough(pairs[:1])


def test_one_models_failure_leaves_the_others_and_the_report(tmp_path, monkeypatch, untrained):
    make_set(tmp_path, frames=1)
    classify = c2st.classify

    def fail(name, *rest):
        if name == "AWGN-image" and rest[2] == 32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return classify(name, *rest)

    monkeypatch.setattr(c2st, "classify", fail)
    words = ("--models", "AWGN-image", "--c2st", "--num_workers", "0")
    with pytest.raises(ValueError, match=one_line("two-sample tests of AWGN-image: CUDA out of memory", "report")):
        evaluate(tmp_path, *words)
    assert {row["model"] for row in read_csv(tmp_path / "out" / "c2st.csv")} == {c2st.MIRRORED}
    assert "Failed and left out: two-sample tests of AWGN-image" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize("error", [RuntimeError("a fault of ours"), KeyboardInterrupt()])
def test_a_report_is_written_whatever_happens_to_the_tests(tmp_path, monkeypatch, error):
    make_set(tmp_path, frames=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "c2st.csv").write_text("of an earlier evaluation")

    def fail(*args):
        raise error

    monkeypatch.setattr("evaluation.noise.two_sample_tests", fail)
    with pytest.raises(type(error)):
        evaluate(tmp_path, "--models", "AWGN-image", "--c2st")
    assert len(read_csv(tmp_path / "out" / "results.csv")) == 2
    report = (tmp_path / "out" / "report.md").read_text()
    assert f"Failed and left out: two-sample tests ({str(error) or 'KeyboardInterrupt'})" in report
    assert not (tmp_path / "out" / "c2st.csv").exists()
