"""The pictures of an evaluation of denoisers."""

import cv2
import numpy as np

from evaluation.denoising import DETAIL, Example
from evaluation.denoising_summary import Summary
from utils.charts import bars, panel

ZOOM = 3
SIDE = ZOOM * DETAIL  # pixels of a tile
MOST_COLUMNS = 6
LABEL = 24  # letters above a tile
BRIGHT, MOST_GAIN = 160, 5  # details darker than this grey level are shown brighter, at most so many times
FRAME = ((255, 255, 255), (220, 30, 30))  # seen on dark and on bright images
CAPTIONS = {
    "quality": "Means over the images, best PSNR on top. Bars begin at the noisy image's; black lines: one standard "
    "deviation between seeds, where there are several. Grey: no training.",
    "examples": f"The square with the most detail of some images, x{ZOOM}, and the PSNR of the whole image; of several "
    "seeds the first. Dark ones are shown brighter.",
}


def draw_quality(summary: Summary, noisy: str, classic: list[str]) -> np.ndarray:
    """Draw PSNR and SSIM of a summary: -> (H, W, 3) uint8. noisy: the name of the noisy image's row."""
    groups = {
        label: {name: (values[metric]["mean"], values[metric]["over_seeds"]) for name, values in summary.items()}
        for label, metric in (("PSNR (dB)", "psnr"), ("SSIM", "ssim"))
    }
    return bars(groups, noisy, "Denoised images", classic)


def draw_examples(examples: list[Example], names: list[str]) -> np.ndarray:
    """Draw images before and after, denoisers in the order of `names`: -> (H, W, 3) uint8."""
    rows = []
    for example in examples:
        detail = example.image.clean[example.box]
        gain = round(float(np.clip(BRIGHT / max(np.percentile(detail, 99), 1), 1, MOST_GAIN)), 1)
        tiles = [(_label(example), _overview(example)), (f"clean\n{_brighter(gain)}", _zoomed(detail, gain))]
        for name in names:
            output, psnr = example.details[name]
            tiles.append((f"{name[:LABEL]}\n{psnr:.2f} dB", _zoomed(output, gain)))
        columns = -(-len(tiles) // -(-len(tiles) // MOST_COLUMNS))  # rows as even as can be
        rows += [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    return panel(rows)


def _label(example: Example) -> str:
    image = example.image
    known = image.camera if image.iso is None else f"{image.camera}, ISO {image.iso}"
    return f"{known}\n{image.name if len(image.name) <= LABEL else image.name.partition('/')[0][:LABEL]}"


def _brighter(gain: float) -> str:
    return f"all x{gain:g} brighter" if gain > 1 else ""


def _zoomed(detail: np.ndarray, gain: float) -> np.ndarray:
    shown = np.clip(np.rint(gain * detail), 0, 255).astype(np.uint8)
    return shown.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def _overview(example: Example) -> np.ndarray:
    """The clean image as large as a tile, with a frame around the detail."""
    clean = example.image.clean
    factor = SIDE / max(clean.shape[:2])
    size = [max(1, round(factor * side)) for side in clean.shape[1::-1]]
    small = cv2.resize(clean, size, interpolation=cv2.INTER_AREA)
    rows, columns = example.box
    corners = [
        (round(factor * x), round(factor * y)) for x, y in ((columns.start, rows.start), (columns.stop, rows.stop))
    ]
    for width, colour in zip((4, 2), FRAME):
        cv2.rectangle(small, *corners, colour, width)
    return small
