"""The frame of every command."""

import pytest

from utils.command import blame


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
