"""The quick test's folder of images: clean.png and noisy.png, and further pairs by name."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.image import read_image

NAME_FORM = re.compile(r"(?:(.+)_)?(clean|noisy)")
EXPECTED = "clean.png and noisy.png, or <name>_clean.png and <name>_noisy.png"
SMALLEST = 8  # pixels a side: NCNet halves three times


@dataclass(frozen=True)
class NamedPair:
    """A clean image and, where there is one, its real noisy one; `name` is empty for clean.png and noisy.png."""

    name: str
    clean: Path
    noisy: Path | None

    def file(self, kind: str) -> str:
        """Name of a file that belongs to the pair: `<kind>.png` or `<name>_<kind>.png`."""
        return f"{self.name}_{kind}.png" if self.name else f"{kind}.png"

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Read the images, (H, W, 3) uint8 each. Raises ValueError when they differ in size or are too small."""
        clean = read_image(self.clean)
        noisy = read_image(self.noisy) if self.noisy else None
        height, width = clean.shape[:2]
        if noisy is not None and noisy.shape != clean.shape:
            size = f"{noisy.shape[0]}x{noisy.shape[1]} pixels"
            raise ValueError(f"{self.noisy}: {size}, but {self.clean.name} has {height}x{width}; expected the same")
        if min(height, width) < SMALLEST:
            raise ValueError(f"{self.clean}: {height}x{width} pixels, expected at least {SMALLEST}x{SMALLEST}")
        return clean, noisy


def find_named_pairs(folder: str | Path, noisy_needed: bool) -> tuple[list[NamedPair], list[Path]]:
    """List the pairs in a folder, the one without a name first, and the PNGs that belong to none.

    Raises ValueError for a missing folder, one without a clean image, a noisy image without its clean one, the
    reverse where `noisy_needed`, and names that are there twice (`clean.png` and `clean.PNG`).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; change --dir_test_img")
    sides: dict[str, dict[str, Path]] = {"clean": {}, "noisy": {}}
    others = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".png" or path.name.startswith("."):
            continue
        match = NAME_FORM.fullmatch(path.stem)
        if not match:
            others.append(path)
            continue
        if (match[1] or "") in sides[match[2]]:
            raise ValueError(f"{path}: expected {EXPECTED}, each once")
        sides[match[2]][match[1] or ""] = path
    for name, path in sides["noisy"].items():
        if name not in sides["clean"]:
            expected = NamedPair(name, path, path).file("clean")
            raise ValueError(f"{path}: has no clean image, expected {folder / expected}")
    if not sides["clean"]:
        raise ValueError(f"{folder}: no images, expected {EXPECTED}; change --dir_test_img")
    pairs = [NamedPair(name, path, sides["noisy"].get(name)) for name, path in sorted(sides["clean"].items())]
    for pair in pairs:
        if noisy_needed and not pair.noisy:
            expected = folder / pair.file("noisy")
            raise ValueError(f"{pair.clean}: its gain is unknown, expected {expected} or the option --gain")
    return pairs, others
