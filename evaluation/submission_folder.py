"""A submission in the making: what it was begun with, what is done, and whether it is complete."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from synthesis.output import LEFTOVER, spelled
from utils.files import claim_folder, lock_folder, write_json

VERSION = 1  # raise it when the same settings begin to give other files


class Submission(NamedTuple):
    """Where a submission is made.

    record: JSON with the settings, and in the end the sizes of the products; folder: where denoised parts are kept,
    in files whose names match `parts`, so that the same command continues; products: what is to be uploaded;
    settings: plain values that all of it depends on, by the names of their options or by what they are; option: what
    users call the place.
    """

    record: Path
    folder: Path
    parts: re.Pattern
    products: tuple[Path, ...]
    settings: dict[str, Any]
    option: str

    def is_complete(self) -> bool:
        """Whether the products are there, made with these settings.

        Raises ValueError when they were made, or begun, with others, and when files are in the way that are not ours.
        """
        if not self.record.exists():
            self._require_nothing()
            return False
        try:
            before = json.loads(self.record.read_text(encoding="utf-8"))
            settings, written = before["settings"], before["written"]
            changed = [name for name in self.settings if settings.get(name) != self.settings[name]]
            if before["version"] != VERSION:
                raise ValueError(f"version {before['version']}, expected {VERSION}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{self.record}: damaged or no submission's record ({error}); {self._advice}") from None
        for name in changed:
            what = f"{name} {spelled(settings.get(name))}, not {spelled(self.settings[name])}"
            raise ValueError(f"{self.record}: was begun with {what}; {self._advice}")
        return bool(written) and written == self._sizes()

    def open(self) -> FileLock:
        """Begin or continue: -> the lock of `utils.files.lock_folder`, and its ValueError."""
        claim_folder(self.folder, self.option)
        lock = lock_folder(self.folder, f"another process writes to it; wait, or choose another {self.option}")
        for path in self.folder.rglob(".*.tmp*"):
            if LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)
        self._write_record({})
        return lock

    def complete(self) -> None:
        """Record that all products are there."""
        self._write_record(self._sizes())

    def remove_parts(self) -> None:
        """Delete the parts and the folder, but nothing in it that is not ours."""
        for path in self.folder.glob("*"):
            if self.parts.fullmatch(path.name) or path.name == ".lock" or LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something of the user's is in it, or it is not there
            self.folder.rmdir()

    def _write_record(self, written: dict[str, int]) -> None:
        write_json(self.record, {"version": VERSION, "settings": self.settings, "written": written})

    def _sizes(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in self.products if path.is_file()}

    def _require_nothing(self) -> None:
        parts = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        for path in (*self.products, *(path for path in parts if self.parts.fullmatch(path.name))):
            if path.exists():
                raise ValueError(
                    f"{path}: is there, but not from this command (there is no {self.record}); choose another "
                    f"{self.option} or remove it"
                )

    @property
    def _advice(self) -> str:
        ours = self.folder if self.folder in self.record.parents else f"{self.record} and {self.folder}"
        return f"choose another {self.option}, or remove {ours} to begin anew"
