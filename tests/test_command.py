"""The frame of every command."""

import io
import sys

import pytest

from utils.command import blame, run_command
from utils.run import terminal_log


def test_blame_names_the_way_out_of_an_error():
    with pytest.raises(ValueError, match=r"^size 3x3: expected even sides; change --size$"), blame("--size"):
        raise ValueError("size 3x3: expected even sides")


def test_the_innermost_blame_wins():
    with pytest.raises(ValueError, match=r"^x; change --a, or use --b$"), blame("--outer"), blame("--a, or use --b"):
        raise ValueError("x")


def test_blame_leaves_other_errors_and_success_alone():
    with blame("--size"):
        pass
    with pytest.raises(OSError, match=r"^x$"), blame("--size"):
        raise OSError("x")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_console_that_lacks_a_letter_ends_no_command(monkeypatch, encoding):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)

    def main():
        print("山 \udcff")
        terminal_log().info("山 \udcff, logged")
        print("山 \udcff", file=sys.stderr)

    with pytest.raises(SystemExit) as stop:
        run_command(main)
    monkeypatch.undo()
    assert not stop.value.code
    mountain = "山".encode(encoding, "backslashreplace")
    out, err = (stream.detach().getvalue() for stream in streams.values() if not stream.flush())
    assert out == mountain + b" \\udcff\n" + mountain + b" \\udcff, logged\n"
    assert err == mountain + b" \\udcff\n"


def test_an_error_is_one_line_of_printable_letters_whatever_a_file_holds(capsys):
    def fail():
        raise ValueError("name \x1b[31m of a variable")

    with pytest.raises(SystemExit):
        run_command(fail)
    assert capsys.readouterr().err == "error: name \ufffd[31m of a variable\n"
