"""The pipeline of a simulated camera, every number of which is known, found again from its images."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from benchmark import unseen
from data.pairs import find_pairs, read_pair
from data.sidd import find_scenes
from noise import identify
from noise.identify import Identification, NoisyImage, find_rendering
from noise.pipeline import DEMOSAICKING, SNR_KNOTS, Pipeline, Rendering, SceneNoise, colour_index
from noise.pipeline_fit import Reduced, with_white
from noise.raw_noise import (
    Pair,
    estimate_noise,
    estimate_noise_blindly,
    estimate_noise_of_reduced,
    fit_shape,
    physical_shape,
)
from utils.image import read_image, write_image

MATRIX = torch.tensor([[0.72, 0.22, -0.06], [0.13, 0.75, 0.12], [0.02, 0.28, 0.74]])
NOISE = torch.tensor([[0.008, 1e-4], [0.004, 5e-5], [0.009, 2e-4]])
FLAT_SHAPE = torch.zeros(4, 3, len(SNR_KNOTS))


def camera(demosaicking: str = "malvar", red: tuple[int, int] = (1, 0), gamma: float = 2.0) -> Rendering:
    """A camera of the test's own: a power of `gamma` as tone curve."""
    light = (torch.arange(256) / 255) ** gamma
    return Rendering(light, MATRIX, demosaicking, True, red, white=1.1)


def content(side: int, seed: int) -> torch.Tensor:
    """A smooth image of all colours and levels from 40 to 215: (1, 3, side, side) in whole grey levels / 255."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, side // 16, side // 16, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    return ((40 + 175 * image).round() / 255).float()


def photograph(
    rendering: Rendering, side: int, seed: int, noise: torch.Tensor = NOISE, content_of: torch.Tensor | None = None
) -> Pair:
    """Take a picture: the clean image is rendered from a mosaic without noise, the noisy one from the same with it."""
    phase = rendering.phase((0, 0))
    raw = rendering.raw(content(side, seed) if content_of is None else content_of, phase, is_clean=True).clamp(min=0)
    law = noise[colour_index(raw.shape, phase)]  # (side, side, 2)
    white = torch.randn(raw.shape, generator=torch.Generator().manual_seed(100 + seed))
    noisy = (raw + (law[..., 0] * raw + law[..., 1]).sqrt() * white).clamp(0, rendering.white)
    return Pair(*(rendering.develop(rendering.demosaick(one, phase).clamp(min=0)) for one in (raw, noisy)), phase)


@pytest.mark.parametrize(
    ("demosaicking", "red", "gamma"), [("malvar", (1, 0), 2.0), ("bilinear", (0, 1), 2.4), ("ahd", (1, 1), 2.2)]
)
def test_a_rendering_is_found_from_noisy_images(demosaicking, red, gamma, monkeypatch):
    if demosaicking == "ahd":  # few candidates, for speed
        monkeypatch.setattr("noise.identify.PHASES", (red, (0, 1)))
    truth = camera(demosaicking, red, gamma)
    pairs = [photograph(truth, 96, seed) for seed in range(2)]
    images = [NoisyImage((pair.noisy[0] * 255).round().byte(), "one scene", "one frame") for pair in pairs]
    found = find_rendering(images, num_workers=0)
    assert found.is_identified
    assert found.rendering.demosaicking == demosaicking and set(found.phases) == {red}
    rows = found.rendering.matrix / found.rendering.matrix.sum(1, keepdim=True)  # bilinear: rows have no scale
    assert (rows - truth.matrix / truth.matrix.sum(1, keepdim=True)).abs().max() < 0.02
    seen = torch.arange(60, 200)
    # Linear demosaicking leaves open a factor of all light, and a constant.
    known = torch.stack([found.rendering.light[seen], torch.ones(len(seen))], 1)
    light = known @ torch.linalg.lstsq(known, truth.light[seen, None]).solution
    levels = torch.searchsorted(truth.light, light[:, 0].contiguous())
    assert (levels - seen).abs().max() <= 1  # the curve within a grey level


def test_shot_and_read_noise_are_found_from_pairs_and_from_noisy_images_alone():
    truth = camera()
    pairs = [photograph(truth, 256, seed) for seed in range(4)]
    raw = torch.tensor([0.1, 0.3, 0.6])

    def std(numbers: torch.Tensor) -> torch.Tensor:
        return (numbers[:, :1] * raw + numbers[:, 1:]).sqrt()

    by_pairs = std(estimate_noise(truth, pairs, FLAT_SHAPE))
    assert (by_pairs / std(NOISE) - 1).abs().max() < 0.025  # 5 % of the variance
    blindly = std(estimate_noise_blindly(truth, [(pair.noisy, pair.phase) for pair in pairs], FLAT_SHAPE))
    assert (blindly / std(NOISE) - 1).abs().max() < 0.1


def test_noise_of_noisy_images_alone_leaves_out_texture_and_read_noise_has_a_prior():
    truth, generator = camera(), torch.Generator().manual_seed(0)
    raw = torch.tensor([0.1, 0.3])
    wanted = (NOISE[:, :1] * raw + NOISE[:, 1:]).sqrt()

    def found(image: torch.Tensor) -> torch.Tensor:
        pair = photograph(truth, 192, 1, content_of=image)
        numbers = estimate_noise_blindly(truth, [(pair.noisy, pair.phase)])
        return (numbers[:, :1] * raw + numbers[:, 1:]).sqrt() / wanted

    textured = content(192, 1)
    textured[..., :96] += 0.15 * torch.randn(1, 1, 192, 96, generator=generator)  # half of the image
    assert (found(textured.clamp(0.1, 0.9)) - 1).abs().max() < 0.2
    one_level = torch.full((1, 3, 192, 192), 0.35)  # which tells one sum of shot and read noise only
    assert (found(one_level) - 1).abs().max() < 0.25


def test_the_physical_shape_has_the_mean_of_a_cut_and_the_skewness_of_shot_noise():
    generator = torch.Generator().manual_seed(0)
    shot = 0.01
    shape = physical_shape(torch.tensor([[[shot, 1e-9]] * 3]))
    for knot, ratio in enumerate(SNR_KNOTS[1:5], start=1):  # .5, 1, 2, 4
        begins = ratio + shape[1, 0, knot]
        cut = (begins + torch.randn(400_000, generator=generator)).clamp(min=0)
        assert float(cut.mean()) == pytest.approx(ratio, abs=0.005)
    light = torch.full((400_000,), 4.0**2)  # photoelectrons, whose signal to noise is 4
    counts = torch.poisson(light, generator=generator)
    photons = (counts - counts.mean()) / counts.std()
    made = torch.sinh(torch.asinh(torch.randn(400_000, generator=generator)) + shape[2, 0, 4])
    made = (made - made.mean()) / made.std()
    assert float((made**3).mean()) == pytest.approx(float((photons**3).mean()), abs=0.03)


def test_a_level_of_0_beside_brighter_channels_has_the_noise_of_a_colour_that_srgb_does_not_have(monkeypatch):
    monkeypatch.setattr("noise.raw_noise.SHAPE_STEPS", 100)
    truth = replace(camera(), out_of_gamut=torch.full((3,), 0.3))
    saturated = [content(96, seed) for seed in range(2)]
    for image in saturated:
        image[:, 0, :, :48] = 0  # no red in one half
    pairs = [photograph(truth, 96, seed, content_of=image) for seed, image in enumerate(saturated)]
    guessed = with_white(camera(), [(pair.noisy[0] * 255).byte() for pair in pairs])
    shape, _, out = fit_shape([guessed], pairs, [0, 0], NOISE[None])

    def mean(images: list[torch.Tensor]) -> float:
        noise = torch.cat([(image - pair.clean)[:, 0][pair.clean[:, 0] == 0] for image, pair in zip(images, pairs)])
        return float(noise.mean()) * 255

    def made(out_of_gamut: torch.Tensor) -> float:
        torch.manual_seed(0)
        own = replace(make_pipeline(), rendering=replace(truth, out_of_gamut=out_of_gamut), shape=shape)
        return mean([own.synthesize(pair.clean, NOISE, phases=[pair.phase]) for pair in pairs])

    real = mean([pair.noisy for pair in pairs])
    assert made(out) == pytest.approx(real, rel=0.3)
    assert made(torch.zeros(3)) > 2 * real
    grey = torch.zeros(1, 3, 8, 8)  # black is no colour
    assert torch.equal(truth.linear(grey, is_clean=True), grey)


def test_shot_and_read_noise_are_found_from_frames_that_were_reduced():
    truth, side, small = camera(), 1024, 64
    pair = photograph(truth, side, 0)
    images = [image[0].permute(1, 2, 0).mul(255).round().byte().numpy() for image in (pair.clean, pair.noisy)]
    clean, noisy = (torch.from_numpy(cv2.resize(image, (small, small))).permute(2, 0, 1) for image in images)
    reduced = Reduced("0001_001_XY_00800_00100_4400_N", clean, noisy, (side, side))
    raw = torch.tensor([0.1, 0.3, 0.6])
    found = estimate_noise_of_reduced(truth, reduced.pixels(0), FLAT_SHAPE)
    ratio = ((found[:, :1] * raw + found[:, 1:]) / (NOISE[:, :1] * raw + NOISE[:, 1:])).sqrt()
    assert (ratio - 1).abs().max() < 0.15  # 4096 pixels
    stds = torch.tensor(reduced.std_ratios(make_pipeline()))
    assert (stds - 1).abs().max() < 0.1
    dark = replace(reduced, clean=torch.cat([torch.zeros_like(clean[:1]), clean[1:]]))  # no pixel shows all channels
    assert len(dark.pixels(0).clean) > 0


def test_a_rendered_image_rendered_again_is_itself_but_for_rounding():
    truth = camera()
    pair = photograph(truth, 128, 0)
    error, counts = truth.rerender(pair.noisy, pair.phase)
    rms = (error.square() * counts).sum((0, 2, 3)).div(counts.sum()).sqrt()
    assert (rms < 0.5).all()  # rounding to whole levels has an RMS of .29, which the read-off amplifies
    assert truth.find_phase(pair.noisy) == pair.phase


@pytest.mark.parametrize(("demosaicking", "other"), [("ahd", "ppg"), ("ppg", "ahd")])
def test_directions_chosen_by_pixel_are_chosen_again_from_the_rounded_image(demosaicking, other):
    truth = camera(demosaicking, (1, 1), 2.2)
    pair = photograph(truth, 128, 0)

    def share(rendering: Rendering) -> float:
        error, counts = rendering.rerender(pair.noisy, pair.phase)
        return float((error.abs().amax(1, keepdim=True) < 1.5)[counts].float().mean())

    assert share(truth) > 0.85
    assert share(replace(truth, demosaicking=other)) < 0.6
    assert truth.find_phase(pair.noisy) == pair.phase


def make_pipeline(**changes) -> Pipeline:
    scenes = tuple(
        SceneNoise(
            iso, 0, (1.0, 1.0), tuple(map(tuple, (NOISE * torch.tensor([iso / 800, (iso / 800) ** 2])).tolist()))
        )
        for iso in (400, 800, 3200)
    )
    return Pipeline("XY", camera(), scenes, **changes)


def test_noise_follows_the_iso_and_beyond_the_known_ones_with_a_warning():
    pipeline = make_pipeline()
    for iso in (400, 800, 1600, 3200):
        expected = NOISE * torch.tensor([iso / 800, (iso / 800) ** 2])
        assert torch.allclose(pipeline.numbers(iso), expected, rtol=1e-4)
    with pytest.warns(UserWarning, match="ISO 6400 is extrapolated from ISO 400 to 3200"):
        assert torch.allclose(pipeline.numbers(6400), NOISE * torch.tensor([8.0, 64.0]), rtol=1e-3)


def test_bands_make_the_same_noise_as_whole_images(monkeypatch):
    pipeline, clean = make_pipeline(), content(96, 3)
    white = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    whole = pipeline.synthesize(clean, NOISE, white)
    monkeypatch.setattr("noise.pipeline.BAND", 96 * 10)
    assert torch.equal(pipeline.synthesize(clean, NOISE, white), whole)
    assert torch.equal((whole * 255).round() / 255, whole)


@pytest.mark.beside_cpu
@pytest.mark.parametrize("demosaicking", DEMOSAICKING)
def test_a_device_renders_the_cpus_noise(demosaicking, device):
    pipeline = replace(make_pipeline(), rendering=camera(demosaicking))
    clean, balances = torch.cat([content(96, seed) for seed in (0, 1)]), torch.tensor([[0.9, 1.1], [1.0, 1.0]])
    white = torch.randn(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    expected = pipeline.synthesize(clean, NOISE, white, balances=balances)
    found = pipeline.synthesize(clean.to(device), NOISE, white.to(device), balances=balances).cpu()
    # Rounding turns a level in some thousand and, where it decides a direction, a few pixels around.
    assert (found != expected).float().mean() < 2e-3 and (found - expected).square().mean().sqrt() < 0.1 / 255
    noisy = photograph(pipeline.rendering, 96, 0).noisy
    assert pipeline.rendering.find_phase(noisy.to(device)) == pipeline.rendering.find_phase(noisy)
    assert pipeline.synthesize(clean.to(device), NOISE).device.type == device.type


def test_a_file_gives_back_the_pipeline(tmp_path):
    make_pipeline().save(tmp_path / "plain.json")
    assert Pipeline.load(tmp_path / "plain.json").isos == [400, 800, 3200]
    pipeline = make_pipeline(shape=torch.full((4, 3, len(SNR_KNOTS)), 0.125), error=(0.3, 0.2, 0.4), remark="a test")
    pipeline.save(tmp_path / "noise.json")
    again, clean = Pipeline.load(tmp_path / "noise.json"), content(64, 1)
    white = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.synthesize(clean, NOISE, white), pipeline.synthesize(clean, NOISE, white))
    assert again.isos == [400, 800, 3200] and again.error == pytest.approx(pipeline.error)
    written = json.loads((tmp_path / "noise.json").read_text())
    del written["rendering"]["out_of_gamut"]  # as earlier versions wrote it
    (tmp_path / "noise.json").write_text(json.dumps(written))
    assert Pipeline.load(tmp_path / "noise.json").rendering.out_of_gamut.tolist() == [0, 0, 0]


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    (tmp_path / "noise.json").mkdir()
    with pytest.raises(ValueError, match=r"noise\.json: cannot be written \(Is a directory\)"):
        make_pipeline().save(tmp_path / "noise.json")
    assert [path.name for path in tmp_path.iterdir()] == ["noise.json"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"version": 1', '"version": 2', "version 2, expected neca-noise, pipeline, version 1"),
        ('"malvar"', '"magic"', "demosaicking 'magic', expected malvar, bilinear, ahd, ppg"),
        ('"white": 1.1', '"white": NaN', "white: expected 1 numbers within"),
        ('"out_of_gamut": [0.0', '"out_of_gamut": [-0.1', r"out_of_gamut: expected 3 numbers within \[0, 1\]"),
        ('"scenes": [', '"scene": [', "no 'scenes'"),
        ("}", "", "damaged"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, old, new, reason):
    path = tmp_path / "noise.json"
    make_pipeline(error=(0.3, 0.2, 0.4)).save(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=reason) as raised:
        Pipeline.load(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_images_that_are_constant_or_clipped_are_refused(level):
    image = NoisyImage(torch.full((3, 64, 64), level, dtype=torch.uint8), "scene", "frame")
    with pytest.raises(ValueError, match="neither clipped nor constant"):
        find_rendering([image], num_workers=0)


def test_an_image_that_was_not_rendered_from_a_mosaic_is_not_identified():
    noisy = content(128, 0) * 255 + 10 * torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    found = find_rendering([NoisyImage(noisy[0].round().clamp(0, 255).byte(), "scene", "frame")], num_workers=0)
    assert not found.is_identified
    assert "not identified" in str(found) and found.error.isfinite().all()


def changed(image: np.ndarray, how: str) -> np.ndarray:
    """Process a finished picture: (H, W, 3) uint8 -> the same, another size where it is resized."""
    if how == "jpeg":
        return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1], cv2.IMREAD_COLOR)
    if how == "grey":
        return image.mean(2, keepdims=True).round().astype(np.uint8).repeat(3, 2)
    if how == "sharpened":
        return np.clip(1.5 * image - 0.5 * cv2.GaussianBlur(image, (0, 0), 1), 0, 255).round().astype(np.uint8)
    if how == "turned":
        return np.ascontiguousarray(np.rot90(image)[:, ::-1][1:])
    return {
        "denoised": lambda: cv2.medianBlur(image, 3),
        "blurred": lambda: cv2.GaussianBlur(image, (0, 0), 0.4),
        "resized": lambda: cv2.resize(image, None, fx=0.75, fy=0.75),
    }[how]()


@pytest.mark.parametrize(
    ("noise", "ways"),
    [(NOISE, ("turned", "jpeg", "resized")), (NOISE / 50, ("denoised", "blurred", "sharpened", "grey"))],
    ids=["noisy", "little noise"],
)
def test_pictures_that_were_processed_are_refused_and_turned_ones_identified(noise, ways, monkeypatch):
    monkeypatch.setattr("noise.identify.LINEAR", ("malvar",))  # few candidates, for speed
    monkeypatch.setattr("noise.identify.DEMOSAICKING", {"malvar": DEMOSAICKING["malvar"]})
    image = (photograph(camera(), 96, 0, noise).noisy[0].permute(1, 2, 0) * 255).round().byte().numpy()
    for how in ways:
        pixels = torch.from_numpy(changed(image, how).transpose(2, 0, 1).copy())
        found = find_rendering([NoisyImage(pixels, "scene", "frame")], num_workers=0)
        assert found.is_identified is (how == "turned"), f"{how}: {found}"


def test_a_scene_of_another_camera_among_others_is_refused_by_its_name():
    right, floor = torch.tensor([0.35, 0.25, 0.4]), torch.tensor([0.34, 0.25, 0.4])
    errors = {"first": right, "foreign": right * 4}
    found = Identification(camera(), right * 1.1, floor, 20 * right, 1.0, errors, [], {})
    assert not found.is_identified and "in foreign" in str(found)
    assert replace(found, errors={"first": right}).is_identified
    assert not replace(found, errors={}, explained=0.5).is_identified
    assert not replace(found, errors={}, elsewhere=right).is_identified  # no noise that it would explain
    assert not replace(found, errors={}, rounding=torch.full((3,), 20.0)).is_identified


@pytest.mark.parametrize(("demosaicking", "highest"), [("malvar", 0.6), ("ppg", 0.75)])
def test_rounding_may_change_directions_that_are_chosen_by_pixel(demosaicking, highest):
    error, rounding = torch.full((3,), highest), torch.full((3,), 0.45)
    found = Identification(camera(demosaicking), error, rounding, 20 * error, 0.9, {}, [], {})
    assert found.is_identified and not replace(found, error=error + 0.01).is_identified


@pytest.mark.parametrize(("share", "clips"), [(2e-5, True), (1e-2, False)])
def test_negative_values_are_cut_unless_a_pixel_shows_that_they_are_not(share, clips, monkeypatch):
    monkeypatch.setattr("noise.identify.PHASES", ((1, 0),))
    monkeypatch.setattr("noise.identify.LINEAR", ("malvar",))
    judge, first = identify._judge, []

    def favoured(rendering, *more):  # the cut has the error of any other way, plus a share
        first.append(judge(rendering, *more).error)
        return replace(judge(rendering, *more), error=first[0] * (1 + share / 2 * rendering.clips))

    monkeypatch.setattr("noise.identify._judge", favoured)
    monkeypatch.setattr("noise.identify.REFINED", 2)
    monkeypatch.setattr("noise.identify.LAST", 1)
    monkeypatch.setattr("noise.identify.DEMOSAICKING", {"malvar": DEMOSAICKING["malvar"]})
    image = NoisyImage((photograph(camera(), 96, 0).noisy[0] * 255).byte(), "scene", "frame")
    assert find_rendering([image], num_workers=0).rendering.clips is clips


def test_one_saturated_channel_shows_the_sensors_white_only_by_a_spike():
    rendering = replace(camera(), matrix=torch.diag(torch.tensor([0.8, 1.0, 0.8])))
    generator = torch.Generator().manual_seed(0)
    level = torch.randint(236, 254, (1, 64, 64), generator=generator).byte()
    full = torch.full_like(level, 255)
    spread = torch.cat([full, level, full])
    assert with_white(rendering, [spread]).white == pytest.approx(1.0)  # by the matrix
    spike = torch.where(torch.rand(64, 64, generator=generator) < 0.5, 248, level).byte()
    found = with_white(rendering, [torch.cat([full, spike, full])]).white
    assert found == pytest.approx(float(rendering.light[248]))
    assert found < 0.96


@pytest.mark.parametrize("name", ["malvar", "bilinear"])
@pytest.mark.parametrize("red", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_benchmarks_cameras_demosaick_as_the_pipeline_does(name, red):
    raw = np.random.default_rng(0).random((12, 14))
    ours = DEMOSAICKING[name](torch.from_numpy(raw)[None, None], red, torch.eye(3))[0].permute(1, 2, 0)
    assert np.allclose(unseen.demosaick(raw, red, name), ours, atol=1e-7)
    assert np.array_equal(unseen.colours(raw.shape, red), colour_index(raw.shape, red))


def test_the_benchmarks_cameras_write_scenes_that_a_fit_takes(tmp_path):
    for number in range(3):
        write_image(tmp_path / "photos" / f"{number}.png", np.full((16, 20, 3), 60 * number + 60, np.uint8))
    unseen.main(["f", "--photo_dir", str(tmp_path / "photos"), "--output_dir", str(tmp_path)])
    pairs = find_pairs(find_scenes(tmp_path / "f" / "scenes", "XY"))
    assert len(pairs) == 3 and (tmp_path / "f" / "lists" / "XY_test.txt").read_text().count("\n") == 1
    clean, noisy = read_pair(pairs[0])
    assert abs(clean.astype(int) - 60).max() <= 1 and 20 < noisy.std() < 60  # ISO 12800
    (again,) = (tmp_path / "f" / "again").rglob("*NOISY*")
    assert not np.array_equal(read_image(again), read_pair(pairs[2])[1])
