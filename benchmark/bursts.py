"""Photograph bursts with a simulated camera that nobody has seen, and judge noise made for it by the truth.

python -m benchmark.bursts --output_dir ./Datasets/Simulated_Bursts/
python -m benchmark.bursts --judge noisy_1600/ --iso 1600

They stand for a reader's own in doc/your_camera.md: the demo camera under one light, with another seed and content than
its data set. In one burst two frames have moved, in another an exposure has changed. Beside the bursts lie photographs
without noise, to be noised by main_synthesize.py; --judge scores the result, --iso says what was asked for.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data.demo.camera import develop, expose, to_raw
from data.demo.content import compose
from evaluation.noise_metrics import Comparison, Reference, measure
from metrics import noise_of
from utils.files import write_bytes
from utils.image import EXIF, EXPOSURE_TIME, ISO_SPEED, read_image, write_image
from utils.panels import panel

SEED, KELVIN = 2026, 4400
SIDE, FRAMES = 512, 12
SCENES, PHOTOGRAPHS = range(1, 9), range(9, 13)
ISO = (400, 1600)  # take turns
MARGIN = 8  # pixels of the board around the picture, which the moved frames see
MOVED = {(3, 5): (0, 4), (3, 8): (2.5, -1)}  # by scene and frame, from 1: rows, columns
EXPOSURE = {(6, 10): 2 ** (1 / 3)}  # a third of a stop more
SHUTTER = 100  # 1 / seconds


class Burst:
    """One scene of the simulated camera, from 1: what it is, and its photographs."""

    def __init__(self, scene: int, iso: int | None = None):
        self.scene, self.iso = scene, iso or ISO[(scene - 1) % len(ISO)]
        side = SIDE + 2 * MARGIN
        self.board = compose(side, side, "test", np.random.default_rng([SEED, scene]))

    def photograph(self, frame: int) -> np.ndarray:
        """Take a frame of the burst, from 1; 0 has no noise, and frames beyond the burst no faults: (H, W, 3)."""
        rows, columns = MOVED.get((self.scene, frame), (0, 0))
        there = np.array([[1, 0, columns], [0, 1, rows]], np.float32)
        board = cv2.warpAffine(self.board, there, self.board.shape[1::-1], flags=cv2.INTER_CUBIC)
        seen = np.clip(board[MARGIN:-MARGIN, MARGIN:-MARGIN], 0, 1)
        raw = to_raw(seen, KELVIN, EXPOSURE.get((self.scene, frame), 1.0))
        rng = np.random.default_rng([SEED, self.scene, frame]) if frame else None
        return develop(expose(raw, self.iso, rng), KELVIN)

    def write(self, folder: Path) -> None:
        """Write the frames of the burst."""
        for frame in range(1, FRAMES + 1):
            shutter = SHUTTER / EXPOSURE.get((self.scene, frame), 1.0)
            write_photograph(
                folder / f"board_{self.scene}" / f"IMG_{frame:04d}.png", self.photograph(frame), self.iso, shutter
            )


def write_photograph(path: Path, pixels: np.ndarray, iso: int, shutter: float) -> None:
    """Write a PNG file that says ISO and shutter, in 1 / seconds, as a camera's files do."""
    tags = Image.Exif()
    tags[EXIF] = {ISO_SPEED: iso, EXPOSURE_TIME: 1 / shutter}
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=tags)
    write_bytes(path, file.getvalue())


def photograph_name(scene: int) -> str:
    """Name the photograph of a scene."""
    return f"board_{scene}.png"


def judge(folder: Path, iso: int) -> Iterator[dict[str, float]]:
    """Score the noisy photographs of a folder against a frame of the simulator, as `metrics.structure_score` does.

    Yields scene, score and the standard deviations, of a frame and of the fake, in grey levels; `floor` is the score of
    another frame.
    """
    for scene in PHOTOGRAPHS:
        burst = Burst(scene, iso)
        clean, truth, other = (burst.photograph(frame) for frame in (0, 1, 2))
        reference = Reference(clean, truth)
        fakes = [noise_of(image, clean) for image in (read_image(folder / photograph_name(scene)), other)]
        score, floor = (measure(Comparison(reference, noise))["score"] for noise in fakes)
        stds = {"std": reference.noise.std(), "fake std": fakes[0].std()}
        yield {"scene": scene, "score": score, "floor": floor} | stds


def picture(folder: Path, iso: int) -> np.ndarray:
    """Put the middle of the last photograph, a frame of the simulator and the fake side by side: (H, W, 3) uint8."""
    scene = PHOTOGRAPHS[-1]
    burst, middle = Burst(scene, iso), slice(SIDE // 4, -SIDE // 4)
    images = burst.photograph(0), burst.photograph(1), read_image(folder / photograph_name(scene))
    labels = "clean", f"a frame of the simulator, ISO {iso}", f"fake, ISO {iso}"
    return panel([[(label, image[middle, middle]) for label, image in zip(labels, images)]])


def main() -> None:
    """Write the bursts and photographs, or judge noisy photographs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, default=Path("./Datasets/Simulated_Bursts/"))
    parser.add_argument("--judge", type=Path, default=None, help="folder of the photographs with noise")
    parser.add_argument("--iso", type=int, default=1600, help="ISO that the noise was made for")
    parser.add_argument("--picture", type=Path, default=None, help="file for a comparison of what was judged")
    args = parser.parse_args()
    if args.judge:
        if args.picture:
            write_image(args.picture, picture(args.judge, args.iso))
        rows = list(judge(args.judge, args.iso))
        for row in rows:
            print("  ".join(f"{name} {value:.3g}" for name, value in row.items()))
        print(f"mean score {np.mean([row['score'] for row in rows]):.3f} at ISO {args.iso}")
        return
    for scene in SCENES:
        Burst(scene).write(args.output_dir / "bursts")
    for scene in PHOTOGRAPHS:
        write_image(args.output_dir / "photographs" / photograph_name(scene), Burst(scene).photograph(0))
    print(f"{len(SCENES)} bursts and {len(PHOTOGRAPHS)} photographs in {args.output_dir}")


if __name__ == "__main__":
    main()
