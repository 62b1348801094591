"""A few out of many."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def evenly_spaced(items: Sequence[Item], most: int) -> Sequence[Item]:
    """Keep at most so many items, evenly spaced from the first to the last; 0: all."""
    if not 0 < most < len(items):
        return items
    return [items[position] for position in np.linspace(0, len(items) - 1, most).round().astype(int)]
