"""Compare two pictures: how far the content of one has moved, whether both show the same, which has more noise."""

import logging
import math
from pathlib import Path

import cv2
import numpy as np
import scipy.fft

LOCATED_SIDE = 2048  # pixels of the middle of a picture that its place is found by
OCTAVE = 4  # bands of frequency an octave, from the lowest frequency of the picture on
# The window gathers the pixels, so that neighbouring frequencies tell the same: n of them count as n / 3.78, the ratio
# of the mean of window^4 to the squared mean of window^2 in two dimensions.
OVERLAP = (35 / 128 / (3 / 8) ** 2) ** 2
EVIDENCE = 10  # nats beyond those of the luckiest of all places
COMPARED_BLOCKS, SMALL_BLOCKS = (8, 16), (4, 8)  # pixels a side, of large images and of those below
LARGE = 128  # pixels a side
PLACE = 16  # pixels a side, of the places where noise is measured
MOST_PLACES = 400
MIDDLE_GREYS = (8, 247)  # mean levels of places whose noise is not clipped
FEWEST_BLOCKS = 32
CONTENT = 4  # variance of blocks over that of blocks of independent pixels: from there on there is content
# Of 217 real pairs the slope is .81 to 1.1, and .48 where noise hides the content; standard errors that count as sure.
LOW_SLOPE, SURE = 0.5, (4, 5)
LEAST_STD = 0.3  # grey levels: about what rounding to 8 bit makes alone
OTHER_CONTENT = "shows something else than its clean image"
FINER = (0.25, 0.05, 0.01)  # pixels: steps of the search about the highest point


def find_shift(reference: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Find how far content has moved: two (H, W) float32 -> rows and columns, (2,); (0, 0) unless they prove it.

    In a band of frequencies where the pictures have coherence c (the real part of their normalised cross-spectrum, once
    the one is moved back), n independent values have the log-likelihood -n log(1 - c^2) (Carter 1987, "Coherence and
    time delay estimation"). The place is the one where the sum over the bands is highest. It counts as moved only if
    that is so much higher than at (0, 0) that none of the picture's places would reach it by chance: pictures whose
    noise hides the content, and those without content such as a wall, stay.
    """
    spectra = _Spectra(reference, grey)
    still = np.zeros(2)
    places = [still]
    weights = np.where(spectra.total > 0, 1 / np.maximum(spectra.total, 1e-30), 0)  # all bands alike, to begin with
    for _ in range(2):
        places.append(spectra.highest(weights))
        weights = spectra.best_weights(places[-1])
    places += [spectra.highest(weights), spectra.highest(spectra.best_weights(still))]
    likelihoods = [spectra.log_likelihood(place) for place in places]
    best = int(np.argmax(likelihoods))
    if likelihoods[best] - likelihoods[0] <= math.log(grey.size) + EVIDENCE:
        return still
    place, likelihood = places[best], likelihoods[best]
    for step in FINER:  # the weights were those of another place, and the bands do not quite agree
        improved = True
        while improved:
            near = [place + step * np.array(way) for way in ((1, 0), (-1, 0), (0, 1), (0, -1))]
            found = [spectra.log_likelihood(there) for there in near]
            improved = max(found) > likelihood
            if improved:
                place, likelihood = near[int(np.argmax(found))], max(found)
    return place


class _Spectra:
    """The cross-spectrum of the middles of two pictures, in bands of frequency."""

    def __init__(self, reference: np.ndarray, grey: np.ndarray):
        self.shape = height, width = tuple(min(side, LOCATED_SIDE) for side in grey.shape)
        middle = tuple(slice((side - cut) // 2, (side + cut) // 2) for side, cut in zip(grey.shape, self.shape))
        # Without the zeros at both ends, which small pictures cannot spare.
        window = np.outer(*(np.hanning(side + 2)[1:-1] for side in self.shape)).astype(np.float32)
        cuts = (image[middle] - image[middle].mean() for image in (reference, grey))
        first, second = (scipy.fft.rfft2(cut * window) for cut in cuts)
        self.cross = first.conj() * second  # (height, width / 2 + 1)
        self.rows = scipy.fft.fftfreq(height).astype(np.float32)[:, None]
        self.columns = scipy.fft.rfftfreq(width).astype(np.float32)[None]
        self.times = np.full((1, width // 2 + 1), 2, np.float32)  # columns stand for their mirror image, too
        self.times[0, 0] = self.times[0, width // 2 :] = 1
        self.times[0, width // 2 :] += width % 2
        lowest, radius = 1 / min(self.shape), np.hypot(self.rows, self.columns)
        radius[0, 0] = lowest  # where nothing is: the mean has been taken away
        self.band = np.maximum(OCTAVE * np.log2(radius / lowest), 0).astype(np.intp)
        size = np.abs(self.cross) * self.times
        self.total = self._by_band(size)
        squares = self._by_band(size * np.abs(self.cross))
        self.count = np.divide(self.total**2, 2 * OVERLAP * squares, out=np.zeros_like(squares), where=squares > 0)

    def _by_band(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.band.ravel(), values.ravel())

    def coherence(self, place: np.ndarray) -> np.ndarray:
        """Compute the coherence of each band once the second picture is moved back from a place."""
        turn = _turns(place[0] * self.rows), _turns(place[1] * self.columns)
        agreeing = self._by_band((self.cross * (turn[0] * turn[1])).real * self.times)
        ratio = np.divide(agreeing, self.total, out=np.zeros_like(agreeing), where=self.total > 0)
        return ratio.clip(0, 0.9999)

    def log_likelihood(self, place: np.ndarray) -> float:
        """Sum up over the bands, in nats."""
        return float(-(self.count * np.log(1 - self.coherence(place) ** 2)).sum())

    def best_weights(self, place: np.ndarray) -> np.ndarray:
        """Weight bands as the likelihood does near a place."""
        coherence = self.coherence(place)
        slope = self.count * coherence / (1 - coherence**2)
        return np.divide(slope, self.total, out=np.zeros_like(slope), where=self.total > 0)

    def highest(self, weights: np.ndarray) -> np.ndarray:
        """Find the place of the highest correlation with bands weighted so: rows and columns, (2,)."""
        weighted = self.cross * weights[self.band].astype(np.float32)
        surface = scipy.fft.irfft2(weighted, self.shape)
        peak = np.unravel_index(surface.argmax(), self.shape)
        place = np.array([(at + side // 2) % side - side // 2 for at, side in zip(peak, self.shape)], float)
        for step in FINER:
            near = place[:, None] + step * np.arange(-4, 5)
            rows = _turns(near[0][:, None] * self.rows[:, 0])
            columns = _turns(near[1] * self.columns.T) * self.times.T
            values = (rows @ weighted @ columns).real
            place = near[[0, 1], np.unravel_index(values.argmax(), values.shape)]
        return place


def even_places(grey: np.ndarray) -> np.ndarray:
    """Find where an image has least content, neither black nor white: (H, W) -> (N, 2) first rows and columns."""
    height, width = (side // PLACE for side in grey.shape)
    cut = grey[: height * PLACE, : width * PLACE].reshape(height, PLACE, width, PLACE)
    means, stds = cut.mean((1, 3)).ravel(), cut.std((1, 3)).ravel()
    usable = np.flatnonzero((means >= MIDDLE_GREYS[0]) & (means <= MIDDLE_GREYS[1]))
    chosen = usable[stds[usable].argsort(kind="stable")[: min(MOST_PLACES, -(-len(usable) // 4))]]
    return PLACE * np.stack(np.divmod(chosen, max(width, 1)), axis=1)


def cut_places(grey: np.ndarray, places: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Cut an image at places that have moved by whole pixels: (N, PLACE, PLACE)."""
    corners = np.clip(places + offset, 0, np.array(grey.shape) - PLACE) if len(places) else places
    cuts = [grey[top : top + PLACE, left : left + PLACE] for top, left in corners]
    return np.array(cuts, np.float32).reshape(-1, PLACE, PLACE)


def noise_std(places: np.ndarray) -> float:
    """Measure an image's noise at even places by second differences, in both directions: (N, PLACE, PLACE)."""
    second = np.diff(np.diff(places, 2, 1), 2, 2) / 6  # of white noise: its standard deviation
    return float(np.sqrt(np.median((second * second).mean((1, 2))))) if len(places) else 0.0


def differing(one: np.ndarray, other: np.ndarray) -> float:
    """Measure the variance of the difference at even places, (N, PLACE, PLACE) each; a tenth may show content."""
    variances = np.sort((one - other).var((1, 2)))
    kept = variances[: -(-9 * len(variances) // 10)]
    return float(kept.mean()) if len(kept) else 0.0


def _turns(cycles: np.ndarray) -> np.ndarray:
    return np.exp(2j * np.pi * cycles).astype(np.complex64)


def shows_other_content(clean: np.ndarray, noisy: np.ndarray) -> bool:
    """Return whether a noisy image surely shows something else than its clean one: two (H, W, C), equal in size.

    The means of blocks, less those of the blocks around them, hold content and hardly any noise. Regressed on the clean
    image's, the noisy image's have a slope of about the ratio of brightness, or of 0 where it shows something else.
    Strong noise in darkness lowers the slope (`_response`). Other content has a slope that is surely less than half of
    what is left, and not surely other than 0. Without content, or where the noise hides it, both may be true, and
    nothing is sure. Noise, darkness and misplacement by 4 pixels pass.
    """
    greys = [cv2.transform(image, np.full((1, image.shape[2]), 1 / image.shape[2])) for image in (clean, noisy)]
    expected = min(1.0, float(greys[1].mean()) / max(float(greys[0].mean()), 1.0)) * _response(clean, noisy)
    steps = np.diff(greys[0].astype(np.float32), axis=1)
    unordered = float((steps * steps).mean()) / 2  # variance, were the pixels independent of each other
    for side in COMPARED_BLOCKS if min(clean.shape[:2]) >= LARGE else SMALL_BLOCKS:
        details = [_details(grey, side) for grey in greys]
        found = _slope(details[0], details[1], CONTENT * unordered / side**2)
        if found and found[0] + SURE[0] * found[1] < LOW_SLOPE * expected and abs(found[0]) < SURE[1] * found[1]:
            return True
    return False


def _response(clean: np.ndarray, noisy: np.ndarray) -> float:
    """Estimate the share of a change of the light that still shows in an image with noise, in [0, 1].

    A camera's noise is there before its tone curve, a level of about light^(1 / 2.2): a value that noise has raised
    from v to w changes (v / w)^1.2 times as much with the light, a value that noise has clipped does not change.
    """
    clean, noisy = (image[::3, ::3].astype(np.float32) for image in (clean, noisy))  # enough of them
    clipped = ((noisy == 0) & (clean != 0)) | ((noisy == 255) & (clean != 255))
    raised = (clean + 1) / (np.maximum(noisy, clean) + 1)
    return float(np.where(clipped, 0, raised**1.2).mean())


def is_blank(noisy: np.ndarray) -> bool:
    """Return whether an image, (H, W, C) uint8, is black, white or of one colour: it has no noise to learn from."""
    return float(np.std(noisy, axis=(0, 1), dtype=np.float64).max()) < LEAST_STD


def name_left_out(name: Path | str, reason: str = "black, white or of one colour") -> None:
    """Log that an image is left out."""
    logging.getLogger(__name__).warning("left out, for it is %s: %s", reason, name)


def _details(grey: np.ndarray, side: int) -> np.ndarray:
    """Compute means of blocks, less those of the 5x5 blocks around: (H, W) -> (H / side - 4, W / side - 4)."""
    height, width = (length // side for length in grey.shape)
    cut = grey[: height * side, : width * side].astype(np.float32)
    blocks = cut.reshape(height, side, width, side).mean((1, 3))
    return (blocks - cv2.blur(blocks, (5, 5)))[2:-2, 2:-2]


def _slope(clean: np.ndarray, noisy: np.ndarray, least: float) -> tuple[float, float] | None:
    """Regress one image's details on another's: slope and its standard error, whatever the errors' variance.

    None if the one has no more variance than `least`.
    """
    power = float((clean * clean).sum())
    if clean.size < FEWEST_BLOCKS or power <= max(least, 1e-6) * clean.size:
        return None
    slope = float((clean * noisy).sum()) / power
    return slope, float(np.sqrt(((clean * (noisy - slope * clean)) ** 2).sum())) / power
