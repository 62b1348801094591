"""The demo data set: scenes of the simulated camera DC in SIDD's layout, and their noise redrawn as often as wanted.

A scene is its options and its number, never a stored state: content, light and the noise of each frame follow from
(seed, instance, draw), so a resumed run equals an uninterrupted one and `redraw` gives the true noise process exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from data.demo.camera import develop, expose, to_raw
from data.demo.content import compose
from data.demo.options import CAMERA, DemoOptions, read_options
from utils.files import write_text
from utils.image import write_image

KELVIN = (3200, 4400, 5500)  # SIDD's illuminants
# Light on the board, and the shutter that a photographer would choose for it, in units of 1 / ISO seconds.
EXPOSURE = {"L": 0.6, "N": 1.0, "H": 1.25}
SHUTTER = {"L": 0.5, "N": 1.0, "H": 2.0}
FRAMES = ("010", "011")  # SIDD-Medium's two frames of a scene; here draws 0 and 1 of the noise
CONTENT_STREAM, NOISE_STREAM = 0, 1  # keep the random numbers of the two apart


@dataclass(frozen=True)
class DemoScene:
    """One scene of the data set, rendered when asked: `clean()`, and `noisy(draw)` for draw = 0, 1, 2, ..."""

    options: DemoOptions
    instance: int  # from 1; the ISO levels take turns

    @property
    def number(self) -> int:
        """SIDD's scene number, from 1: the instances that share it differ in ISO (and, here, in what they show)."""
        return (self.instance - 1) // len(self.options.iso) + 1

    @property
    def level(self) -> int:
        """Which of the ISO levels, from 0."""
        return (self.instance - 1) % len(self.options.iso)

    @property
    def iso(self) -> int:
        return self.options.iso[self.level]

    @property
    def half(self) -> str:
        """Every fifth scene is "test", with all its ISO levels: SIDD's 80/20, and stable when scenes are added."""
        return "test" if self.number % 5 == 2 else "train"

    @property
    def kelvin(self) -> int:
        return KELVIN[(self.number + self.level) % 3]

    @property
    def brightness(self) -> str:
        return "LNH"[(self.number // 3 + self.level) % 3]

    @property
    def name(self) -> str:
        shutter = round(self.iso * SHUTTER[self.brightness])
        light = f"{self.kelvin:04d}_{self.brightness}"
        return f"{self.instance:04d}_{self.number:03d}_{CAMERA}_{self.iso:05d}_{shutter:05d}_{light}"

    @cached_property
    def raw(self) -> np.ndarray:
        """The light on the sensor, before any noise: (H, W) float32, 1 = full scale."""
        content = compose(*self.options.size, self.half, self._random(CONTENT_STREAM))
        return to_raw(content, self.kelvin, EXPOSURE[self.brightness])

    def clean(self) -> np.ndarray:
        """Render the scene without noise: -> (H, W, 3) uint8."""
        return develop(expose(self.raw, self.iso), self.kelvin)

    def noisy(self, draw: int) -> np.ndarray:
        """Render the scene with the `draw`-th independent noise: -> (H, W, 3) uint8. Draws 0 and 1 are on the disk."""
        return develop(expose(self.raw, self.iso, self._random(NOISE_STREAM, draw)), self.kelvin)

    def write(self, folder: Path) -> None:
        """Write the scene's two pairs below `folder`, unless they are there. Files are whole or absent (atomic)."""
        paths = {(kind, frame): self.path(folder, kind, frame) for frame in FRAMES for kind in ("GT", "NOISY")}
        if all(path.exists() for path in paths.values()):
            return
        clean = self.clean()
        for (kind, frame), path in paths.items():
            write_image(path, clean if kind == "GT" else self.noisy(FRAMES.index(frame)))

    def path(self, folder: Path, kind: str, frame: str) -> Path:
        """Name a file of the scene as SIDD-Medium does; `kind` is "GT" or "NOISY"."""
        return Path(folder) / self.name / f"{self.instance:04d}_{kind}_SRGB_{frame}.PNG"

    def _random(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.options.seed, self.instance, *stream])


def redraw(folder: str | Path, name: str, draw: int) -> np.ndarray:
    """Take one more noisy picture of a scene in a demo data set: -> (H, W, 3) uint8; the known truth.

    For many draws of one scene keep `open_scene(folder, name)` and call its `noisy`: it renders the light only once.
    """
    return open_scene(folder, name).noisy(draw)


def open_scene(folder: str | Path, name: str) -> DemoScene:
    """Find the scene called `name` by the record in a demo data set's folder."""
    options = read_options(folder)
    for scene in all_scenes(options):
        if scene.name == name:
            return scene
    first = DemoScene(options, 1).name
    raise ValueError(f"{folder}: has no demo scene {name}; expected one of its {options.num_scenes}, such as {first}")


def all_scenes(options: DemoOptions) -> Iterator[DemoScene]:
    """Yield the scenes of a data set in the order of their names, one by one: each holds its rendered light."""
    return (DemoScene(options, instance) for instance in range(1, options.num_scenes + 1))


def write_lists(folder: str | Path, options: DemoOptions) -> list[Path]:
    """Write DC_train.txt and DC_test.txt, one scene name a line: -> their paths."""
    paths = []
    for half in ("train", "test"):
        names = [scene.name for scene in all_scenes(options) if scene.half == half]
        paths.append(Path(folder) / f"{CAMERA}_{half}.txt")
        try:
            write_text(paths[-1], "\n".join(names) + "\n")
        except OSError as error:
            raise ValueError(f"{paths[-1]}: cannot be written ({error.strerror}); change --data_prep_dir") from None
    return paths
