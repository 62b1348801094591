"""Panels of images with labels: pictures side by side, (H, W, 3) uint8."""

import cv2
import numpy as np

FONT, SCALE, LINE, INK = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 20, (40, 40, 40)
MARGIN, GAP = 12, 10  # pixels around a panel, and between two tiles
Tile = tuple[str, np.ndarray]  # label, (H, W, 3) uint8


def panel(rows: list[list[Tile]]) -> np.ndarray:
    """Draw rows of labelled tiles on white: [[(label, (H, W, C) uint8), ...], ...] -> (H', W', 3) uint8.

    A label may have several lines; what is not ASCII becomes "?", for OpenCV's font has nothing else. Tiles start at
    their column's left and their row's top edge; smaller ones are padded with white.
    """
    rows = [[(label.encode("ascii", "replace").decode(), tile) for label, tile in row] for row in rows]
    columns = max(len(row) for row in rows)
    widths = [max(_tile_width(*row[i]) for row in rows if i < len(row)) for i in range(columns)]
    lines = [max(label.count("\n") + 1 for label, _ in row) for row in rows]
    heights = [max(tile.shape[0] for _, tile in row) for row in rows]
    height = 2 * MARGIN + sum(lines) * LINE + sum(heights) + GAP * (len(rows) - 1)
    canvas = np.full((height, 2 * MARGIN + sum(widths) + GAP * (columns - 1), 3), 255, np.uint8)
    top = MARGIN
    for row, row_lines, row_height in zip(rows, lines, heights):
        left = MARGIN
        for (label, tile), width in zip(row, widths):
            _write(canvas, label, left, top)
            below = top + row_lines * LINE
            canvas[below : below + tile.shape[0], left : left + tile.shape[1]] = tile
            left += width + GAP
        top += row_lines * LINE + row_height + GAP
    return canvas


def _tile_width(label: str, tile: np.ndarray) -> int:
    return max(tile.shape[1], *(cv2.getTextSize(line, FONT, SCALE, 1)[0][0] for line in label.split("\n")))


def _write(canvas: np.ndarray, label: str, left: int, top: int) -> None:
    for number, line in enumerate(label.split("\n")):
        baseline = (left, top + number * LINE + LINE - 7)
        cv2.putText(canvas, line, baseline, FONT, SCALE, INK, 1, cv2.LINE_AA)


def magnified_noise(noise: np.ndarray, gain: float) -> np.ndarray:
    """Show noise around mid-grey, `gain` times stronger: (H, W, C) in grey levels -> (H, W, C) uint8."""
    return np.round(np.clip(128 + gain * noise.astype(np.float32), 0, 255)).astype(np.uint8)
