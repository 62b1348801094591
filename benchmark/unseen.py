"""Write image pairs of simulated cameras that nobody has seen, to try the fit of a pipeline on.

python -m benchmark.unseen --photo_dir clean_photos/ --output_dir OUT [CAMERA ...]

Each camera has a matrix, white balance, tone curve, demosaicking, mosaic and ISO of its own. Photographs become sensor
values, which are rendered without noise (clean) and with it. Every third photograph is a test scene; for these
OUT/CAMERA/again/ has a second noisy image, whose score is the floor. runs/unseen.sh fits and judges.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import convolve
from tqdm import tqdm

from utils.image import read_image, write_image

# From linear sRGB to the camera's colours before white balance; rows sum to 1.
MATRICES = {
    "mild": [[0.75, 0.20, 0.05], [0.10, 0.80, 0.10], [0.03, 0.25, 0.72]],
    "strong": [[0.55, 0.38, 0.07], [0.13, 0.72, 0.15], [0.02, 0.28, 0.70]],
    "weak": [[0.90, 0.08, 0.02], [0.05, 0.90, 0.05], [0.00, 0.10, 0.90]],
}
CODE, FRAMES = "XY", 40
SHOT, READ = 2.2e-6, 3.0  # shot noise by ISO, in units of white; read noise in electrons, squared
ENTRIES = 4097  # of a tabulated tone curve


class Camera(NamedTuple):
    """A simulated camera, and the ISO of its pictures.

    balance: amplification of red and blue; red: first red pixel; clips: negative values are cut after demosaicking;
    is_mean: clean images are means of `FRAMES` noisy ones, as SIDD's, in place of pictures without noise.
    """

    matrix: str
    balance: tuple[float, float]
    curve: str
    demosaicking: str
    red: tuple[int, int]
    clips: bool
    iso: int
    is_mean: bool = False


CAMERAS = {
    "a": Camera("mild", (1.9, 1.6), "srgb", "malvar", (0, 1), True, 800),
    "b": Camera("strong", (1.6, 2.0), "gamma 2.2", "bilinear", (1, 0), False, 1600),
    "c": Camera("strong", (2.1, 1.5), "contrast", "malvar", (1, 1), False, 100),
    "d": Camera("weak", (1.5, 1.8), "filmic", "malvar", (0, 0), True, 800),
    "e": Camera("mild", (1.9, 1.6), "contrast", "bilinear", (0, 1), True, 6400),
    "f": Camera("strong", (1.9, 1.6), "srgb", "malvar", (1, 0), True, 12800),
    "g": Camera("mild", (2.3, 1.3), "filmic", "bilinear", (1, 1), False, 3200),
    "h": Camera("weak", (1.7, 1.7), "gamma 1.8", "malvar", (0, 1), False, 100),
    "i": Camera("strong", (1.8, 1.6), "contrast", "malvar", (0, 0), True, 1600, is_mean=True),
    "j": Camera("mild", (1.8, 1.6), "srgb", "bilinear", (0, 0), True, 6400, is_mean=True),
}


def tone_curve(name: str) -> np.ndarray:
    """Tabulate a curve from linear light, evenly spaced in [0, 1], to a finished value in [0, 1]: (`ENTRIES`,)."""
    light = np.linspace(0, 1, ENTRIES)
    if name.startswith("gamma"):
        return light ** (1 / float(name.split()[1]))
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    if name == "srgb":
        return srgb
    if name == "contrast":  # half of a smooth step
        return (srgb + 3 * srgb**2 - 2 * srgb**3) / 2
    x = 2.2 * light  # filmic: Narkowicz's fit to the curve of ACES, 2015
    film = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return (film / film[-1]) ** (1 / 2.2)


def colours(shape: Sequence[int], red: tuple[int, int]) -> np.ndarray:
    """Return the colour of each pixel of a mosaic, 0 red, 1 green, 2 blue: (H, W)."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - red[0]) % 2 + (columns - red[1]) % 2


def demosaick(raw: np.ndarray, red: tuple[int, int], name: str) -> np.ndarray:
    """Interpolate a mosaic, (H, W) -> (H, W, 3), by Malvar, He and Cutler 2004 or bilinearly."""
    colour = colours(raw.shape, red)
    in_red_row = ((np.arange(len(raw)) - red[0]) % 2 == 0)[:, None]

    def filtered(values: np.ndarray, taps: list, over: float) -> np.ndarray:
        return convolve(values, np.array(taps) / over, mode="mirror")

    if name == "bilinear":
        cross, square = [[0, 1, 0], [1, 4, 1], [0, 1, 0]], [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
        return np.stack([filtered(raw * (colour == c), cross if c == 1 else square, 4) for c in range(3)], -1)
    green = [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]
    along = [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]
    across = [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]
    row, column, diagonal = filtered(raw, along, 8), filtered(raw.T, along, 8).T, filtered(raw, across, 8)
    full = [np.where(colour == 1, np.where(in_red_row == (c == 0), row, column), diagonal) for c in (0, 2)]
    return np.stack(
        [
            np.where(colour == 0, raw, full[0]),
            np.where(colour == 1, raw, filtered(raw, green, 8)),
            np.where(colour == 2, raw, full[1]),
        ],
        -1,
    )


def write_camera(name: str, photos: Sequence[Path], output: Path) -> None:
    """Write a camera's scenes, second noisy images of the test scenes, and lists of both."""
    camera, rng = CAMERAS[name], np.random.default_rng(ord(name))
    light, curve = np.linspace(0, 1, ENTRIES), tone_curve(camera.curve)
    matrix = np.array(MATRICES[camera.matrix]) / np.array([camera.balance[0], 1, camera.balance[1]])[:, None]
    to_srgb, shot = np.linalg.inv(matrix), SHOT * camera.iso

    def develop(raw: np.ndarray) -> np.ndarray:
        values = demosaick(raw, camera.red, camera.demosaicking)
        values = np.maximum(values, 0) if camera.clips else values
        return np.round(255 * np.interp(values @ to_srgb.T, light, curve)).astype(np.uint8)

    halves: dict[str, list[str]] = {"train": [], "test": []}
    for number, photo in enumerate(photos, start=1):
        values = np.interp(read_image(photo) / 255, curve, light) @ matrix.T
        raw = np.take_along_axis(values, colours(values.shape, camera.red)[..., None], 2)[..., 0].clip(0, 1)

        def noisy(raw: np.ndarray = raw) -> np.ndarray:
            electrons = rng.poisson(raw / shot) + READ**0.5 * rng.standard_normal(raw.shape)
            return develop((electrons * shot).clip(0, 1))

        frames = [noisy() for _ in range(FRAMES)] if camera.is_mean else [develop(raw)]
        clean = np.mean(frames, 0).round().astype(np.uint8)
        scene = f"{number:04d}_001_{CODE}_{camera.iso:05d}_00100_5500_N"
        half = "train" if number % 3 else "test"
        halves[half].append(scene)
        write_image(output / "scenes" / scene / f"{scene[:4]}_GT_SRGB_010.PNG", clean)
        write_image(output / "scenes" / scene / f"{scene[:4]}_NOISY_SRGB_010.PNG", noisy())
        if half == "test":
            write_image(output / "again" / scene / f"{scene[:4]}_NOISY_SRGB_010.PNG", noisy())
    (output / "lists").mkdir(exist_ok=True)
    for half, scenes in halves.items():
        (output / "lists" / f"{CODE}_{half}.txt").write_text("".join(f"{scene}\n" for scene in scenes))


def main(arguments: list[str] | None = None) -> None:
    """Write the cameras that the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cameras", nargs="*", default=list(CAMERAS), metavar="CAMERA", help="of a to j (default: all)")
    parser.add_argument("--photo_dir", required=True, help="folder of clean photographs, PNG")
    parser.add_argument("--output_dir", required=True, help="folder for a folder of each camera")
    args = parser.parse_args(arguments)
    photos = sorted(Path(args.photo_dir).glob("*.png"))
    if len(photos) < 3 or set(args.cameras) - set(CAMERAS):
        parser.error(f"expected three photographs at least in {args.photo_dir}, and cameras of {' '.join(CAMERAS)}")
    for name in tqdm(args.cameras, unit="camera"):
        write_camera(name, photos, Path(args.output_dir) / name)


if __name__ == "__main__":
    main()
