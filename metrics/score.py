"""One number to rank noise models by, which sees marginal, spatial, channel and intensity structure."""

import math

# What white Gaussian noise of each image's true std scores on SIDD: mean over 14 crops of ten scenes of its five
# cameras (kld_exact .069, acf .122, xcorr .525, nlf .294), rounded. So white noise scores about 1, the truth about 0.
WHITE_NOISE = {"kld_exact": 0.07, "acf": 0.12, "xcorr": 0.5, "nlf": 0.3}


def structure_score(values: dict[str, float]) -> float:
    """Mean of kld_exact, acf, xcorr and nlf, each over what white Gaussian noise scores; lower is better.

    0 is the truth, 1 as bad as white Gaussian noise of the true std. None of the four alone tells a good fake: each is
    blind to what the others see. A fake without noise scores some 20, since kld_exact is 5 to 8 then. An unknown nlf
    (nan, images too small for it) is left out.
    """
    terms = [values[name] / scale for name, scale in WHITE_NOISE.items() if not math.isnan(values[name])]
    return sum(terms) / len(terms)
