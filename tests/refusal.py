"""What a user sees of a command that refuses to work."""

from collections.abc import Callable

import pytest

from utils.command import run_command


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
