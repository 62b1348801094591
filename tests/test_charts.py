"""Charts: what is drawn, in which colours, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT
from utils import charts
from utils.charts import COLOURS

# Matplotlib uses names that a newer pyparsing deprecates, which harms no chart.
pytestmark = pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning", "ignore::DeprecationWarning")

NAMES = ["real noise", "NeCA-W", "$a_b$ \u65e5\u672c <i> " + 60 * "x", "_hidden", *"efghij"]
GROUPS = [f"ISO {iso}" for iso in (100, 400, 800, 1600, 3200, 10000)]
FREQUENCIES = np.linspace(0, 0.5, 20)
INTENSITY = np.arange(16) * 16 + 8.0
SHAPES = {"spectra": (20,), "noise_level_functions": (3, 16), "histograms": (511,)}


def groups(kind: str, names: int = 2, number: int = 1) -> dict[str, dict[str, np.ndarray]]:
    """Curves that differ by name and group, positive and without structure."""
    random = np.random.default_rng(0)
    return {g: {n: random.integers(1, 50, SHAPES[kind]) * 1.0 for n in NAMES[:names]} for g in GROUPS[:number]}


def draw(kind: str, curves) -> np.ndarray:
    first = {"spectra": [FREQUENCIES], "noise_level_functions": [INTENSITY], "histograms": []}
    return getattr(charts, kind)(*first.get(kind, []), curves)


def maps(names: int = 2, side: int = 9) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.uniform(-0.3, 0.3, (side, side)) for name in NAMES[:names]}


def assert_picture(image: np.ndarray) -> None:
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.shape[1] <= 1600
    assert len(np.unique(image)) > 2


def pixels_of(image: np.ndarray, colour: str) -> int:
    return int((image == np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])).all(axis=2).sum())


@pytest.mark.parametrize(("names", "number"), [(1, 1), (10, 6)])
@pytest.mark.parametrize("kind", SHAPES)
def test_curves_of_few_and_many_models_are_drawn_without_warnings(kind, names, number):
    assert_picture(draw(kind, groups(kind, names, number)))


@pytest.mark.parametrize("names", [1, 2, 10])
def test_other_charts_of_few_and_many_names_are_drawn_without_warnings(names):
    assert_picture(charts.autocorrelation_maps(maps(names)))
    assert_picture(charts.intensity_curves({name: np.ones((256, 3)) for name in NAMES[:names]}))
    assert_picture(charts.scores(NAMES, dict.fromkeys(NAMES[:names], (0.5, 0.4, 0.6))))


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", NAMES[:2])
def test_picture_shows_a_change_of_any_curve(kind, name):
    curves, changed = groups(kind), groups(kind)
    changed[GROUPS[0]][name] = curves[GROUPS[0]][name][..., ::-1]
    assert (draw(kind, curves) != draw(kind, changed)).any()


@pytest.mark.parametrize("side", [9, 13])
def test_map_shows_a_change_of_any_lag_but_the_middle(side):
    before, middle, corner = maps(side=side), maps(side=side), maps(side=side)
    middle[NAMES[1]][side // 2, side // 2] = 1
    corner[NAMES[1]][0, 0] += 0.1
    picture = charts.autocorrelation_maps(before)
    np.testing.assert_array_equal(picture, charts.autocorrelation_maps(middle))
    assert (picture != charts.autocorrelation_maps(corner)).any()


def test_map_has_negative_lags_at_the_top_left():
    """The cell of lag (-1, -1) is the only strong one, so it is found left of and above the grey middle."""
    values = np.zeros((13, 13))
    values[5, 5] = 0.5
    image = charts.autocorrelation_maps({"real noise": values}).astype(int)
    red = np.argwhere((image == [103, 0, 31]).all(axis=2))  # the red end of the colour map RdBu_r
    grey = np.argwhere((image == 204).all(axis=2))
    red = red[red[:, 1] < grey[:, 1].max()]  # without the colour bar
    assert (red.mean(axis=0) < grey.mean(axis=0) - 5).all()


@pytest.mark.parametrize("kind", SHAPES)
def test_real_noise_is_black_and_on_top_of_an_equal_model(kind):
    curves = groups(kind)
    with_real = draw(kind, curves)
    without = draw(kind, {GROUPS[0]: {**curves[GROUPS[0]], NAMES[0]: np.full(SHAPES[kind], np.nan)}})
    assert pixels_of(with_real, "#000000") > pixels_of(without, "#000000") + 100
    equal = draw(kind, {GROUPS[0]: dict.fromkeys(NAMES[:2], curves[GROUPS[0]][NAMES[0]])})
    assert pixels_of(equal, "#000000") > pixels_of(without, "#000000") + 100


@pytest.mark.parametrize("kind", SHAPES)
def test_model_keeps_its_colour_where_another_is_missing(kind):
    curves = groups(kind, 3, 2)
    del curves[GROUPS[1]][NAMES[1]]
    only_second = {GROUPS[0]: dict.fromkeys(NAMES[:3], np.full(SHAPES[kind], np.nan)), GROUPS[1]: curves[GROUPS[1]]}
    legend_only = {GROUPS[0]: only_second[GROUPS[0]], GROUPS[1]: {}}
    colours = [pixels_of(draw(kind, only_second), c) - pixels_of(draw(kind, legend_only), c) for c in COLOURS[:2]]
    assert colours[0] == 0
    assert colours[1] > 100


@pytest.mark.parametrize("kind", SHAPES)
def test_unknown_values_and_empty_groups_leave_gaps(kind):
    curves = groups(kind, 2, 2)
    curves[GROUPS[1]] = {}
    curves[GROUPS[0]][NAMES[0]][..., 3:9] = np.nan
    curves[GROUPS[0]][NAMES[1]][..., :] = np.inf
    assert_picture(draw(kind, curves))
    assert_picture(draw(kind, {GROUPS[0]: {}, GROUPS[1]: {NAMES[0]: np.full(SHAPES[kind], np.nan)}}))


def test_unknown_values_leave_gaps_in_the_other_charts():
    assert_picture(charts.autocorrelation_maps({"real noise": np.full((9, 9), np.nan)}))
    assert_picture(charts.intensity_curves({"gain 1": np.full((256, 3), np.nan)}))
    assert_picture(charts.scores(["a", "b"], {"a": (np.nan,) * 3, "b": (0.1, np.nan, np.nan)}))


def test_histogram_of_a_fake_without_noise_and_of_nothing_is_drawn():
    counts = np.zeros(511)
    counts[255] = 1000
    assert_picture(charts.histograms({"ISO 100": {"real noise": counts, "none": np.zeros(511)}}))


def test_scores_are_sorted_with_the_lowest_on_top():
    values = {"a": (3.0, 2.9, 3.1), "b": (0.5, 0.4, 0.6), "c": (1.5, 1.4, 1.6)}
    image = charts.scores(["real noise", "a", "b", "c"], values)
    looks = dict(zip("abc", COLOURS))
    centres = {
        name: np.argwhere((image == [int(look[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2)).mean(axis=0)
        for name, look in looks.items()
    }
    for axis in (0, 1):  # from the top to the bottom, and from the left to the right
        assert sorted("abc", key=lambda name: centres[name][axis]) == ["b", "c", "a"]


def test_scores_over_decades_are_drawn_on_a_log_axis():
    """On a log axis .01, .1 and 1 lie at equal distances."""
    image = charts.scores(["real", "a", "b", "c"], {n: (m, m, m) for n, m in zip("abc", (0.01, 0.1, 1.0))})
    colours = [np.array([int(look[i : i + 2], 16) for i in (1, 3, 5)]) for look in COLOURS[:3]]
    x = [np.argwhere((image == colour).all(axis=2))[:, 1].mean() for colour in colours]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=1.5)


def test_importing_charts_does_not_import_matplotlib():
    code = "import sys, utils.charts; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
