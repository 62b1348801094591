"""Mutation: the files that guard data are changed in one place each, and the tests must notice (by cosmic-ray)."""

import importlib.machinery
import os
import random
import sys
import types
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cosmic_ray.ast
import cosmic_ray.plugins
import cv2  # noqa: F401 - what the tests import, once for all mutants
import h5py  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import pandas  # noqa: F401
import pytest
import scipy.io  # noqa: F401
import skimage.metrics  # noqa: F401
import torch  # noqa: F401
from cosmic_ray.mutating import mutate_code

from tests.trust import Result
from tests.trust.processes import Process

# By file, the tests that must notice; without those whose commands run in other processes, which see no mutant.
TESTS = {
    "utils/files.py": "files submit splits cache",
    "utils/checkpoints.py": "files pretrained export submit",
    "utils/run.py": "train_command",
    "data/cache.py": "cache",
    "data/splits.py": "splits",
    "data/pairs.py": "pairs phase dataset sidd cache",
}
OTHER_PROCESSES = "kill and not between or process or signal or speed or shipped or properties"
SECONDS = 300  # after which the tests of a mutant count as failed
SAMPLE = 0.2  # of the mutants make the whole campaign; all would take a day
NOT_SURVIVING = 0.6  # score below which the campaign fails
Mutant = tuple[str, str, int]  # file, operator, occurrence


def mutants_of(path: str) -> list[Mutant]:
    """List the mutants of a file."""
    tree, found = cosmic_ray.ast.get_ast_from_path(Path(path)), list[Mutant]()
    for name in cosmic_ray.plugins.operator_names():
        if "BitOr" in name or name.startswith("core/Variable"):  # of annotations; of names that nobody has chosen
            continue
        operator = cosmic_ray.plugins.get_operator(name)()
        count = sum(len(list(operator.mutation_positions(node))) for node in cosmic_ray.ast.ast_nodes(tree))
        found += [(path, name, occurrence) for occurrence in range(count)]
    return found


def tests_pass(mutant: Mutant, code: str, folder: Path) -> int:
    """Run the tests with a mutant in place of its file -> their exit code. For a process of its own."""
    original = importlib.machinery.SourceFileLoader.get_code
    mutated = os.path.abspath(mutant[0])

    def get_code(self: importlib.machinery.SourceFileLoader, name: str) -> types.CodeType | None:
        return compile(code, mutated, "exec") if self.path == mutated else original(self, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore
    ours = {path.stem for path in Path.cwd().iterdir()} - {"benchmark"}  # packages and commands, which see the mutant
    for name in list(sys.modules):
        if name.split(".")[0] in ours:
            del sys.modules[name]
    words = [f"tests/test_{name}.py" for name in TESTS[mutant[0]].split()]
    words += ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", f"not ({OTHER_PROCESSES})"]
    return int(pytest.main([*words, f"--basetemp={folder / 'pytest'}"]))


def is_noticed(mutant: Mutant, code: str, folder: Path) -> bool:
    """Tell if the tests fail with a mutant, or do not end."""
    command: Callable[[], int] = partial(tests_pass, mutant, code, folder)
    return Process(command, Path.cwd()).wait(SECONDS).code != 0


def campaign(folder: Path, share: float, seed: int) -> Result:
    """Try `share` times SAMPLE of the mutants of each file; survivors are listed, a low score fails."""
    counts, survivors, failures = Counter[str](), list[str](), list[str]()
    for path in TESTS:
        code, mutants = Path(path).read_text(), mutants_of(path)
        if is_noticed((path, "none", 0), code, folder):
            failures.append(f"{path}: its tests fail without a mutant")
            continue
        for mutant in random.Random(seed).sample(mutants, max(1, round(len(mutants) * SAMPLE * share))):
            changed = mutate_code(code, cosmic_ray.plugins.get_operator(mutant[1])(), mutant[2])
            noticed = is_noticed(mutant, changed, folder)
            counts["tried"] += 1
            counts["noticed"] += noticed
            if not noticed:
                survivors.append(f"{path} {mutant[1].removeprefix('core/')}: {_first_difference(code, changed)}")
    for survivor in survivors:
        print(f"survivor: {survivor}", flush=True)
    score = counts["noticed"] / max(1, counts["tried"])
    if score < NOT_SURVIVING:
        failures.append(f"score {score:.2f}, expected at least {NOT_SURVIVING}")
    done = f"{counts['tried']} mutants of {len(TESTS)} files, {counts['noticed']} noticed ({score:.0%})"
    return Result(f"{done}, {len(survivors)} survivors", failures)


def _first_difference(one: str, other: str) -> str:
    pairs = zip(one.splitlines(), other.splitlines())
    return next((f"{number}: {b.strip()}" for number, (a, b) in enumerate(pairs, 1) if a != b), "at its end")
