"""What a training run writes down: options.json, train.log, metrics.jsonl, pictures, TensorBoard."""

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from utils.distributed import is_first
from utils.files import claim_folder, lock_folder, write_json, write_text
from utils.image import write_image


class LogFile(logging.FileHandler):
    """A log file that does not go on when it cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, self.baseFilename) from None
        super().handleError(record)


class TqdmHandler(logging.StreamHandler):
    """Logs to the terminal without tearing the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stdout is None:
            return
        try:
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except (OSError, ValueError):  # the terminal is gone, or cannot show a name: no reason to lose a run
            pass


def terminal_log() -> logging.Logger:
    """A logger of its own that writes to the terminal; of several processes that work together only the first does."""
    log = logging.Logger("neca")
    log.disabled = not is_first()
    handler = TqdmHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    return log


class RunLog:
    """A run's folder `<dir_save>/<camera>/` with logs/, imgs/, models/ and tb/.

    `options` are plain values, all that the run is made with. `fixed` maps those that a resumed run must not change
    to what users call them and to the default, which a run has that is older than the option. Raises ValueError when
    one has changed, when the folder cannot be written, or another process trains in it.
    """

    def __init__(
        self,
        folder: str | Path,
        options: dict[str, Any],
        fixed: dict[str, tuple[str, Any]],
        log: logging.Logger,
        use_tb: bool = False,
    ):
        self.folder = Path(folder)
        self.models = self.folder / "models"
        self.best = self.models / "best"
        self.images = self.folder / "imgs"
        self.log = log
        self._options_file = self.folder / "options.json"
        self._metrics_file = self.folder / "logs" / "metrics.jsonl"
        for name in ("logs", "imgs", "models"):
            claim_folder(self.folder / name, "--dir_save")
        self._lock = lock_folder(self.folder, "another process trains there; wait, or choose another --dir_save")
        self._check_options(options, fixed)
        self._remove_leftovers()
        write_json(self._options_file, options)
        self._tensorboard_folder = self.folder / "tb" if use_tb else None
        self._tensorboard = None
        to_file = LogFile(self.folder / "logs" / "train.log", encoding="utf-8")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(to_file)

    def _check_options(self, options: dict[str, Any], fixed: dict[str, tuple[str, Any]]) -> None:
        if not has_state(self.folder):
            return  # a run that was killed before its first checkpoint starts over
        try:
            before = json.loads(self._options_file.read_text())
            wrong = not isinstance(before, dict)
        except (OSError, ValueError):
            wrong = True
        if wrong:
            raise ValueError(
                f"{self._options_file}: missing or damaged, so that nobody knows what this run was begun with; "
                f"restore it, or choose another --dir_save"
            )
        now = json.loads(json.dumps(options))
        for name, (flag, default) in fixed.items():
            if before.get(name, default) != now[name]:
                raise ValueError(
                    f"{self.folder}: this run was begun with {name} {before.get(name, default)}, now it is "
                    f"{now[name]}; resume with the same {flag}, or choose another --dir_save"
                )

    def _remove_leftovers(self) -> None:
        """Delete temporary files that a killed process has left (see `utils.files`)."""
        for path in self.folder.rglob(".*.tmp*"):
            path.unlink(missing_ok=True)

    def begin(self, step: int) -> None:
        """Drop what a killed run has recorded beyond `step`, where this one continues."""
        if step == 0:
            shutil.rmtree(self.best, ignore_errors=True)  # of a run whose states somebody has deleted
        if self._metrics_file.exists():
            kept = [json.dumps(row) + "\n" for row in self._rows() if row["step"] <= step]
            write_text(self._metrics_file, "".join(kept))
        if self._tensorboard_folder:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ValueError("--use_tb: tensorboard is not installed; pip install tensorboard") from None
            self._tensorboard = SummaryWriter(self._tensorboard_folder, purge_step=step + 1)

    def recorded(self, kind: str, step: int) -> bool:
        """Whether a row of this kind was written at `step`."""
        return any(row["kind"] == kind and row["step"] == step for row in self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl, without lines that a kill has cut short or that are not ours."""
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

    def metrics(self, kind: str, step: int, epoch: int, values: dict[str, float]) -> None:
        """Record numbers: a line of metrics.jsonl, a line of the log, TensorBoard scalars."""
        try:
            with open(self._metrics_file, "a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "step": step, "epoch": epoch, **values}) + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._metrics_file)) from None
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.log.info("%s  epoch %d  step %d  %s", kind, epoch, step, numbers)
        if self._tensorboard:
            for name, value in values.items():
                self._tensorboard.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, name: str, tag: str, step: int, image: np.ndarray) -> None:
        """Record a picture, (H, W, 3) uint8: imgs/<name>.png, and TensorBoard under `tag`."""
        write_image(self.images / f"{name}.png", image)
        if self._tensorboard:
            self._tensorboard.add_image(tag, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the files."""
        if self._tensorboard:
            self._tensorboard.close()
        for handler in self.log.handlers:
            handler.close()
        if self._lock:
            self._lock.release()


class Onlooker:
    """A run's folder for all processes but the first, which write nothing."""

    def __init__(self, folder: str | Path, log: logging.Logger):
        self.folder = Path(folder)
        self.models = self.folder / "models"
        self.log = log

    def begin(self, step: int) -> None: ...

    def recorded(self, kind: str, step: int) -> bool:
        return False

    def metrics(self, kind: str, step: int, epoch: int, values: dict[str, float]) -> None: ...

    def close(self) -> None: ...


def open_run(
    folder: str | Path, options: dict[str, Any], fixed: dict[str, tuple[str, Any]], log: logging.Logger, use_tb: bool
) -> RunLog | Onlooker:
    """Open a run's folder as `RunLog` does; of several processes only the first writes to it."""
    return RunLog(folder, options, fixed, log, use_tb) if is_first() else Onlooker(folder, log)


def has_state(folder: Path) -> bool:
    """Whether a run has a checkpoint to resume from."""
    return any((folder / "models").glob("training_state_*.pth"))
