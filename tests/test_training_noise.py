"""The noise of a denoiser's training: shares, and the noise of each source. Tolerances: five standard errors."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from data.batches import BatchSampler
from data.mixture import Mixture, MixtureSampler, all_pairs, fingerprint_of_sets
from data.pairs import FileReader, ImagePair, find_pairs
from inference import NoiseGenerator, load_neca
from models import synthesize_s, synthesize_w
from noise.fitting import Fit, fingerprint
from noise.gains import GainBank, bank_path, write_bank
from noise.gaussian import Gaussian
from noise.interface import Images, NecaS, NecaW, NoiseModel, PerCamera, RealPair, estimated_gain, interval
from noise.kinds import fitted_model
from synthesis import training_noise
from synthesis.training_noise import MixedNoise, NoiseChoice, fit_training_images, make_training_noise
from tests.noisy_set import CAMERA, STD, make_set, make_weights
from tests.tiny import tiny_networks
from utils.image import write_image

ERRORS = 5
SIDE = 32
LOG = logging.getLogger("test")


def name(camera: str = CAMERA, iso: int = 800) -> str:
    return f"/data/0001_001_{camera}_{iso:05d}_00100_5500_N/noisy/0001_NOISY_SRGB_010_00001.png"


def batch(names: list[str], level: int | None = 128, side: int = SIDE) -> dict:
    """Clean patches of one grey level, None: of random ones; the noisy half is one level brighter."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(30, 220, (len(names), 3, side, side), generator=generator, dtype=torch.uint8)
    clean = clean if level is None else torch.full_like(clean, level)
    return {"clean": clean, "noisy": clean + 1, "name": names}


def noise_of(made: dict) -> torch.Tensor:
    return made["noisy"].double() - made["clean"].double()


def only(model: NoiseModel) -> MixedNoise:
    return MixedNoise([model], Mixture((1.0,), seed=3))


def generators(*cameras: str, dtype: torch.dtype = torch.float32) -> tuple[dict, dict]:
    """Tiny networks of each camera, all different -> their inference forms and themselves."""
    plain = {camera: tiny_networks(seed, dtype) for seed, camera in enumerate(cameras)}
    for networks in plain.values():
        with torch.no_grad():
            networks["E"].linear[0][0].bias.fill_(0.1)
            networks["G1"].conv5.bias.fill_(0.3)
    return {camera: NoiseGenerator(networks) for camera, networks in plain.items()}, plain


def fit_of(std: float = 8.0, kernel: torch.Tensor | None = None, mean: float = 0.0) -> Fit:
    """A fit of the same noise on every level, in grey levels."""
    kernel = torch.eye(3)[:, :, None, None] if kernel is None else kernel
    levels = torch.full((3, 256), mean / 255), torch.full((3, 256), std / 255)
    return Fit(std / 255, *levels, kernel, torch.eye(12)[:, :, None, None])


def white_noise(low: float, high: float) -> NoiseModel:
    """White noise whose std is drawn from an interval in grey levels."""
    return Gaussian(interval(low / 255, high / 255))


def neca_w(generators: dict[str, NoiseGenerator]) -> NoiseModel:
    return PerCamera({camera: NecaW(of, estimated_gain(of)) for camera, of in generators.items()})


def test_shares_of_the_sources_are_respected():
    weights, steps, count = (3.0, 1.0, 1.0), 500, 8
    draws = np.concatenate([Mixture(weights, seed=1).draw(step, count).source for step in range(steps)])
    for source, weight in enumerate(weights):
        share = weight / sum(weights)
        error = (share * (1 - share) / draws.size) ** 0.5
        assert abs(np.mean(draws == source) - share) < ERRORS * error


def test_draws_follow_from_seed_and_step_alone_and_differ_between_them():
    def numbers(seed: int, step: int) -> list:
        return [np.asarray(each).tolist() for each in Mixture((1.0, 1.0), seed).draw(step, 16)]

    assert numbers(0, 5) == numbers(0, 5)
    assert numbers(0, 5) != numbers(0, 6)
    assert numbers(0, 5) != numbers(1, 5)


def test_single_source_takes_all_samples():
    assert not Mixture((0.3,), 0).draw(0, 100).source.any()


def test_real_noise_is_left_as_it_is():
    given = batch([name()] * 3, None)
    assert only(RealPair())(given, 0) is given
    mixed = MixedNoise([RealPair(), white_noise(20, 20)], Mixture((1.0, 1.0), 0))
    given = batch([name()] * 16, None)
    made, sources = mixed(given, 4), mixed.mixture.draw(4, 16).source
    unchanged = [torch.equal(one, other) for one, other in zip(made["noisy"], given["noisy"])]
    assert unchanged == (sources == 0).tolist()
    assert len(set(unchanged)) == 2
    assert torch.equal(given["noisy"], batch([name()] * 16, None)["noisy"])  # the loader's batch is not written to


def test_awgn_has_the_fitted_std_of_the_camera_and_the_iso():
    std = {("AA", 100): 4.0, ("AA", 1600): 12.0, ("BB", 100): 20.0}
    fits = {"AA": {}, "BB": {}}
    for (camera, iso), value in std.items():
        fits[camera][iso] = fit_of(value)
    model = PerCamera({camera: fitted_model("awgn", of) for camera, of in fits.items()})
    # ISO 1000 is nearer to 1600 than to 100 on a logarithmic scale.
    expected = [4.0, 12.0, 20.0, 12.0]
    made = noise_of(only(model)(batch([name("AA", 100), name("AA", 1600), name("BB", 100), name("AA", 1000)]), 0))
    count = 3 * SIDE * SIDE
    for noise, wanted in zip(made, expected):
        wanted = (wanted**2 + 1 / 12) ** 0.5  # rounding
        assert abs(noise.mean()) < ERRORS * wanted / count**0.5
        assert abs(noise.std() - wanted) < ERRORS * wanted / (2 * count) ** 0.5


@pytest.mark.parametrize("kind", ["coloured-x-std", "coloured-phase-x-std", "coloured-x-channel-std"])
def test_scaled_noise_has_the_std_of_each_real_noisy_patch(kind, device):
    given = batch([name()] * 3)
    real = torch.tensor([4.0, 9.0, 16.0])[:, None, None, None] * torch.randn(given["clean"].shape)
    given["noisy"] = (given["clean"] + real).round().clamp(0, 255).to(torch.uint8)
    choice = NoiseChoice([kind], [CAMERA], "")
    [model], _ = make_training_noise(choice, lambda: {CAMERA: {800: fit_of()}}, device)
    there = given | {half: given[half].to(device) for half in ("clean", "noisy")}
    made = noise_of(only(model)(there, 0)).flatten(1).std(1).cpu()
    torch.testing.assert_close(made, noise_of(given).flatten(1).std(1), rtol=0.01, atol=0.02)


def test_white_noise_of_a_range_has_every_std_of_it_once_for_each_sample():
    low, high, count = 5.0, 50.0, 64
    std = noise_of(only(white_noise(low, high))(batch([name()] * count), 0)).flatten(1).std(1)
    error = high / (2 * 3 * SIDE * SIDE) ** 0.5
    assert std.min() > low - ERRORS * error
    assert std.max() < high + ERRORS * error
    assert abs(std.mean() - (low + high) / 2) < ERRORS * (high - low) / (12 * count) ** 0.5


def test_neca_w_equals_the_model_of_each_camera_with_the_gain_of_the_noisy_patch():
    fast, plain = generators("AA", "BB")
    names = [name("BB"), name("AA"), name("AA"), name("BB")]
    given, mixed = batch(names, None), only(neca_w(fast))
    given["noisy"] = given["clean"] // 4  # whose gain is another one than the clean patch's
    made = mixed(given, 7)["noisy"]
    white = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(mixed.mixture.draw(7, 4).seed))
    for row, camera in enumerate(["BB", "AA", "AA", "BB"]):
        clean, noisy = (given[half][row : row + 1].float() / 255 for half in ("clean", "noisy"))
        networks = plain[camera]
        with torch.no_grad():
            gain = networks["E"](noisy).clamp(0, 1)
            fake = synthesize_w(networks["G1"], networks["G2"], clean, gain, white[row : row + 1]).fake
        expected = fake.clamp(0, 1).mul(255).round()[0]
        difference = (made[row].float() - expected).abs()
        assert difference.max() <= 1  # another order of sums may turn a rounding
        assert (difference > 0).float().mean() < 1e-3
        assert not torch.equal(made[row], given["clean"][row])


def test_neca_w_from_the_bank_takes_gains_of_the_nearest_iso_and_needs_no_genet(tmp_path):
    pretrain = make_weights(tmp_path)
    (pretrain / CAMERA / "checkpoint_E.pth").unlink()
    write_bank(bank_path(pretrain / CAMERA), GainBank(CAMERA, "", {100: [("a", 0.02)], 3200: [("b", 0.2)]}))
    choice = NoiseChoice(["neca-w"], [CAMERA], pretrain, from_bank=True)
    [model], _ = make_training_noise(choice, None, torch.device("cpu"))
    given, mixed = batch([name(iso=90), name(iso=3200)]), only(model)
    made = mixed(given, 0)["noisy"]
    generator = load_neca(pretrain, CAMERA)
    white = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(mixed.mixture.draw(0, 2).seed))
    assert torch.equal(made, generator.synthesize(given["clean"], [0.02, 0.2], z=white))


def test_gain_below_zero_of_a_strange_patch_ends_no_training():
    _, plain = generators(CAMERA)
    with torch.no_grad():
        plain[CAMERA]["E"].linear[0][0].bias.fill_(-5)
    made = only(neca_w({CAMERA: NoiseGenerator(plain[CAMERA])}))(batch([name()], None), 0)
    assert made["noisy"].dtype == torch.uint8


def test_neca_s_equals_its_model_at_the_level_of_each_sample():
    fast, plain = generators(CAMERA)
    given, mixed = batch([name()] * 2, None), only(NecaS(fast[CAMERA], interval(10 / 255, 30 / 255)))
    draw = mixed.mixture.draw(2, 2)
    made = mixed(given, 2)["noisy"]
    white = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(draw.seed))
    for row in range(2):
        level = 10 + 20 * draw.strength[row]
        with torch.no_grad():
            fake = synthesize_s(
                plain[CAMERA]["G2"], given["clean"][row : row + 1].float() / 255, level, white[row : row + 1]
            )
        difference = (made[row].float() - fake.fake.clamp(0, 1).mul(255).round()[0]).abs()
        assert difference.max() <= 1
        assert (difference > 0).float().mean() < 1e-3


@pytest.mark.parametrize(
    ("noise_level", "iso", "expected"),
    [((10, 30), 800, 15.0), ((12, 12), 800, 12.0), (None, 900, 7.0), (None, 3000, 21.0)],
)
def test_neca_s_takes_its_level_as_given_or_from_the_training_images_of_the_iso(tmp_path, noise_level, iso, expected):
    choice = NoiseChoice(["neca-s"], [CAMERA], make_weights(tmp_path), noise_level=noise_level)
    fits = {CAMERA: {800: fit_of(7.0), 3200: fit_of(21.0)}}
    [model], _ = make_training_noise(choice, lambda: fits, torch.device("cpu"))
    images = Images(torch.zeros(1, 3, 8, 8), [CAMERA], [iso], uniform=np.array([0.25]))
    assert 255 * model.models[CAMERA].strength(images).item() == pytest.approx(expected)


@pytest.mark.parametrize(("level", "far"), [(250, range(150)), (5, range(105, 256))])
def test_fakes_are_clipped_and_do_not_wrap(level, far):
    made = only(white_noise(20, 20))(batch([name()] * 4, level), 0)["noisy"]
    assert not set(made.unique().tolist()) & set(far)
    assert {250: 255, 5: 0}[level] in made


def test_noise_does_not_depend_on_how_many_processes_share_the_batch():
    fast, _ = generators(CAMERA)
    kernel = torch.zeros(3, 3, 5, 5)
    kernel[range(3), range(3), 2, 2] = 1
    fits = {800: fit_of(9.0, kernel)}
    sources = [RealPair(), neca_w(fast), fitted_model("awgn", fits), fitted_model("coloured", fits)]
    mixture = Mixture((1.0,) * 4, 0)
    given = batch([name()] * 12, None)
    whole = MixedNoise(sources, mixture)(given, 1)["noisy"]
    for rank in range(3):
        share = slice(4 * rank, 4 * rank + 4)
        part = {half: given[half][share] for half in given}
        made = MixedNoise(sources, mixture, rank=rank, world_size=3)(part, 1)["noisy"]
        assert ((made.int() - whole[share].int()).abs() > 0).float().mean() < 1e-3


def test_sources_of_other_data_sets_take_their_images_at_random_and_the_others_keep_their_order(tmp_path):
    count, sizes = 6, [10, 4, 3]
    order = BatchSampler(sizes[0], count, True, 0, 0, 40)
    mixture = Mixture((1.0, 1.0, 2.0, 1.0), 5)
    mixed = list(MixtureSampler(order, mixture, [0, 2, 1, 0], sizes))
    seen = {source: set() for source in range(4)}
    for (step, indices), (plain_step, plain) in zip(mixed, order):
        assert step == plain_step
        for source, index, own in zip(mixture.draw(step, count).source, indices, plain):
            if source in (0, 3):
                assert index == own
            seen[int(source)].add(int(index))
    assert seen[1] == {14, 15, 16}
    assert seen[2] == {10, 11, 12, 13}


def make_lists(root: Path) -> tuple[list[ImagePair], Path]:
    """Make a data set and another one of other images -> pairs of the first one, folder of the other."""
    data, _ = make_set(root / "one")
    other, _ = make_set(root / "two", cropped=False, scenes=2)
    return find_pairs(sorted(data.iterdir()), SIDE), other


def test_images_of_a_folder_are_told_from_others_of_the_same_names(tmp_path):
    pairs, other = make_lists(tmp_path)
    before = fingerprint_of_sets({None: pairs, str(other): all_pairs(other, SIDE)})
    write_image(next(other.glob("0001*/0001_NOISY_SRGB_010.PNG")), np.zeros((96, 96, 3), np.uint8))
    assert fingerprint_of_sets({None: pairs, str(other): all_pairs(other, SIDE)}) != before


def test_training_images_are_fitted_iso_by_iso(tmp_path):
    pairs, _ = make_lists(tmp_path)
    fits = fit_training_images(tmp_path / "run" / "fitted_noise.pth", FileReader(pairs), 0, 0)
    assert list(fits) == [CAMERA]
    for iso, std in STD.items():
        wanted = (std**2 + 1 / 12) ** 0.5
        assert abs(fits[CAMERA][iso].std * 255 - wanted) < ERRORS * wanted / (2 * 6 * 3 * 96 * 96) ** 0.5


def test_fits_to_other_images_or_another_number_of_them_are_made_anew(tmp_path, monkeypatch):
    asked = []  # in place of the fitting, which takes seconds

    def fit(pairs: dict, read, num_workers: int) -> dict:
        asked.append([len(of) for of in pairs.values()])
        return {group: fit_of(len(of)) for group, of in pairs.items()}

    monkeypatch.setattr(training_noise, "fit_noise", fit)
    pairs, _ = make_lists(tmp_path)
    fewer, path = pairs[:8], tmp_path / "fit.pth"
    prints = [
        fingerprint(fit_training_images(path, FileReader(of), most, 0))
        for of, most in ((pairs, 0), (pairs, 0), (fewer, 0), (pairs, 3))
    ]
    assert asked == [[6, 6], [4, 4], [3, 3]]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
