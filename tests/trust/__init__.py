"""Campaigns that try to break the promise: nothing is lost, nothing wrong is trained on, nothing hostile runs."""

import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

Thing = TypeVar("Thing")


class Result(NamedTuple):
    """Outcome of a campaign: the work, with counts, and every way in which the promise was broken."""

    done: str
    failures: list[str]


def some(things: Sequence[Thing], share: float, seed: int) -> list[Thing]:
    """Choose what a campaign is made with: everything from a tenth of it on, for less as much less of them."""
    count = min(len(things), max(2, round(len(things) * 10 * share)))
    return sorted(random.Random(seed).sample(list(things), count), key=list(things).index)
