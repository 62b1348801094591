"""The blocks of the SIDD validation and benchmark, as their .mat files hold them."""

from pathlib import Path

import numpy as np

from data.benchmarks.mat_files import read_variable, require_variable

BENCHMARK_KEY = "BenchmarkNoisyBlocksSrgb"
BENCHMARK_SHAPE = (40, 32, 256, 256, 3)  # of the published files: images, blocks of each, height, width, RGB

Shape = tuple[int, ...]


def read_blocks(path: str | Path, key: str | None = None, shape: Shape | None = None) -> np.ndarray:
    """Read a file of blocks, MATLAB v5 or v7.3: -> (images, blocks, H, W, 3) uint8, in the file's order of bytes.

    key: the variable, None: named as the file, as in the published ones; shape: the one that is demanded, None: any.
    Raises ValueError that names the file when it is missing, damaged or no .mat file, and for another key, class or
    shape.
    """
    path = Path(path)
    key = key or path.stem
    found = require_variable(path, key, ("uint8",)).shape
    if len(found) != 5 or found[4] != 3 or 0 in found:
        raise ValueError(f"{path}: {key} is {times(found)}, expected images x blocks x height x width x 3")
    if shape is not None and found != shape:
        raise ValueError(f"{path}: {key} is {times(found)}, expected {times(shape)} as published")
    return read_variable(path, key)


def read_validation(noisy_path: str | Path, gt_path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the noisy and the clean validation blocks: -> two arrays (images, blocks, H, W, 3) uint8.

    Raises ValueError as `read_blocks`, and when the two do not belong together.
    """
    noisy, clean = read_blocks(noisy_path), read_blocks(gt_path)
    if noisy.shape != clean.shape:
        raise ValueError(
            f"{gt_path}: {times(clean.shape)}, but {noisy_path} is {times(noisy.shape)}; expected the clean blocks of "
            "the same noisy ones"
        )
    if np.array_equal(noisy, clean):
        raise ValueError(f"{gt_path}: the same blocks as in {noisy_path}, expected the clean ones of the noisy ones")
    return noisy, clean


def times(shape: Shape) -> str:
    """Spell a shape: (40, 32) -> 40x32."""
    return "x".join(map(str, shape)) or "a single value"
