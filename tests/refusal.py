"""What a user sees of a command that refuses to work."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from utils.command import run_command


class Payload:
    """What a hostile checkpoint would carry: it makes a folder when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def one_line(*words: str) -> str:
    """A pattern for a message of one line that has all these words in this order."""
    return "^" + "".join(rf"[^\n]*{re.escape(word)}" for word in words) + r"[^\n]*\Z"


def refused(capsys, main: Callable[[list[str]], int | None], words: list[str]) -> str:
    """Run a command as from the shell -> its only line of error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: main(words))
    assert stop.value.code not in (0, None)
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1, message
    return message
