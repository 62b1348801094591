"""The house has floors: who may import whom, read from the syntax trees."""

import ast
import re
import subprocess

import pytest

from tests.conftest import ROOT

FLOORS = {
    "utils": set(),
    "metrics": set(),
    "options": {"synthesis", "noise", "inference", "models", "data", "utils"},
    "models": set(),
    "inference": {"models", "utils", "metrics"},
    "data": {"utils", "metrics"},
    "noise": {"inference", "models", "data", "utils", "metrics"},
    "synthesis": {"noise", "inference", "models", "data", "utils", "metrics"},
    "evaluation": {"synthesis", "noise", "inference", "models", "data", "utils", "metrics"},
}
OURS = {*FLOORS, "tests", "benchmark", "runs"}


def imported(path) -> set[str]:
    """Our packages that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names & OURS


@pytest.mark.parametrize("package", FLOORS)
def test_package_imports_only_what_its_floor_allows(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        allowed = FLOORS[package] | {package}
        assert imported(path) <= allowed, f"{path.relative_to(ROOT)} imports {imported(path) - allowed}"


def test_commands_import_no_tests_benchmarks_or_runs():
    for path in [*ROOT.glob("*.py")]:
        assert imported(path) <= set(FLOORS), path.name


def test_runs_are_shell_scripts_that_parse_and_name_the_table_that_they_make():
    scripts = sorted((ROOT / "runs").iterdir())
    assert scripts
    for path in scripts:
        assert subprocess.run(["bash", "-n", path]).returncode == 0, path.name
        heading, page = re.match(r'#!/bin/bash\n# "(.+)" of (\S+\.md)', path.read_text()).groups()
        assert f"# {heading}\n" in (ROOT / page).read_text(), path.name


def test_commands_define_no_classes_and_stay_short():
    commands = [*ROOT.glob("main_*.py"), ROOT / "Crop_SIDD.py"]
    assert len(commands) >= 3
    for path in commands:
        text = path.read_text()
        assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)], path.name
        limit = {"main_eval.py": 190, "main_export.py": 135}.get(path.name, 120)  # three and five commands in one
        assert len(text.splitlines()) <= limit, path.name


FRAME = "utils/command.py"  # the frame of the commands, which gives advice of its own


def knows_options(path) -> bool:
    """Tell if a file mentions argparse, or a `--flag` in a string."""
    tree = ast.parse(path.read_text())
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return "argparse" in names or any(re.search(r"(?<![\w-])--[a-zA-Z]", text) for text in strings)


def test_options_stop_at_the_commands():
    packages = sorted(set(FLOORS) - {"options"})
    files = {str(path.relative_to(ROOT)) for name in packages for path in (ROOT / name).rglob("*.py")}
    assert [name for name in sorted(files - {FRAME}) if knows_options(ROOT / name)] == []
