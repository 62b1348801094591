"""The clone as a library: the package neca by pip and by torch.hub, and one file of it copied alone."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import types
import venv
from pathlib import Path

import pytest
import torch

import neca
import setup
from tests.conftest import ROOT

SOURCES = ["noise", "inference", "models", "metrics", "utils", "data", "pretrain"]
FILES = ["neca.py", "setup.py", "hubconf.py", "pyproject.toml", "LICENSE"]
THEIRS = ["models", "data", "utils", "options"]

# A program's own code; the tests run it here, too.
PART = """
import torch
from torch.utils.data import Dataset

CLEAN = torch.rand(3, 48, 56, generator=torch.Generator().manual_seed(0))


class Augmented(Dataset):
    def __init__(self, add):
        self.add = add

    def __len__(self):
        return 2

    def __getitem__(self, index):
        torch.manual_seed(index)  # an image's noise is the same in all workers
        return self.add(CLEAN)


def noises(load_noise, load_neca):
    return {
        "load_noise": load_noise("S6").synthesize(CLEAN, iso=800, seed=1, key="a"),
        "load_neca": load_neca("S6").synthesize(CLEAN, gain=0.05, seed=1, key="a"),
    }
"""
PROGRAM = """
import multiprocessing
import sys

import torch


def run():
    if sys.argv[1] == "ours":
        import neca
        import models, data, utils, options
    else:
        import models, data, utils, options
        import neca
    from part import Augmented, noises
    if __name__ != "__main__":  # in a worker that was spawned, as programs import at their top
        return
    torch.set_num_threads(1)
    found = noises(neca.load_noise, neca.load_neca)
    data_set = Augmented(neca.AddCameraNoise("S6", iso=(100, 3200)))
    for method in ("fork", "spawn"):
        loader = torch.utils.data.DataLoader(data_set, 2, num_workers=1, multiprocessing_context=method)
        [found[method]] = loader
    assert [package.NAME for package in (models, data, utils, options)] == ["theirs"] * 4
    assert not {"noise", "inference", "cv2", "PIL", "scipy", "filelock"} & set(sys.modules), "none of these is needed"
    torch.save(found, f"{sys.argv[1]}.pt")


if __name__ == "__main__":
    for first in ("theirs", "ours"):
        sys.argv[1:] = [first]
        process = multiprocessing.get_context("fork").Process(target=run)  # PyTorch is imported once
        process.start()
        process.join()
else:
    run()
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """What of the clone makes the package, elsewhere."""
    folder = tmp_path_factory.mktemp("copied")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def python(copied, tmp_path_factory) -> Path:
    """The interpreter of an environment that has the package, and sees what is installed in this one."""
    folder = tmp_path_factory.mktemp("environment")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, copied]
    subprocess.run(build, check=True)
    [wheel] = folder.glob("*.whl")
    assert wheel.stat().st_size < 8e6
    venv.create(folder / "env", symlinks=os.name == "posix")
    base, scheme = {"base": str(folder / "env")}, "nt" if os.name == "nt" else "posix_prefix"
    places = {name: sysconfig.get_path(name, scheme, base) for name in ("purelib", "scripts")}
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", places["purelib"], wheel], check=True)
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(places["purelib"], "others.pth").write_text("\n".join(others))
    return Path(places["scripts"], "python")


@pytest.fixture
def part() -> types.ModuleType:
    """The program's own code, here."""
    module = types.ModuleType("part")
    exec(PART, module.__dict__)
    return module


def test_every_package_that_the_library_imports_is_named_and_every_file_of_a_camera_is_read():
    named = set(re.findall(r'"([a-z-]+)>=', (ROOT / "pyproject.toml").read_text()))
    other_names = {"skimage": "scikit-image", "PIL": "pillow", "filelock": "torch"}  # PyTorch requires filelock
    other_names["cv2"] = "numpy"  # one of several packages, left to the user
    found = set()
    for path in setup._library():
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name.split(".")[0] for name in names}
    theirs = found - set(sys.stdlib_module_names) - {*setup.WHOLE, *setup.IN_PART}
    assert {other_names.get(name, name) for name in theirs} <= named and "skimage" in theirs
    files = {Path(name).name for name in setup.package_content()}
    assert {"noise.json", "gains.json"} <= files and "real_noise.json" not in files


def test_package_works_beside_packages_of_the_same_names_whichever_are_imported_first(python, part, tmp_path):
    for name in THEIRS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("NAME = 'theirs'")
    (tmp_path / "part.py").write_text(PART)
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, "program.py"], cwd=tmp_path, env=environment, check=True)
    expected = part.noises(neca.load_noise, neca.load_neca)
    data_set = part.Augmented(neca.AddCameraNoise("S6", iso=(100, 3200)))
    expected["fork"] = expected["spawn"] = torch.stack([data_set[0], data_set[1]])
    for first in ("theirs", "ours"):
        found = torch.load(tmp_path / f"{first}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for name, noisy in expected.items():
            assert torch.equal(found[name], noisy), (first, name)
            assert not torch.equal(noisy, part.CLEAN.expand_as(noisy)), name


def test_torch_hub_loads_models_beside_packages_of_the_same_names(copied, part, monkeypatch):
    expected = part.noises(neca.load_noise, neca.load_neca)
    for name in list(sys.modules):
        if name.split(".")[0] in ("neca", *SOURCES):
            monkeypatch.delitem(sys.modules, name)
    for name in THEIRS:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys, "path", [place for place in sys.path if Path(place).resolve() != ROOT])

    def load(entry):
        return lambda camera: torch.hub.load(str(copied), entry, camera, source="local")

    try:
        found = part.noises(load("noise"), load("neca"))
        assert Path(sys.modules["neca"].__file__).is_relative_to(copied / "build")
        assert not list((copied / "build").glob("*.tmp"))
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "neca"]:
            del sys.modules[name]
    for name, noisy in expected.items():
        assert torch.equal(found[name], noisy), name


def test_a_name_means_what_lies_there_before_a_camera_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert neca.load_noise("S6").files["pipeline"] == ROOT / "pretrain" / "S6" / "noise.json"
    assert neca.load_neca("S6").folder == ROOT / "pretrain" / "S6"
    shutil.copytree(ROOT / "pretrain" / "GP", "S6")
    assert neca.load_noise("S6").files["pipeline"] == Path("S6/noise.json")
    with pytest.raises(ValueError, match=re.escape(f"in {ROOT / 'pretrain'} ship DC, G4, GP, IP, N6, S6")):
        neca.load_noise("S7")


def test_floors_of_the_package_are_those_of_the_requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = {line.partition("#")[0].strip() for line in lines}
    project = (ROOT / "pyproject.toml").read_text().partition("[project]")[2].partition("[tool.")[0]
    floors = re.findall(r'"([\w-]+>=[\w.]+)"', project)
    assert "torch>=2.6" in floors
    assert set(floors) <= required


def test_pipeline_and_a_fit_work_alone(tmp_path, part):
    for source in (ROOT / "noise" / "pipeline.py", ROOT / "pretrain" / "S6" / "noise.json"):
        shutil.copy(source, tmp_path)
    for node in ast.walk(ast.parse((tmp_path / "pipeline.py").read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            assert {name.split(".")[0] for name in names} <= {"torch", *sys.stdlib_module_names}, names
    spec = importlib.util.spec_from_file_location("pipeline_alone", tmp_path / "pipeline.py")
    alone = sys.modules["pipeline_alone"] = importlib.util.module_from_spec(spec)  # its dataclasses look there
    try:
        spec.loader.exec_module(alone)
        pipeline = alone.Pipeline.load(tmp_path / "noise.json")
    finally:
        del sys.modules["pipeline_alone"]
    noise = pipeline.synthesize(part.CLEAN[None], pipeline.numbers(iso=800)) - part.CLEAN
    assert 0.01 < noise.std() < 0.1
