"""The best checkpoint of a run, beside the newest."""

import json
import math
from pathlib import Path
from typing import Any

from utils.checkpoints import save_checkpoint
from utils.files import write_json

BEST_RECORD = "best.json"


def keep_if_best(
    folder: Path,
    networks: dict[str, dict[str, Any]],
    values: dict[str, float],
    name: str,
    when: dict[str, int],
    highest: bool = False,
) -> bool:
    """Write networks' checkpoints to `folder` if values[name] is below that of what lies there: -> whether.

    highest: if it is above. networks: as `Trainable.network_files` gives them; averaged weights, in ema/, have values
    with `_ema` behind the name, and the better of the two are taken. best.json says which, their values and `when`
    (step and epoch). It is written last, so an interrupted change is made good by the next test.
    """
    averaged = any(file.startswith("ema/") for file in networks)
    sign = -1 if highest else 1
    suffix = min(("", "_ema") if averaged else ("",), key=lambda suffix: sign * values[name + suffix])
    try:
        best = float(json.loads((folder / BEST_RECORD).read_text())[name])
    except (OSError, ValueError, KeyError, TypeError):
        best = math.nan
    if sign * values[name + suffix] >= sign * best:  # nan, of a missing or damaged record, is no bar
        return False
    for file, content in networks.items():
        if file.startswith("ema/") == bool(suffix):
            save_checkpoint(folder / f"{file.removeprefix('ema/')}.pth", content | {"step": when["step"]})
    chosen = {key.removesuffix(suffix): value for key, value in values.items() if key.endswith("_ema") == bool(suffix)}
    write_json(folder / BEST_RECORD, {**when, "weights": "averaged" if suffix else "raw", **chosen})
    return True
