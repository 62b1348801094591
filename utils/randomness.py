"""Choices that are made by rule or follow from a seed."""

import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def evenly_spaced(items: Sequence[Item], most: int) -> list[Item]:
    """Keep at most `most` items, evenly spaced from the first to the last; 0 keeps all."""
    if not 0 < most < len(items):
        return list(items)
    return [items[position] for position in np.linspace(0, len(items) - 1, most).round().astype(int)]


def seed_from(*what: object) -> int:
    """Return a 63-bit seed that follows from the words and numbers of `what`, on every machine the same."""
    return random.Random(" ".join(map(str, what))).getrandbits(63)
