"""What determines a demo data set, to the last bit, and the record of it that lies beside the scenes."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from data.demo.camera import ISO_RANGE
from utils.files import write_json

CAMERA = "DC"
RECORD = "demo.json"
VERSION = 1  # raise it whenever camera or content change, so that old and new scenes never mix in one folder
SIDES = (64, 8192)  # pixels


@dataclass(frozen=True)
class DemoOptions:
    """The options that determine the data set; `size` is (height, width). Raises ValueError for impossible ones."""

    num_scenes: int
    size: tuple[int, int]
    iso: tuple[int, ...]
    seed: int

    def __post_init__(self):
        low, high = ISO_RANGE
        wrong = [iso for iso in self.iso if not low <= iso <= high]
        if wrong or not self.iso or len(set(self.iso)) < len(self.iso):
            raise ValueError(f"--iso {' '.join(map(str, self.iso))}: expected different values from {low} to {high}")
        fewest, most = 2 * len(self.iso), min(999 * len(self.iso), 9999)  # names have 3 digits for it, and 4
        if not fewest <= self.num_scenes <= most:
            least = f"{fewest} (a train and a test scene for each --iso)"
            raise ValueError(f"--num_scenes {self.num_scenes}: expected {least} to {most}")
        if any(side % 2 or not SIDES[0] <= side <= SIDES[1] for side in self.size):
            height, width = self.size
            raise ValueError(f"--size {height}x{width}: expected even sides from {SIDES[0]} to {SIDES[1]} pixels")
        if self.seed < 0:
            raise ValueError(f"--seed {self.seed}: expected 0 or more")


def parse_size(text: str) -> tuple[int, int]:
    """Read `--size`: "896x1280" -> (896, 1280), height first."""
    match = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text.strip())
    if not match:
        raise ValueError(f"--size {text}: expected HxW, the height and the width in pixels, such as 896x1280")
    return int(match[1]), int(match[2])


def read_options(folder: str | Path) -> DemoOptions:
    """Read the record of a demo data set."""
    path = Path(folder) / RECORD
    try:
        record = json.loads(path.read_text())
        version = record.pop("version")
        options = DemoOptions(record.pop("num_scenes"), tuple(record.pop("size")), tuple(record.pop("iso")), **record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not the record of a demo data set ({error}); make one with main_make_demo.py"
        ) from None
    if version != VERSION:
        raise ValueError(f"{path}: made by version {version} of the demo camera, this is {VERSION}; make the set anew")
    return options


def claim_folder(folder: str | Path, options: DemoOptions) -> None:
    """Record the options in the data set's folder, or check that it was begun with the same ones."""
    folder = Path(folder)
    if (folder / RECORD).exists():
        begun = asdict(read_options(folder))
        for option, value in asdict(options).items():
            if begun[option] != value:
                there, here = (_as_typed(option, choice) for choice in (begun[option], value))
                raise ValueError(
                    f"{folder}: was made with {there}, not {here}; choose another --output_dir or remove it"
                )
        return
    if any(folder.glob(f"????_???_{CAMERA}_*")):
        raise ValueError(f"{folder}: has {CAMERA} scenes but no {RECORD}; choose another --output_dir or remove them")
    try:
        write_json(folder / RECORD, {**asdict(options), "version": VERSION})
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror}); change --output_dir") from None


def _as_typed(option: str, value) -> str:
    """Spell an option as a user would."""
    if option == "size":
        return f"--size {value[0]}x{value[1]}"
    return f"--{option} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"
