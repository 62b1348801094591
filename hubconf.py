"""For torch.hub: a camera's noise without an install. Needs nothing but PyTorch and what comes with it.

model = torch.hub.load("<owner>/sRGB-Noise-Synthesis", "noise", "S6")
noisy = model.synthesize(clean, iso=800, seed=1, key="name")
"""

import hashlib
import importlib
import os
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

dependencies = ["torch", "numpy", "safetensors"]


def noise(camera: str = "S6", device: str = "cpu") -> Any:
    """Load a camera's noise model, as neca.load_noise: DC, G4, GP, IP, N6, S6, or a folder."""
    return _package().load_noise(camera, device=device)


def neca(camera: str = "S6", device: str = "cpu", **options: Any) -> Any:
    """Load a camera's NeCA generator, as neca.load_neca: DC, G4, GP, IP, N6, S6, or a folder."""
    return _package().load_neca(camera, device=device, **options)


def _package() -> Any:
    """Import the package neca, made in this clone's build/: the clone's own packages may hide a project's `models`.

    Its folder stays on sys.path, where processes of a DataLoader find it, too. One that is imported already is taken.
    """
    if "neca" not in sys.modules:
        root = Path(__file__).resolve().parent
        build = runpy.run_path(str(root / "setup.py"), run_name="build")
        files = build["package_content"]()
        digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        folder, temporary = root / "build" / f"hub-{digest[:16]}", root / "build" / f"hub-{os.getpid()}.tmp"
        if not folder.is_dir():
            build["write_files"](files, temporary)
            try:
                temporary.rename(folder)
            except OSError:  # another process was first
                if not folder.is_dir():
                    raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        sys.path.insert(0, str(folder))
    return importlib.import_module("neca")
