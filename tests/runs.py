"""What a training run has written, and whether two runs are the same."""

import json
from pathlib import Path

import torch

from utils.checkpoints import load_checkpoint, numbered_files


def newest_state(run: Path) -> dict:
    """The newest training state of a run."""
    return load_checkpoint(numbered_files(run / "models", "training_state_")[-1])


def logged(run: Path, kind: str) -> list[dict]:
    """The rows of a kind in a run's metrics.jsonl."""
    text = (run / "logs" / "metrics.jsonl").read_text()
    return [row for row in map(json.loads, text.splitlines()) if row["kind"] == kind]


def flat(value, path: str = "") -> dict:
    """All values of nested dicts and lists, by path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for name, each in items for key, leaf in flat(each, f"{path}/{name}").items()}
    return {path: torch.as_tensor(value) if not isinstance(value, str | None) else value}


def assert_same(first: dict, second: dict) -> None:
    """Compare states, or weights, bit by bit."""
    first, second = flat(first), flat(second)
    assert first.keys() == second.keys()
    different = [
        key
        for key, value in first.items()
        if not (torch.equal(value, second[key]) if isinstance(value, torch.Tensor) else value == second[key])
    ]
    assert not different, f"not bit-identical: {different[:5]}"
