"""The frame of every command."""

import pytest

from utils.command import blame, run_command


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


def test_an_error_is_one_line_of_printable_letters_whatever_a_file_holds(capsys):
    def fail():
        raise ValueError("name \x1b[31m of a variable")

    with pytest.raises(SystemExit):
        run_command(fail)
    assert capsys.readouterr().err == "error: name \ufffd[31m of a variable\n"
