"""Checkpoints: dicts of tensors and plain values, written atomically, read without unpickling objects."""

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from utils.files import atomic_path


def save_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    """Write a dict of tensors and plain values to `path`, atomically. Raise OSError if it cannot be written."""
    try:
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
    except RuntimeError as error:  # what PyTorch's own file writer raises on a full disk
        raise OSError(f"{path}: cannot be written, is the disk full? ({str(error).splitlines()[0]})") from None


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU.

    Only tensors and plain values are accepted (`weights_only=True`): a file that would run code when unpickled is
    refused. Raise ValueError that names the file if it is missing, truncated, refused or not a dict.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path}: refused, it holds pickled Python objects or is no checkpoint; expected tensors and plain values"
        ) from None
    except Exception as error:  # torch.load raises RuntimeError, EOFError, KeyError, ... on damaged files
        raise ValueError(f"{path}: damaged or not a PyTorch checkpoint ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, expected a dict")
    return content


def numbered_files(folder: Path, prefix: str, suffix: str = ".pth") -> list[Path]:
    """Return the files `<prefix><digits><suffix>` of a folder, lowest number first."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)" + re.escape(suffix))
    found = [(int(match[1]), path) for path in folder.glob(f"{prefix}*") if (match := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(found)]
