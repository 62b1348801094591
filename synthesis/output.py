"""The output folder of a synthesis: what it was begun with, what is done, and its manifest."""

import csv
import io
from pathlib import Path
from typing import Any

from data.folders import ImageJob, Target
from utils.files import claim_folder, claim_record, file_state, lock_folder, remove_leftovers, write_bytes
from utils.image import PHOTO_SUFFIXES

SETTINGS_FILE, MANIFEST = "synthesis.json", "manifest.csv"
OUTPUT_VERSION = 2  # raise it when the same settings begin to give other images
COLUMNS = (
    "input", "output", "clean", "draw", "camera", "gain", "noise_level", "gain_from", "seed", "weights_sha256",
    "input_bytes", "input_mtime_ns", "output_bytes", "state", "model", "strength",
)  # fmt: skip
OLDEST = COLUMNS.index("state")  # columns of the oldest version

Row = dict[str, str]


class SynthesisFolder:
    """An output folder: manifest.csv has a row for each output that is done, synthesis.json what they depend on.

    settings: plain values by name. Raises ValueError when the folder was begun with others, holds files that are not
    its own, cannot be written, or when another process writes to it; as a context manager it lets others in at the end.
    """

    def __init__(self, folder: str | Path, settings: dict[str, Any], jobs: list[ImageJob]):
        self.folder, self.jobs = Path(folder), jobs
        claim_folder(self.folder)
        self._lock = lock_folder(self.folder)
        record = {"version": OUTPUT_VERSION, **settings}
        files = [MANIFEST, *(file for job in jobs for target in job.targets for file in target.files)]
        # A kill can come between the first image and its row.
        begun = (self.folder / MANIFEST).exists() or self._has_images()
        claim_record(self.folder, SETTINGS_FILE, record, begun=begun, results=[self.folder / file for file in files])
        remove_leftovers(self.folder)
        self.rows = self._read_rows()  # by output
        self._check_inputs()
        if self.rows:
            self.write_manifest()  # without a last line that a kill has cut short

    def _has_images(self) -> bool:
        return any(path.suffix.lower() in PHOTO_SUFFIXES for path in self.folder.rglob("[!.]*"))

    def _read_rows(self) -> dict[str, Row]:
        """Read the manifest's whole lines, of outputs that are there."""
        path = self.folder / MANIFEST
        if not path.exists():
            return {}
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        lines = list(csv.reader(io.StringIO(text, newline="")))[1:]
        if not text.endswith("\n"):
            del lines[-1:]
        # Older ones lack the last columns. Without a state: of images without a partner, size and date do.
        lines = [line for line in lines if OLDEST <= len(line) <= len(COLUMNS)]
        rows = [dict(zip(COLUMNS, [*line, *[""] * (len(COLUMNS) - len(line))])) for line in lines]
        return {row["output"]: row for row in rows if (self.folder / row["output"]).is_file()}

    def _check_inputs(self) -> None:
        """Refuse outputs that would now belong to another input: a scene's number comes from the inputs' order."""
        owners = {target.noisy: job.name for job in self.jobs for target in job.targets}
        outputs = {(job.name, str(target.draw)): target.noisy for job in self.jobs for target in job.targets}
        for output, row in self.rows.items():
            owner = owners.get(output, row["input"])
            if owner != row["input"] or outputs.get((row["input"], row["draw"]), output) != output:
                raise ValueError(
                    f"{self.folder / output}: was made of {row['input']}, now it would be of another image: the input "
                    "images have changed"
                )

    def to_do(self) -> list[ImageJob]:
        """List what is missing, damaged, or made of other files than the input and its gain's image now are."""
        pending = [
            job._replace(targets=tuple(target for target in job.targets if not self._is_done(job, target)))
            for job in self.jobs
        ]
        return [job for job in pending if job.targets]

    def _is_done(self, job: ImageJob, target: Target) -> bool:
        row = self.rows.get(target.noisy)
        try:
            states = [(self.folder / name).stat() for name in target.files]
        except OSError:
            return False
        now = {**input_state(job), "output_bytes": str(states[-1].st_size)}
        if row and not row["state"] and job.partner is None:
            del now["state"]
        return row is not None and row | now == row and all(state.st_size for state in states)

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

    def __enter__(self) -> "SynthesisFolder":
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def input_state(job: ImageJob) -> Row:
    """Return what a row says of the files that its output is made of: the image, and its gain's where it has one."""
    state = file_state(job.source)
    size, changed = state.split()[:2] if state else ("", "")
    partner = f", {file_state(job.partner)}" if job.partner else ""
    return {"input_bytes": size, "input_mtime_ns": changed, "state": f"{state}{partner}"}


def _csv(rows: list[Row], header: bool) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    if header:
        table.writerow(COLUMNS)
    table.writerows([row[name] for name in COLUMNS] for row in rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
