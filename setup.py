"""Make the package `neca` of the clone: what puts noise on images, and the cameras that ship, under one name.

In the clone our packages stand beside the commands as noise, models, utils, ...; other projects have some of these
names, too. In the package they are neca.noise, neca.models, ... So each file is copied, and its imports of our packages
get `neca.` before them. Nothing else changes: imports by computed names begin with the module's own `__name__`.
"""

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
WHOLE = ("noise", "inference", "models", "metrics")
IN_PART = ("utils", "data")  # what the others import of these
OURS = "|".join(WHOLE + IN_PART)
SHIPPED = {".json", ".md", ".pth", ".safetensors"}  # of pretrain/
OF_THE_PAGE = "real_noise.json"  # beside fits, and read by nothing in the package


def package_content() -> dict[str, bytes]:
    """Return the files of the package, {path: content}."""
    files = {f"neca/{path.relative_to(ROOT)}": _renamed(path).encode() for path in _library()}
    files |= {"neca/__init__.py": _renamed(ROOT / "neca.py").encode(), "neca/py.typed": b""}
    shipped = [ROOT / "pretrain", *(fit.parent for fit in sorted((ROOT / "pretrain").glob("*/noise.*")))]
    for path in (path for folder in shipped for path in sorted(folder.iterdir())):
        if path.is_file() and path.suffix in SHIPPED and path.name != OF_THE_PAGE:
            files[f"neca/{path.relative_to(ROOT)}"] = path.read_bytes()
    return {name.replace("\\", "/"): content for name, content in files.items()}


def write_files(files: dict[str, bytes], folder: Path) -> None:
    """Write the files of a package below a folder, in place of an older one."""
    shutil.rmtree(folder / "neca", ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _library() -> list[Path]:
    """List the files of the packages that are taken whole, and all files that those import, directly or not."""
    waiting = [path for package in WHOLE for path in (ROOT / package).rglob("*.py")]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [file for module in _imports(path) for file in _files_of(module)]
    return sorted(found)


def _imports(path: Path) -> Iterator[str]:
    """Yield what a file imports of our packages: modules, and perhaps names in them."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if re.match(rf"({OURS})\b", alias.name):
                    raise ValueError(f"{path}: import {alias.name}, expected `from {alias.name} import ...`")
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and re.match(rf"({OURS})\b", node.module or ""):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files_of(module: str) -> list[Path]:
    """Return the files that an import runs: those of the packages around it, and its own."""
    parts = module.split(".")
    places = [ROOT.joinpath(*parts[:length]) for length in range(1, len(parts) + 1)]
    files = [file for place in places for file in (place / "__init__.py", place.with_suffix(".py"))]
    return [file for file in files if file.is_file()]


def _renamed(path: Path) -> str:
    """Read a file, with `neca.` before our packages where it imports from them."""
    text = path.read_text(encoding="utf-8")
    return re.sub(rf"^(\s*from )((?:{OURS})(?:\.\w+)* import\b)", r"\1neca.\2", text, flags=re.MULTILINE)


if __name__ == "__main__":
    from setuptools import setup
    from setuptools.command.build_py import build_py

    class BuildPackage(build_py):
        """Write the package where setuptools expects a build."""

        def run(self) -> None:
            """Write all files; an editable install has no file to point to, and is refused."""
            if self.editable_mode:
                raise SystemExit("neca is made of renamed files: install it without -e, or put the clone on PYTHONPATH")
            write_files(package_content(), Path(self.build_lib))

    setup(cmdclass={"build_py": BuildPackage})
