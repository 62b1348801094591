"""What determines the crops of a data set: the rule of the cuts, and the record of it that lies beside the scenes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data.sidd import SCENE_FORM
from utils.files import write_json

RECORD = "crop.json"


@dataclass(frozen=True)
class CropSettings:
    """What determines the crops, in pixels. Raises ValueError for impossible ones."""

    size: int  # side of a crop
    overlap: int  # pixels that neighbours share
    threshold: int  # an image is cut if both its sides exceed it

    def __post_init__(self):
        if self.overlap >= self.size:
            raise ValueError(f"--overlap {self.overlap}: expected less than --size {self.size}")
        if self.size > self.threshold + 1:
            raise ValueError(
                f"--size {self.size}: expected at most {self.threshold + 1} (--threshold + 1), or an image just over "
                f"the threshold would be smaller than its crops"
            )

    def origins(self, length: int) -> list[int]:
        """Where the crops begin along a side: at every stride, and the last one flush with the end."""
        last = length - self.size
        return [*range(0, last, self.size - self.overlap), last]

    def boxes(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Cut an image into crops, row by row: -> index of each into (H, W). A small image stays whole."""
        if height <= self.threshold or width <= self.threshold:
            return [np.s_[0:height, 0:width]]
        return [np.s_[y : y + self.size, x : x + self.size] for y in self.origins(height) for x in self.origins(width)]


def claim_target(source: Path, target: Path, settings: CropSettings) -> None:
    """Record the settings in the target, or check that it was begun with the same ones.

    Raises ValueError when it was not, when source and target are not apart, or the target cannot be written.
    """
    inside = source.resolve(), target.resolve()
    if inside[0].is_relative_to(inside[1]) or inside[1].is_relative_to(inside[0]):
        raise ValueError(f"--target {target}: expected a folder apart from --source {source}, neither in the other")
    record = target / RECORD
    if record.exists():
        try:
            begun = json.loads(record.read_text())
            changed = [name for name, value in asdict(settings).items() if begun[name] != value]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{record}: damaged ({error!r}); choose another --target or remove it") from None
        for name in changed:
            now = getattr(settings, name)
            raise ValueError(
                f"{target}: was cropped with --{name} {begun[name]}, not {now}; choose another --target or remove it"
            )
        return
    try:
        if target.is_dir() and any(SCENE_FORM.fullmatch(path.name) for path in target.iterdir()):
            raise ValueError(f"{target}: has scenes but no {RECORD}; choose another --target or remove them")
        write_json(record, asdict(settings))
    except OSError as error:
        raise ValueError(f"{target}: cannot be written ({error.strerror}); change --target") from None
