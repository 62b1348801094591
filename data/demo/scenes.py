"""Make the demo data set: scenes of the simulated camera DC in SIDD's layout, whose noise can be redrawn at will.

A scene is its options and its number, never a stored state: content, light and the noise of each frame follow from
(seed, instance, draw), so a resumed run equals an uninterrupted one and `redraw` gives the true noise process exactly.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from data.demo.camera import ISO_RANGE, develop, expose, to_raw
from data.demo.content import compose
from data.splits import HALVES, Split
from metrics import autocorrelation, channel_correlation, noise_of
from utils.files import claim_record, read_record
from utils.image import read_image, write_image

CAMERA = "DC"
DEMO_RECORD = "demo.json"  # the options, beside the scenes
DEMO_VERSION = 1  # raise it whenever camera or content change, so that old and new scenes never mix in one folder
SIDES = (64, 8192)  # pixels
KELVIN = (3200, 4400, 5500)  # SIDD's illuminants
# Light on the board, and the shutter that a photographer would choose for it, in units of 1 / ISO seconds.
EXPOSURE = {"L": 0.6, "N": 1.0, "H": 1.25}
SHUTTER = {"L": 0.5, "N": 1.0, "H": 2.0}
FRAMES = ("010", "011")  # SIDD-Medium's two frames of a scene; here draws 0 and 1 of the noise
CONTENT_STREAM, NOISE_STREAM = 0, 1  # keep the random numbers of the two apart
STATISTICS = ("std", "lag-1 h", "lag-1 v", "lag-2", "lag-(1,1)", "rg", "gb", "rb", "bias")


@dataclass(frozen=True)
class DemoOptions:
    """Settings that determine a data set to the last bit; `size` is (height, width). Raises ValueError."""

    num_scenes: int = 24
    size: tuple[int, int] = (896, 1280)
    iso: tuple[int, ...] = (100, 800, 3200)
    seed: int = 0

    def __post_init__(self) -> None:
        check_iso(self.iso)
        check_size(self.size)
        fewest, most = 2 * len(self.iso), min(999 * len(self.iso), 9999)  # names have 3 digits for it, and 4
        if not fewest <= self.num_scenes <= most:
            reason = f"{fewest} (a train and a test scene for each ISO level)"
            raise ValueError(f"{self.num_scenes} scenes: expected {reason} to {most}")


def check_iso(iso: tuple[int, ...]) -> None:
    """Raise ValueError for ISO levels that the camera lacks, or that are there twice."""
    low, high = ISO_RANGE
    if not iso or len(set(iso)) < len(iso) or not all(low <= level <= high for level in iso):
        raise ValueError(f"ISO {' '.join(map(str, iso))}: expected different values from {low} to {high}")


def check_size(size: tuple[int, int]) -> None:
    """Raise ValueError for a size, (height, width) in pixels, that the camera cannot have."""
    if any(side % 2 or not SIDES[0] <= side <= SIDES[1] for side in size):
        raise ValueError(f"size {size[0]}x{size[1]}: expected even sides from {SIDES[0]} to {SIDES[1]} pixels")


def parse_size(text: str) -> tuple[int, int]:
    """Read a size such as "896x1280": height, then width, in pixels. Raises ValueError for an impossible one."""
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text.strip().lower())
    if not match:
        raise ValueError(f"size {text}: expected HxW, the height and the width in pixels, such as 896x1280")
    size = int(match[1]), int(match[2])
    check_size(size)
    return size


def read_options(folder: str | Path) -> DemoOptions:
    """Read the record of a demo data set."""
    path = Path(folder) / DEMO_RECORD
    record = read_record(path)
    try:
        version = record.pop("version")
        options = DemoOptions(record.pop("num_scenes"), tuple(record.pop("size")), tuple(record.pop("iso")), **record)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the record of a demo data set ({error})") from None
    if version != DEMO_VERSION:
        raise ValueError(f"{path}: of version {version} of the demo camera, this is {DEMO_VERSION}; make the set anew")
    return options


@dataclass(frozen=True)
class DemoScene:
    """One scene of the data set, rendered when asked: `clean()`, and `noisy(draw)` for draw = 0, 1, 2, ..."""

    options: DemoOptions
    instance: int  # from 1; the ISO levels take turns

    @property
    def number(self) -> int:
        """Return SIDD's scene number, from 1; instances that share it differ in ISO (and, here, in what they show)."""
        return (self.instance - 1) // len(self.options.iso) + 1

    @property
    def level(self) -> int:
        """Return the index of the scene's ISO level, from 0."""
        return (self.instance - 1) % len(self.options.iso)

    @property
    def iso(self) -> int:
        """Return the scene's ISO."""
        return self.options.iso[self.level]

    @property
    def half(self) -> str:
        """Return "test" for every fifth scene, at all ISOs, else "train": SIDD's 80/20, whatever scenes are added."""
        return "test" if self.number % 5 == 2 else "train"

    @property
    def kelvin(self) -> int:
        """Return the colour temperature of the light, in kelvin."""
        return KELVIN[(self.number + self.level) % 3]

    @property
    def brightness(self) -> str:
        """Return the brightness of the light: L(ow), N(ormal) or H(igh), as SIDD has it."""
        return "LNH"[(self.number // 3 + self.level) % 3]

    @property
    def name(self) -> str:
        """Return the name of the scene's folder, in SIDD's form."""
        shutter = round(self.iso * SHUTTER[self.brightness])
        light = f"{self.kelvin:04d}_{self.brightness}"
        return f"{self.instance:04d}_{self.number:03d}_{CAMERA}_{self.iso:05d}_{shutter:05d}_{light}"

    @cached_property
    def raw(self) -> np.ndarray:
        """Return the light on the sensor, before any noise: (H, W) float32, 1 = full scale."""
        content = compose(*self.options.size, self.half, self._random(CONTENT_STREAM))
        return to_raw(content, self.kelvin, EXPOSURE[self.brightness])

    def clean(self) -> np.ndarray:
        """Render the scene without noise: (H, W, 3) uint8."""
        return develop(expose(self.raw, self.iso), self.kelvin)

    def noisy(self, draw: int) -> np.ndarray:
        """Render the scene with the `draw`-th independent noise: (H, W, 3) uint8. Draws 0 and 1 are on the disk."""
        return develop(expose(self.raw, self.iso, self._random(NOISE_STREAM, draw)), self.kelvin)

    def write(self, folder: str | Path) -> None:
        """Write the scene's two pairs below `folder`, unless they are there. Files are whole or absent (atomic)."""
        paths = {(kind, frame): self.path(folder, kind, frame) for frame in FRAMES for kind in ("GT", "NOISY")}
        if all(path.exists() for path in paths.values()):
            return
        clean = self.clean()
        for (kind, frame), path in paths.items():
            write_image(path, clean if kind == "GT" else self.noisy(FRAMES.index(frame)))

    def path(self, folder: str | Path, kind: str, frame: str) -> Path:
        """Return the name that SIDD-Medium would give a file of the scene; `kind` is "GT" or "NOISY"."""
        return Path(folder) / self.name / f"{self.instance:04d}_{kind}_SRGB_{frame}.PNG"

    def _random(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.options.seed, self.instance, *stream])


def all_scenes(options: DemoOptions) -> Iterator[DemoScene]:
    """Yield the scenes of a data set in the order of their names, one by one: each holds its rendered light."""
    return (DemoScene(options, instance) for instance in range(1, options.num_scenes + 1))


def open_scene(folder: str | Path, name: str) -> DemoScene:
    """Return the scene called `name` of the demo data set in a folder."""
    options = read_options(folder)
    for scene in all_scenes(options):
        if scene.name == name:
            return scene
    first = DemoScene(options, 1).name
    raise ValueError(f"{folder}: has no demo scene {name}; expected one of its {options.num_scenes}, such as {first}")


def redraw(folder: str | Path, name: str, draw: int) -> np.ndarray:
    """Take one more noisy picture of a scene in a demo data set, (H, W, 3) uint8; the known truth.

    For many draws of one scene keep `open_scene(folder, name)` and call its `noisy`: it renders the light only once.
    """
    return open_scene(folder, name).noisy(draw)


def claim_demo_folder(folder: str | Path, options: DemoOptions) -> None:
    """Record the options in the data set's folder, or check that it was begun with the same ones."""
    content = asdict(options) | {"version": DEMO_VERSION}
    try:
        claim_record(folder, DEMO_RECORD, content, results=Path(folder).glob(f"????_???_{CAMERA}_*"))
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror})") from None


def split_of(options: DemoOptions) -> Split:
    """Return the names of the scenes that train, and of those that test."""
    train, test = ([scene.name for scene in all_scenes(options) if scene.half == half] for half in HALVES)
    return train, test


def noise_statistics(noise: np.ndarray) -> dict[str, float]:
    """Describe noise in grey levels, (H, W, 3), by the numbers of `STATISTICS`.

    std and bias are in grey levels over all channels; autocorrelations are means of the channels, lag-2 and lag-(1,1)
    also of both directions; rg, gb, rb are the channels' correlations.
    """
    lags = autocorrelation(noise, max_lag=2).mean(axis=0)  # (5, 5), lag (0, 0) in the middle
    channels = channel_correlation(noise)
    values = (
        noise.std(),
        lags[2, 3],
        lags[3, 2],
        (lags[2, 4] + lags[4, 2]) / 2,
        (lags[3, 3] + lags[3, 1]) / 2,
        channels[0, 1],
        channels[1, 2],
        channels[0, 2],
        noise.mean(),
    )
    return {name: float(value) for name, value in zip(STATISTICS, values)}


def measure(folder: str | Path) -> dict[int, dict[str, float]]:
    """Average the statistics of each ISO level's scenes, first frame, from the files; by ISO, then by statistic."""
    options = read_options(folder)
    rows: dict[int, list[dict[str, float]]] = {iso: [] for iso in options.iso}
    for scene in all_scenes(options):
        noisy, clean = (read_image(scene.path(folder, kind, FRAMES[0])) for kind in ("NOISY", "GT"))
        rows[scene.iso].append(noise_statistics(noise_of(noisy, clean)))
    return {iso: {name: float(np.mean([row[name] for row in of])) for name in STATISTICS} for iso, of in rows.items()}


def as_markdown(table: dict[int, dict[str, float]]) -> str:
    """Format what `measure` returns as a Markdown table."""
    lines = ["| ISO | " + " | ".join(STATISTICS) + " |", "|---:" * (len(STATISTICS) + 1) + "|"]
    for iso, row in sorted(table.items()):
        lines.append(f"| {iso} | " + " | ".join(f"{row[name]:.2f}" for name in STATISTICS) + " |")
    return "\n".join(lines)
