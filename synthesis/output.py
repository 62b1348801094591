"""The output folder of a synthesis: what it was begun with, what is done, and its manifest."""

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

from data.folders import ImageJob, Target
from utils.files import claim_folder, lock_folder, write_bytes, write_json
from utils.image import PHOTO_SUFFIXES

RECORD, MANIFEST = "synthesis.json", "manifest.csv"
VERSION = 2  # raise it when the same settings begin to give other images
COLUMNS = (
    "input", "output", "clean", "draw", "camera", "gain", "noise_level", "gain_from", "seed", "weights_sha256",
    "input_bytes", "input_mtime_ns", "output_bytes",
)  # fmt: skip
LEFTOVER = re.compile(r"\..*\.\d+\.tmp(\.\w+)?")  # see utils.files

Row = dict[str, str]


class SynthesisFolder:
    """An output folder: manifest.csv has a row for each output that is done, synthesis.json what they depend on.

    settings: plain values by the names of their options; other keys, `weights` and such, by what they are. Raises
    ValueError when the folder was begun with others, holds files that are not its own, cannot be written, or when
    another process writes to it.
    """

    def __init__(self, folder: str | Path, settings: dict[str, Any], jobs: list[ImageJob]):
        self.folder, self.jobs = Path(folder), jobs
        self.rows: dict[str, Row] = {}  # by output
        claim_folder(self.folder, "--output_dir")
        self._lock = lock_folder(self.folder, "another process writes to it; wait, or choose another --output_dir")
        if not (self.folder / RECORD).exists():
            self._require_empty()
        elif (self.folder / MANIFEST).exists() or self._has_images():  # else it ended before its first output
            self._require_same(settings)
        write_json(self.folder / RECORD, {"version": VERSION, **settings})
        for path in self.folder.rglob(".*.tmp*"):
            if LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)
        self.rows = self._read_rows()
        self._check_inputs()
        if self.rows:
            self.write_manifest()  # without a last line that a kill has cut short

    def _require_same(self, settings: dict[str, Any]) -> None:
        record = self.folder / RECORD
        now = {"version": VERSION, **json.loads(json.dumps(settings))}
        try:
            before = json.loads(record.read_text(encoding="utf-8"))
            changed = [name for name in now if before.get(name) != now[name]]
        except (OSError, ValueError, AttributeError) as error:
            raise ValueError(f"{record}: damaged ({error}); choose another --output_dir or remove it") from None
        for name in changed:
            what = f"{name} {spelled(before.get(name))}, not {spelled(now[name])}"
            raise ValueError(f"{self.folder}: was begun with {what}; choose another --output_dir or remove it")

    def _has_images(self) -> bool:
        """Whether there are images, even if a kill came between the first of them and its row."""
        return any(path.suffix.lower() in PHOTO_SUFFIXES for path in self.folder.rglob("[!.]*"))

    def _require_empty(self) -> None:
        for name in (MANIFEST, *(file for job in self.jobs for target in job.targets for file in target.files)):
            if os.path.exists(self.folder / name):  # False for names that are too long: those fail by themselves
                raise ValueError(
                    f"{self.folder / name}: is there, but not from this command ({self.folder} has no {RECORD}); "
                    "choose another --output_dir"
                )

    def _read_rows(self) -> dict[str, Row]:
        path = self.folder / MANIFEST
        if not path.exists():
            return {}
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        lines = list(csv.reader(io.StringIO(text, newline="")))
        complete = [dict(zip(COLUMNS, line)) for line in lines[1:] if len(line) == len(COLUMNS)]
        if not text.endswith("\n"):
            complete = complete[:-1] if lines and len(lines[-1]) == len(COLUMNS) else complete
        return {row["output"]: row for row in complete if (self.folder / row["output"]).is_file()}

    def _check_inputs(self) -> None:
        """An output must not now belong to another input: in scene names the number comes from the inputs' order."""
        owners = {target.noisy: job.name for job in self.jobs for target in job.targets}
        outputs = {(job.name, str(target.draw)): target.noisy for job in self.jobs for target in job.targets}
        for output, row in self.rows.items():
            owner = owners.get(output, row["input"])
            if owner != row["input"] or outputs.get((row["input"], row["draw"]), output) != output:
                raise ValueError(
                    f"{self.folder / output}: was made of {row['input']}, now it would be of another image: those of "
                    "--input_dir have changed; choose another --output_dir or remove it"
                )

    def to_do(self) -> list[ImageJob]:
        """What is missing, damaged, made of another file than the input now is, or older than its gain's image."""
        pending = [
            job._replace(targets=tuple(target for target in job.targets if not self._is_done(job, target)))
            for job in self.jobs
        ]
        return [job for job in pending if job.targets]

    def _is_done(self, job: ImageJob, target: Target) -> bool:
        row = self.rows.get(target.noisy)
        try:
            if row is None or row | file_state(job.source) | self._output_state(target) != row:
                return False
            made = min((self.folder / name).stat().st_mtime_ns for name in target.files)
            return all((self.folder / name).stat().st_size for name in target.files) and (
                job.partner is None or job.partner.stat().st_mtime_ns <= made
            )
        except OSError:
            return False

    def _output_state(self, target: Target) -> Row:
        return {"output_bytes": str((self.folder / target.noisy).stat().st_size)}

    def add(self, row: dict[str, Any]) -> None:
        """Record an output that is whole on the disk; its size is added."""
        row |= {"output_bytes": (self.folder / row["output"]).stat().st_size}
        row = {name: str(row[name]) for name in COLUMNS}
        is_new = not (self.folder / MANIFEST).exists()
        self.rows[row["output"]] = row
        lines = _csv([row], header=is_new)
        try:
            with open(self.folder / MANIFEST, "ab") as file:
                file.write(lines)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder / MANIFEST)) from None

    def write_manifest(self) -> None:
        """Write the manifest in the order of the inputs; outputs whose input is gone come last."""
        order = [target.noisy for job in self.jobs for target in job.targets]
        known = [self.rows[output] for output in order if output in self.rows]
        gone = [self.rows[output] for output in sorted(self.rows.keys() - set(order))]
        write_bytes(self.folder / MANIFEST, _csv(known + gone, header=True))

    def close(self) -> None:
        if self._lock:
            self._lock.release()


def file_state(path: Path) -> Row:
    """By what an input is known again; empty values: it cannot be looked at, as reading it will tell."""
    try:
        state = path.stat()
    except OSError:
        return {"input_bytes": "", "input_mtime_ns": ""}
    return {"input_bytes": str(state.st_size), "input_mtime_ns": str(state.st_mtime_ns)}


def spelled(value: Any) -> str:
    """Spell a setting as on the command line."""
    if isinstance(value, list):
        return ":".join(f"{number:g}" for number in dict.fromkeys(value))
    return "none" if value is None or value == "" else str(value)


def _csv(rows: list[Row], header: bool) -> bytes:
    text = io.StringIO(newline="")
    for row in [dict(zip(COLUMNS, COLUMNS))] * header + rows:
        # Python quotes a line feed in a name, but not a carriage return.
        quoting = csv.QUOTE_ALL if any("\r" in value for value in row.values()) else csv.QUOTE_MINIMAL
        csv.writer(text, lineterminator="\n", quoting=quoting).writerow([row[name] for name in COLUMNS])
    return text.getvalue().encode("utf-8", "surrogateescape")
