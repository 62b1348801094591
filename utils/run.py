"""A training run is its folder: options.json, logs/, imgs/, models/ with the checkpoints, tb/."""

import json
import logging
import math
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from utils.checkpoints import STATE_PREFIX, has_state, load_checkpoint, numbered_files, save_checkpoint
from utils.distributed import is_main
from utils.files import (
    claim_folder,
    claim_record,
    flush_file,
    lock_folder,
    remove_leftovers,
    write_json,
    write_text,
)
from utils.image import write_image

KEPT_STATES = 2  # the newest training state and the one before it, in case the disk damages a file

Files = dict[str, dict[str, Any]]  # contents of the networks' files, by their names below models/ without epoch, suffix


def terminal_log() -> logging.Logger:
    """Return a new logger to the terminal that does not tear progress bars; silent on ranks other than the main."""
    log = logging.Logger("neca")
    log.disabled = not is_main()
    handler = _TqdmHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    return log


class _TqdmHandler(logging.StreamHandler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # whose letters may not be all
            line = self.format(record).encode(encoding, "backslashreplace").decode(encoding)
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()
        except Exception:  # as logging's own handlers do
            self.handleError(record)


class _LogFile(logging.FileHandler):
    """A log file that ends the run if it cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, self.baseFilename) from None
        super().handleError(record)


@dataclass(frozen=True)
class Best:
    """A test's value by which the best networks of a run are kept in models/best/."""

    value: str
    highest: bool = False
    networks: str | tuple[str, ...] = ""  # ends of the names of the network files that are kept; "": all


class Run:
    """A run's folder `<dir_save>/<name>/` with logs/, imgs/, models/ and tb/.

    Only the main rank reads and writes it. On the others what the training loop calls on all ranks does nothing.

    Args:
        folder: where the run is, made if absent.
        options: plain values, all that the run is made with.
        fixed: those that a resumed run must not change, with the command's option for the message ("": none) and the
            value of runs that are older than the option.
        log: gets train.log as another place to write to.
        use_tb: write TensorBoard files too.

    Raises:
        ValueError: a fixed option has changed, the folder cannot be written, or another process trains in it.
    """

    def __init__(
        self,
        folder: str | Path,
        options: dict[str, Any],
        fixed: dict[str, tuple[str, Any]],
        log: logging.Logger,
        use_tb: bool,
    ):
        self.folder, self.log = Path(folder), log
        self.models, self._images = self.folder / "models", self.folder / "imgs"
        self._metrics_file = self.folder / "logs" / "metrics.jsonl"
        if not is_main():
            return
        for name in ("logs", "imgs", "models"):
            claim_folder(self.folder / name)
        self._lock = lock_folder(self.folder, "another process trains there; wait until it has ended")
        claim_record(
            self.folder,
            "options.json",
            options,
            same=fixed,
            flags={name: flag for name, (flag, _) in fixed.items()},
            defaults={name: default for name, (_, default) in fixed.items()},
            begun=has_state(self.folder),  # a run that was killed before its first checkpoint starts over
            results=numbered_files(self.models, STATE_PREFIX),
        )
        remove_leftovers(self.folder)
        self._tensorboard_folder = self.folder / "tb" if use_tb else None
        self._tensorboard: Any = None
        to_file = _LogFile(self.folder / "logs" / "train.log", encoding="utf-8", errors="backslashreplace")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(to_file)

    def begin(self, step: int) -> None:
        """Drop what a killed run has recorded beyond `step`, where this one continues."""
        if not is_main():
            return
        if not has_state(self.folder):
            shutil.rmtree(self.models / "best", ignore_errors=True)  # of a run whose states somebody has deleted
        kept = [json.dumps(row) + "\n" for row in self._rows() if row["step"] <= step]
        write_text(self._metrics_file, "".join(kept))
        if self._tensorboard_folder:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ValueError("tensorboard is not installed; pip install tensorboard") from None
            try:
                str(self.folder).encode()
            except UnicodeEncodeError:
                raise ValueError(f"{self.folder}: its name is not UTF-8, as TensorBoard's files need it") from None
            self._tensorboard = SummaryWriter(self._tensorboard_folder, purge_step=step + 1)

    def recorded(self, kind: str, step: int) -> bool:
        """Return whether a row of this kind was written at `step`."""
        return is_main() and any(row["kind"] == kind and row["step"] == step for row in self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl, without lines that a kill has cut short or that are not ours."""
        rows = []
        text = self._metrics_file.read_text(encoding="utf-8", errors="replace") if self._metrics_file.exists() else ""
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int) and "kind" in row:
                rows.append(row)
        return rows

    def metrics(self, kind: str, step: int, epoch: int, values: dict[str, float], line: str = "") -> None:
        """Record numbers: one line of metrics.jsonl, one line of the log, TensorBoard scalars.

        The log has all values, unless `line` says what it shows in their place.
        """
        if not is_main():
            return
        try:
            with open(self._metrics_file, "a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "step": step, "epoch": epoch, **values}) + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._metrics_file)) from None
        line = line or "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.log.info("%s  epoch %d  step %d  %s", kind, epoch, step, line)
        if self._tensorboard:
            for name, value in values.items():
                self._tensorboard.add_scalar(f"{kind}/{name}", value, step)

    def pictures(self, step: int, pictures: dict[str, np.ndarray]) -> None:
        """Record a test's pictures, (H, W, 3) uint8: imgs/test_<step>.png for "panel", with its name for another."""
        for name, picture in pictures.items():
            end = "" if name == "panel" else f"_{name}"
            write_image(self._images / f"test_{step:08d}{end}.png", picture)
            if self._tensorboard:
                self._tensorboard.add_image(name, picture, step, dataformats="HWC")

    def keep_best(self, best: Best, networks: Files, values: dict[str, float], step: int, epoch: int) -> None:
        """Write networks to models/best/ if a test's values are better than those of what lies there.

        Averaged weights, in ema/, have values with `_ema` behind the name, and the better of the two are taken.
        best.json says which, their values, step and epoch. It is written last, so an interrupted change is made good
        by the next test.
        """
        folder, record = self.models / "best", self.models / "best" / "best.json"
        networks = {file: content for file, content in networks.items() if file.endswith(best.networks)}
        averaged = any(file.startswith("ema/") for file in networks)
        sign = -1 if best.highest else 1
        suffix = min(("", "_ema") if averaged else ("",), key=lambda suffix: sign * values[best.value + suffix])
        try:
            before = float(json.loads(record.read_text())[best.value])
        except (OSError, ValueError, KeyError, TypeError):
            before = math.nan
        if sign * values[best.value + suffix] >= sign * before:  # nan, of a missing or damaged record, is no bar
            return
        for file, content in networks.items():
            if file.startswith("ema/") == bool(suffix):
                save_checkpoint(folder / f"{file.removeprefix('ema/')}.pth", content | {"step": step})
        chosen = {
            name.removesuffix(suffix): value for name, value in values.items() if name.endswith("_ema") == bool(suffix)
        }
        write_json(record, {"step": step, "epoch": epoch, "weights": "averaged" if suffix else "raw", **chosen})

    def save(self, networks: Files, state: dict[str, Any], step: int, epoch: int, keep: int) -> None:
        """Write the networks' files and then, in one file of its own, all that a resumed run needs.

        keep: how many files of each network are kept, the newest; 0 keeps all. Raise ValueError, before anything is
        written, for weights that are not finite.
        """
        for name, content in networks.items():
            for key, tensor in content["model_state_dict"].items():
                if not torch.isfinite(tensor).all():
                    raise ValueError(f"weights {key} of {name} are not finite at step {step}; nothing was saved")
        for name, content in networks.items():
            save_checkpoint(self.models / f"{name}_{epoch:08d}.pth", content | {"step": step})
        flush_file(self._metrics_file)  # a run that resumes from this state does not make its rows again
        save_checkpoint(self.models / f"{STATE_PREFIX}{step:010d}.pth", {"step": step, "model": state})
        self.remove_old(networks, keep)  # only now, so that a kill in between leaves a whole set of files

    def remove_old(self, networks: Iterable[str], keep: int) -> None:
        """Remove all but the newest files of these networks and the newest training states, as `save` does."""
        if not is_main():
            return
        for name in networks:
            _remove_all_but_newest((self.models / name).parent, f"{Path(name).name}_", keep)
        _remove_all_but_newest(self.models, STATE_PREFIX, KEPT_STATES)

    def newest_state(self) -> tuple[Path, dict[str, Any]] | None:
        """Read the newest complete training state, with its path; None if there is none yet, or on another rank.

        A state that cannot be read is named in the log and the one before it is taken. Raise ValueError if there are
        states and none can be read: starting over silently would overwrite the run.
        """
        files = numbered_files(self.models, STATE_PREFIX) if is_main() else []
        for path in reversed(files):
            try:
                state = load_checkpoint(path)
                if isinstance(state.get("step"), int) and isinstance(state.get("model"), dict):
                    return path, state
                raise ValueError(f"{path}: not a training state")
            except ValueError as error:
                self.log.warning("%s; trying the one before it", error)
        if files:
            raise ValueError(
                f"{self.models}: none of its {len(files)} training states can be read; delete the run to start over"
            )
        return None

    def close(self) -> None:
        """Flush and close the files."""
        if not is_main():
            return
        if self._tensorboard:
            self._tensorboard.close()
        for handler in self.log.handlers:
            handler.close()
        self._lock.release()


def _remove_all_but_newest(folder: Path, prefix: str, keep: int) -> None:
    if keep > 0:
        for path in numbered_files(folder, prefix)[:-keep]:
            path.unlink()
