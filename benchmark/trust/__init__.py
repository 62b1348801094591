"""Campaigns that try to break the promise: nothing is lost, nothing wrong is trained on, nothing hostile runs."""

from typing import NamedTuple


class Result(NamedTuple):
    """What a campaign has done, how often, and every way in which the promise was broken."""

    name: str
    done: str
    failures: list[str]
