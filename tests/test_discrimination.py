"""Fakes that marginal histograms take for real: each metric of structure must find the one it is there for."""

import numpy as np
import pytest

import metrics
from data.demo.scenes import DemoOptions, DemoScene
from data.pairs import read_files
from data.sidd import find_frames
from evaluation.noise_metrics import Comparison, Reference, measure
from metrics import noise_of, structure_score
from tests.conftest import SHARED

REAL_SCENES = {  # of ../shared/real: camera and ISO differ
    "S6 ISO 800": "SIDD_Srgb_Parts/0009_001_S6_00800_00350_3200_L",
    "GP ISO 10000": "SIDD_Srgb_Parts/0021_001_GP_10000_05000_5500_N",
    "N6 ISO 3200": "SIDD_Srgb_Parts/0056_003_N6_03200_04000_5500_N",
    "IP ISO 100": "SIDD_Srgb_Parts/0110_005_IP_00100_00100_5500_L",
    "T3": "RENOIR_T3_Srgb_Parts/0001_001_T3_03200_00000_0000_N",
}
DEMO = DemoOptions(num_scenes=6, size=(448, 640), iso=(100, 800, 3200), seed=0)
DEMO_INSTANCES = {"demo ISO 100": 1, "demo ISO 800": 2, "demo ISO 3200": 3}


@pytest.fixture(scope="module", params=[*DEMO_INSTANCES, *REAL_SCENES])
def reference(request) -> Reference:
    if request.param in DEMO_INSTANCES:
        scene = DemoScene(DEMO, DEMO_INSTANCES[request.param])
        return Reference(scene.clean(), scene.noisy(0))
    folder = SHARED / "real" / REAL_SCENES[request.param]
    if not folder.is_dir():
        pytest.skip("no real camera pairs: ../shared/real is absent")
    return Reference(*read_files(*find_frames(folder)[0][0]))


def score(reference: Reference, fake_noise: np.ndarray) -> dict[str, float]:
    return measure(Comparison(reference, fake_noise))


def kld_bound(reference: Reference) -> float:
    """0.01; for dark images 0.03: there another arrangement of the same noise is clipped differently."""
    return 0.03 if np.mean(reference.clean < 16) > 0.1 else 0.01


def shuffled(noise: np.ndarray) -> np.ndarray:
    """The same values at other pixels; channels stay together."""
    return np.random.default_rng(0).permutation(noise.reshape(-1, 3)).reshape(noise.shape)


def test_shuffled_pixels_pass_for_real_by_kld_and_are_found_by_acf_and_psd(reference):
    values = score(reference, shuffled(reference.noise))
    assert values["kld"] < kld_bound(reference)
    assert values["xcorr"] < 0.05
    # Neighbours lose a correlation of about .4 in each of 4 of the 80 lags: RMS .09; the spectrum goes flat.
    assert values["acf"] > 0.08
    assert values["psd"] > 3


def test_permuted_channels_pass_for_real_by_kld_and_are_found_by_xcorr(reference):
    swapped = reference.noise[..., [1, 2, 0]]
    values = score(reference, swapped)
    correlation = np.corrcoef(reference.noise.reshape(-1, 3), rowvar=False)
    permuted = np.corrcoef(swapped.reshape(-1, 3), rowvar=False)
    change = np.abs(correlation - permuted).max()
    assert values["kld"] < kld_bound(reference)
    assert values["xcorr"] == pytest.approx(change, abs=0.02)  # what clipping takes
    assert values["xcorr"] > 0.05


def test_channels_shuffled_apart_pass_for_real_by_acf_alone_no_more_than_by_xcorr(reference):
    rolled = np.stack([np.roll(reference.noise[..., c], 37 * c, axis=(0, 1)) for c in range(3)], axis=2)
    values = score(reference, rolled)
    assert values["kld"] < kld_bound(reference)
    assert values["acf"] < 0.03  # every channel keeps its own structure
    correlation = np.corrcoef(reference.noise.reshape(-1, 3), rowvar=False)
    assert values["xcorr"] > 0.7 * np.abs(correlation - np.eye(3)).max()


def test_noise_without_signal_dependence_is_found_by_nlf(reference):
    """Every intensity gets the channel's mean std."""
    level = reference.clean // 16
    even = reference.noise.astype(float)
    for channel in range(3):
        whole = even[..., channel].std()
        for one in range(16):
            inside = level[..., channel] == one
            if np.count_nonzero(inside) > 1 and (own := even[..., channel][inside].std()) > 0:
                even[..., channel][inside] *= whole / own
    assert score(reference, even)["nlf"] > 0.05  # another draw of the same noise scores below .03, see below


def test_noise_without_its_mean_is_found_by_bias(reference):
    mean = reference.noise.mean(axis=(0, 1))
    dither = np.random.default_rng(0).random(reference.noise.shape)  # or whole grey levels would round it away
    values = score(reference, np.floor(reference.noise - mean + dither))
    assert values["bias"] > 0.6 * np.abs(mean).max()  # the rest is clipped away in dark images
    assert score(reference, reference.noise)["bias"] == 0


@pytest.mark.parametrize("instance", DEMO_INSTANCES.values())
def test_another_draw_of_the_true_noise_scores_far_below_all_these_fakes(instance):
    scene = DemoScene(DEMO, instance)
    clean = scene.clean()
    values = score(Reference(clean, scene.noisy(0)), noise_of(scene.noisy(1), clean))
    for name, bound in {"kld": 0.005, "acf": 0.02, "psd": 1, "xcorr": 0.02, "nlf": 0.03, "bias": 0.15}.items():
        assert values[name] < bound, name
    assert structure_score(values) < 0.1


def test_real_noise_itself_scores_zero_and_white_noise_of_its_std_about_one(reference):
    white = np.random.default_rng(0).normal(0, reference.noise.std(), reference.noise.shape)
    assert structure_score(score(reference, reference.noise)) == pytest.approx(0, abs=1e-9)
    assert 0.5 < structure_score(score(reference, white)) < 1.5


def test_fake_without_noise_scores_worse_than_white_noise(reference):
    white = np.random.default_rng(0).normal(0, reference.noise.std(), reference.noise.shape)
    nothing = np.zeros(reference.noise.shape)
    assert structure_score(score(reference, nothing)) > 3 * structure_score(score(reference, white))


def test_reference_is_the_difference_of_its_images():
    clean, noisy = np.full((40, 40, 3), 9, np.uint8), np.full((40, 40, 3), 4, np.uint8)
    assert np.array_equal(Reference(clean, noisy).noise, noise_of(noisy, clean))


def test_each_metric_gets_the_fake_clipped_and_rounded_as_its_definition_says():
    random = np.random.default_rng(0)
    clean = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)  # much of it within the noise of black or white
    noisy = np.clip(clean + random.normal(0, 20, clean.shape), 0, 255).round().astype(np.uint8)
    free = random.normal(0, 25, clean.shape)
    clipped = np.clip(clean + free, 0, 255) - clean
    rounded = np.clip(clean + free, 0, 255).round().astype(np.int16) - clean
    protocol = {"kld": rounded, "kld_exact": rounded, "std": rounded, "bias": rounded}
    protocol |= {"kld_naflow": clipped, "akld": clipped, "kld_flow": free}
    real = noisy.astype(np.int16) - clean
    values, of_rounded = (score(Reference(clean, noisy), fake) for fake in (free, rounded))
    for name in ("acf", "psd", "xcorr", "phase"):
        assert values[name] == of_rounded[name], name
    for name, fake in protocol.items():
        assert values[name] == pytest.approx(getattr(metrics, name)(real, fake), rel=1e-12), name
    assert values["akld"] != pytest.approx(metrics.akld(real, free), rel=1e-3)
    assert values["kld_naflow"] != pytest.approx(metrics.kld_naflow(real, rounded), rel=1e-3)
    assert values["kld_flow"] != pytest.approx(metrics.kld_flow(real, clipped), rel=1e-3)
