"""The phones that ship: they load, say what they are, and make a phone's noise on real clean pixels."""

from itertools import pairwise

import numpy as np
import pytest

import main_synthesize
from evaluation.quick_test import noise_statistics
from inference import load_neca
from metrics import noise_of
from noise import load_noise
from noise.gains import bank_note, read_bank
from tests.conftest import ROOT
from utils.image import read_image

PHONES = ("G4", "GP", "IP", "N6", "S6")
PRETRAIN = ROOT / "pretrain"


@pytest.mark.parametrize("phone", PHONES)
def test_card_begins_with_what_the_weights_are_not_and_names_source_and_licence(phone):
    card = (PRETRAIN / phone / "README.md").read_text()
    assert "not the authors' weights" in card.splitlines()[0]
    for word in ("SIDD.md", "MIT", "runs/weights.sh", "quick.txt", "held out", "ISO"):
        assert word in card, word
    assert sum(path.stat().st_size for path in (PRETRAIN / phone).iterdir()) < 1.2e6


@pytest.mark.parametrize("phone", PHONES)
def test_noise_of_an_iso_is_about_as_strong_as_that_of_the_fit_which_taught_it(phone):
    generator, bank = load_neca(PRETRAIN / phone), read_bank(PRETRAIN / phone / "gains.json")
    assert bank.camera == phone and not bank_note(PRETRAIN / phone, phone)
    clean, fit = read_image(ROOT / "test" / "imgs" / "clean.png"), load_noise(PRETRAIN / phone)
    assert list(bank.gains) == list(fit.isos)
    made, taught = {}, {}
    for iso, named in bank.gains.items():
        gain = float(np.median([gain for _, gain in named]))
        made[iso] = noise_of(generator.synthesize(clean, gain=gain), clean).std()
        taught[iso] = np.median([noise_of(fit.synthesize(clean, iso, seed=seed), clean).std() for seed in range(9)])
        assert 0.6 < made[iso] / taught[iso] < 1.4, iso
    apart = [iso for iso in (100, 400, 1600, 6400) if iso in made]
    grows = [(low, high) for low, high in pairwise(apart) if taught[high] > 1.1 * taught[low]]  # the iPhone's stops
    assert grows and all(made[low] < made[high] for low, high in grows), made


def test_s6_makes_the_noise_of_the_shipped_pair_that_it_has_not_seen():
    clean, noisy = (read_image(ROOT / "test" / "imgs" / f"{side}.png") for side in ("clean", "noisy"))
    fake = load_neca(PRETRAIN / "S6").synthesize(clean, gain_of=noisy)
    real, made = (noise_statistics(noise_of(image, clean)) for image in (noisy, fake))
    assert made.std == pytest.approx(real.std, rel=0.15)
    assert made.lag1_h == pytest.approx(real.lag1_h, abs=0.08) and made.lag1_v == pytest.approx(real.lag1_v, abs=0.08)


def test_chosen_iso_of_a_phone_works_on_a_fresh_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = [
        "--input_dir",
        "test/imgs/",
        "--output_dir",
        str(tmp_path / "noisy"),
        "--iso",
        "3200",
        "--num_workers",
        "0",
    ]
    main_synthesize.main(["--cam_name", "S6", *words])
    clean = read_image("test/imgs/clean.png")
    assert noise_of(read_image(tmp_path / "noisy" / "clean.png"), clean).std() > 10
