"""Checkpoints: dicts of tensors and plain values, written atomically, read without unpickling objects.

A .safetensors file holds a network's weights as a flat dict, which other programs read, too, and in its metadata what
else we know: the key `neca` is JSON of the checkpoint's plain values.
"""

import _codecs
import json
import os
import pickle
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.files import atomic_path, web_page

SAFETENSORS = ".safetensors"
SUFFIXES = (".pth", SAFETENSORS)  # of checkpoints, in the order in which they are looked for
METADATA = "neca"
SAFE_SINCE = (2, 10)  # PyTorch; before, a crafted .pth file corrupts memory although it is read with weights_only=True
STATE_PREFIX = "training_state_"  # of the files that a run is resumed from
# NumPy's scalars are plain values; their pickles name these functions and types.
_SCALAR = np.float64(0).__reduce__()[0]
_SCALARS: list[Any] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("_core", "core")),  # of NumPy 2 and 1
    *(type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDGU"),
    np.dtype,
    _codecs.encode,
]
_lock = threading.Lock()


def save_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    """Write a dict of tensors and plain values to `path`, atomically; the suffix chooses the format.

    A .safetensors file takes `model_state_dict` and, beside it, plain values. Raise OSError if it cannot be written.
    """
    try:
        # Given a name, torch.save would write that into the file, and safetensors let nobody else read it.
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            if Path(path).suffix == SAFETENSORS:
                from safetensors.torch import save  # few runs need it

                values = {name: value for name, value in content.items() if name != "model_state_dict"}
                weights = {name: tensor.contiguous() for name, tensor in content["model_state_dict"].items()}
                file.write(save(weights, {METADATA: json.dumps(values)}))
            else:
                torch.save(content, file)
    except RuntimeError as error:  # what PyTorch's own file writer raises on a full disk
        raise OSError(f"{path}: cannot be written, is the disk full? ({str(error).splitlines()[0]})") from None


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU.

    Only tensors and plain values are accepted (`weights_only=True`): a file that would run code when unpickled is
    refused. NumPy's scalars become Python's. A .safetensors file of other programs gives its tensors by their names, as
    their .pth files do. Raise ValueError that names the file if it is missing, truncated, refused or not a dict.

    With PyTorch before 2.10, whose `weights_only=True` is not safe, only .pth files that are known as ours are read.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint")
    if page := web_page(path):
        raise ValueError(f"{path}: {page}")
    if path.suffix == SAFETENSORS:
        return _load_safetensors(path)
    _require_known(path)
    try:
        content = _load_plain(path)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path}: refused, it holds pickled Python objects{_objects(path)} or is no checkpoint; expected tensors "
            "and plain values: where you trust it, save its weights alone, torch.save(network.state_dict(), file)"
        ) from None
    except Exception as error:  # torch.load raises RuntimeError, EOFError, KeyError, ... on damaged files
        raise ValueError(f"{path}: damaged or not a PyTorch checkpoint ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, expected a dict")
    _require_plain(content, path)
    return _without_numpy(content)


def _require_known(path: Path) -> None:
    """Raise ValueError for a .pth file of others where PyTorch does not protect from it.

    Ours are those in the folder of a run. A folder named in the environment variable NECA_TRUSTED, or several as in
    PATH, counts as ours, too.
    """
    if tuple(map(int, torch.__version__.split(".")[:2])) >= SAFE_SINCE:
        return
    place = path.resolve()
    trusted = [Path(folder).resolve() for folder in os.environ.get("NECA_TRUSTED", "").split(os.pathsep) if folder]
    in_run = any(
        place.relative_to(run).parts[0] == "models" and (run / "options.json").is_file() for run in place.parents[1:3]
    )
    if not in_run and not any(folder in place.parents for folder in trusted):
        raise ValueError(
            f"{path}: refused with PyTorch {torch.__version__}, whose memory a .pth file of others can corrupt "
            "(CVE-2026-24747); use PyTorch 2.10, or there let main_export.py make a .safetensors file of it; read are "
            "those in a run's folder, and those in folders that the variable NECA_TRUSTED names"
        )


def _load_plain(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        with _lock, torch.serialization.safe_globals(_SCALARS):  # the list of names is the process's
            return torch.load(path, map_location="cpu", weights_only=True)


def _objects(path: Path) -> str:
    """Name the first Python objects that a checkpoint would import, for a message; nothing where they are unknown."""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # of files in PyTorch's format before 1.6, and of damaged ones
        return ""
    shown = ", ".join(re.sub(r"[^\w.]", "?", name)[:60] for name in names[:3])
    return f" ({shown}{', ...' if len(names) > 3 else ''})" if names else ""


def _without_numpy(content: Any) -> Any:
    if isinstance(content, dict):
        for key, value in content.items():
            content[key] = _without_numpy(value)
    elif isinstance(content, list):
        content[:] = map(_without_numpy, content)
    return content.item() if isinstance(content, np.generic) else content


def _require_plain(content: Any, path: Path, name: str = "") -> None:
    """Raise ValueError for a tensor that may claim more values than the file holds: sparse, meta, one value as many."""
    if isinstance(content, dict | list | tuple):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            _require_plain(value, path, str(key))
    elif isinstance(content, torch.Tensor):
        odd = content.layout != torch.strided or content.is_meta or content.is_quantized
        if odd or content.numel() * content.element_size() > content.untyped_storage().nbytes():
            raise ValueError(f"{path}: {name} is a {content.layout} tensor, expected plain numbers, each of its own")


def _load_safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load  # of bytes: its own reader takes no path that is not UTF-8

    try:
        content = path.read_bytes()
        weights = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        values = json.loads(header.get("__metadata__", {}).get(METADATA, "null"))
    except Exception as error:  # safetensors raises its own SafetensorError, which is no ValueError
        raise ValueError(f"{path}: damaged or no safetensors file ({type(error).__name__})") from None
    return {**values, "model_state_dict": weights} if isinstance(values, dict) else weights


def numbered_files(folder: Path, prefix: str) -> list[Path]:
    """Return the files `<prefix><digits>.pth` of a folder, lowest number first."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.pth")
    found = [(int(match[1]), path) for path in folder.glob(f"{prefix}*") if (match := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def has_state(folder: Path) -> bool:
    """Return whether a run has a training state to resume from."""
    return bool(numbered_files(folder / "models", STATE_PREFIX))
