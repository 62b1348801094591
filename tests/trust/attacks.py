"""Attacks: files that try to run code, to fill the memory, to take forever or to reach out of their folder."""

import functools
import json
import os
import pickle
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from data.benchmarks.sidd import BENCHMARK_KEY
from models.networks import network_checkpoint
from tests.camera import CAMERA
from tests.noisy_set import camera_networks
from tests.trust import Result, some
from tests.trust.commands import BLOCKS, OUT, make_inputs, new_folder
from tests.trust.processes import Command, run
from utils.checkpoints import load_checkpoint, save_checkpoint
from utils.image import PNG_START

SECONDS, MEGABYTES = 20, 700  # of the processors and of memory that refusing may take, beyond an idle process
HUGE = 10**12  # elements
BOMB = 2**31  # bytes that a small file unpacks to
# May give the picture that they begin with, or a result made without the hostile file.
HARMLESS = ("PNG whose pixels never end", "TIFF whose pages go round", "pickles in the cache")
GENET = Path("pretrain", CAMERA, "checkpoint_E.pth")
BEGUN = "begun "
VICTIM = "victim.txt"  # beside the folder that a command may write to

# Puts hostile files among the inputs of a command, which works in the same folder, and returns options to add.
Attack = Callable[[Path], list[str] | None]


class Exploit:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo owned > owned",)


# --- checkpoints ---


def _genet(content: bytes, suffix: str = ".pth") -> Attack:
    def attack(at: Path) -> list[str]:
        (at / GENET).unlink()
        (at / GENET).with_suffix(suffix).write_bytes(content)
        return ["--gain_from", str(at / "photos")]  # which GENet estimates

    return attack


def _changed(change: Callable[[dict[str, Any]], Any], zip_file: bool = True) -> Attack:
    def attack(at: Path) -> list[str]:
        content = change(network_checkpoint(camera_networks()["E"], 1))
        torch.save(content, at / GENET, _use_new_zipfile_serialization=zip_file)
        return ["--gain_from", str(at / "photos")]

    return attack


def _sizes(**sizes: int) -> Attack:
    return _changed(lambda content: content | {"config": content["config"] | sizes})


def _weight(change: Callable[[torch.Tensor], torch.Tensor]) -> Attack:
    def changed(content: dict[str, Any]) -> dict[str, Any]:
        name, weight = next(iter(content["model_state_dict"].items()))
        return content | {"model_state_dict": content["model_state_dict"] | {name: change(weight)}}

    return _changed(changed)


def _zip_bomb(at: Path) -> list[str]:
    archive = zipfile.ZipFile(at / GENET, "w", zipfile.ZIP_DEFLATED)
    with archive, archive.open("a/data.pkl", "w", force_zip64=True) as file:
        for _ in range(BOMB // 2**20):
            file.write(bytes(2**20))
    return ["--gain_from", str(at / "photos")]


def _tensor_header(elements: int) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [elements], "data_offsets": [0, 4 * elements]}}).encode()
    return struct.pack("<Q", len(header)) + header


# --- results that a command goes on from ---


def _states_that_run_code(at: Path) -> list[str]:
    for path in (at / OUT).rglob("training_state_*"):
        torch.save({"step": 1, "model": Exploit()}, path)
    return ["--epochs", "4"]


def _states_of_a_trillion_elements(at: Path) -> list[str]:
    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poison(each) for key, each in value.items()}
        if isinstance(value, list):
            return [poison(each) for each in value]
        return torch.zeros(1).expand(HUGE) if isinstance(value, torch.Tensor) and value.ndim else value

    for path in (at / OUT).rglob("training_state_*"):
        model = load_checkpoint(path)["model"]  # its networks stay, so that the optimisers' state is looked at
        save_checkpoint(path, {"step": 1, "model": poison(model) | {"networks": model["networks"]}})
    return ["--epochs", "4"]


def _poisoned_cache(at: Path) -> list[str]:
    for path in (at / OUT / "cache").rglob("*.npy"):
        np.save(path, np.array([Exploit()]), allow_pickle=True)
    return ["--epochs", "4"]


def _scene_out_of_the_folder(at: Path) -> None:
    manifest = at / OUT / "pairs.csv"
    first_scene = manifest.read_text().splitlines()[1].split(",")[0]
    manifest.write_text(manifest.read_text().replace(first_scene, f"../../{VICTIM}", 1))


# --- images ---


def _photo(content: bytes, name: str = "0GT.png") -> Attack:
    def attack(at: Path) -> None:
        for path in (at / "photos").iterdir():
            path.unlink()
        (at / "photos" / name).write_bytes(content)

    return attack


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [PNG_START[:8]]
    for kind, data in ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


def _packed(size: int, head: bytes = b"") -> bytes:
    packer = zlib.compressobj(9)
    zeros = (packer.compress(bytes(2**20)) for _ in range(size // 2**20))
    return packer.compress(head) + b"".join(zeros) + packer.flush()


def _png_bomb(kind: bytes, head: bytes = b"") -> Attack:
    return lambda at: _photo(_png(16, 16, (kind, head + _packed(BOMB // 8))))(at)


def _images(pattern: str, content: bytes) -> Attack:
    def attack(at: Path) -> None:
        for path in at.glob(pattern):
            path.write_bytes(content)

    return attack


def _pages_that_go_round() -> bytes:
    entries = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 256)]
    page = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + page + struct.pack("<I", 8) + bytes(256)


def _endless_animation() -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes(6)
    return head + (b"," + struct.pack("<HHHHB", 0, 0, 16, 16, 0) + b"\2\2\x4c\1\0") * 100_000 + b";"


def _huge_jpeg() -> bytes:
    frame = struct.pack(">HBHHB", 17, 8, 65500, 65500, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    return b"\xff\xd8\xff\xc0" + frame + b"\xff\xd9"


# --- .mat, lists, options, links ---


def _hdf5(write: Callable[[h5py.File, Path], Any]) -> Attack:
    def attack(at: Path) -> None:
        with h5py.File(at / "secret.h5", "w") as secret:
            secret["blocks"] = np.zeros(BLOCKS[::-1], np.uint8)
        with h5py.File(at / f"{BENCHMARK_KEY}.mat", "w") as file:
            write(file, at / "secret.h5")

    return attack


def _trillion_blocks(file: h5py.File, secret: Path) -> None:
    shape = (3, 16, 16, 2, HUGE // 1536)  # MATLAB's order of axes
    file.create_dataset(BENCHMARK_KEY, shape, "u1", chunks=(1, 1, 16, 1, 64))


def _values_elsewhere(file: h5py.File, secret: Path) -> None:
    file.create_dataset(BENCHMARK_KEY, BLOCKS[::-1], "u1", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def _mat_bomb(at: Path) -> None:
    dimensions = struct.pack("<6I", 5, 20, BOMB // 3, 1, 1, 1) + struct.pack("<2I", 3, 0)
    name = struct.pack("<2I", 1, len(BENCHMARK_KEY)) + BENCHMARK_KEY.encode()
    parts = struct.pack("<4I", 6, 8, 9, 0) + dimensions + name + struct.pack("<2I", 2, BOMB)
    packed = _packed(BOMB, struct.pack("<2I", 14, len(parts) + BOMB) + parts)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    (at / f"{BENCHMARK_KEY}.mat").write_bytes(head + struct.pack("<2I", 15, len(packed)) + packed)


def _option_files(*files: str) -> Attack:
    """Write option files by number, in which @N stands for the path of another one."""

    def attack(at: Path) -> list[str]:
        for number, text in enumerate(files):
            (at / f"{number}.txt").write_text(text.replace("@", f"@{at}/").replace(";", ".txt\n"))
        return [f"@{at}/0.txt"]

    return attack


def _dots_in_a_list(at: Path) -> None:
    (at / "lists" / f"{CAMERA}_train.txt").write_text("../../../etc\n")


def _link(name: str, target: str) -> Attack:
    def attack(at: Path) -> None:
        (at / name).parent.mkdir(exist_ok=True)
        (at / name).unlink(missing_ok=True)
        (at / name).symlink_to(target)

    return attack


# By what the files are, and the command that reads them, or goes on from what it has made.
ATTACKS: dict[str, dict[str, Attack]] = {
    "synthesis": {
        "pickle in a checkpoint": _changed(lambda content: content | {"extra": Exploit()}),
        "checkpoint of the old format": _changed(lambda _: Exploit(), zip_file=False),
        "bare pickle as a checkpoint": _genet(pickle.dumps(Exploit(), protocol=2)),
        "pickle as safetensors": _genet(pickle.dumps(Exploit()), ".safetensors"),
        "sparse tensor": _weight(lambda tensor: tensor.to_sparse()),
        "compressed sparse tensor": _weight(lambda _: torch.zeros(8, 8).to_sparse_csr()),
        "meta tensor": _weight(lambda tensor: tensor.to("meta")),
        "quantized tensor": _weight(lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)),
        "one number as a trillion": _weight(lambda _: torch.zeros(1).expand(HUGE)),
        "a billion layers": _sizes(nb=10**9),
        "a million channels": _sizes(nc=10**6),
        "zip bomb as a checkpoint": _zip_bomb,
        "safetensors of a trillion elements": _genet(_tensor_header(HUGE) + bytes(64), ".safetensors"),
        "safetensors with an endless header": _genet(struct.pack("<Q", 2**62) + b"{}", ".safetensors"),
        "PNG of ten gigapixels": _photo(_png(100_000, 100_000)),
        "PNG with a bomb for a profile": _png_bomb(b"iCCP", b"x\0\0"),
        "PNG with a bomb for a text": _png_bomb(b"zTXt", b"x\0\0"),
        "PNG whose pixels never end": _png_bomb(b"IDAT"),
        "TIFF whose pages go round": _photo(_pages_that_go_round(), "a.tif"),
        "GIF of 100,000 pictures": _photo(_endless_animation(), "a.gif"),
        "JPEG of four gigapixels": _photo(_huge_jpeg(), "a.jpg"),
        "option file that includes itself": _option_files("@1;", "--iso 800 @0;"),
        "option files that multiply": _option_files(*[f"@{n};@{n};" for n in range(1, 40)], "--iso 800"),
        "link in the place of a result": _link(f"{OUT}/0GT_00.png", f"../../{VICTIM}"),
        "link to itself": _link("photos/0GT.png", "0GT.png"),
        "links in a loop": _link("photos/loop", "."),
        "device without end as an image": _link("photos/0GT.png", "/dev/zero"),
    },
    "begun training": {
        "pickles in training states": _states_that_run_code,
        "training states of a trillion elements": _states_of_a_trillion_elements,
        "pickles in the cache": _poisoned_cache,
    },
    "begun pairs": {"dots in a manifest": _scene_out_of_the_folder},
    "training": {
        "crops of ten gigapixels": _images("crops/*/*/*.png", _png(100_000, 100_000)),
        "dots in a scene list": _dots_in_a_list,
    },
    "cropping": {"frames of ten gigapixels": _images("frames/*/*.PNG", _png(100_000, 100_000))},
    "submission, .csv": {
        ".mat of a trillion elements": _hdf5(_trillion_blocks),
        ".mat that unpacks to gigabytes": _mat_bomb,
        ".mat with a link to another file": _hdf5(
            lambda file, secret: file.__setitem__(BENCHMARK_KEY, h5py.ExternalLink(str(secret), "blocks"))
        ),
        ".mat whose values lie in another file": _hdf5(_values_elsewhere),
    },
}


def check(command: str, name: str, folder: Path) -> list[str]:
    """Make an attack, and say how it has succeeded: not refused in one line, or at a price."""
    at = new_folder(folder / "attack" / "work")
    (folder / "attack" / VICTIM).write_text("untouched")
    case = next(case for case in make_inputs(at) if case.name == command.removeprefix(BEGUN))
    if command.startswith(BEGUN) and run(case.command(0), at).code:
        return [f"{name}: the command fails without it"]
    more = ATTACKS[command][name](at) or []
    before = _idle_peak(at)
    ended = run(partial(_limited, case.command(0, more)), at)
    megabytes = (ended.peak - before) / 2**20
    lines = [line for line in ended.output.splitlines() if line.startswith(("error: ", "failed: "))]
    wrong = {
        "it ran code": any(folder.rglob("owned")),
        "it reached another file": (folder / "attack" / VICTIM).read_text() != "untouched",
        f"exit code {ended.code}": ended.code not in ((0, 1) if name in HARMLESS else (1, 2)),
        f"{len(lines)} lines of error": (not lines and name not in HARMLESS) or "Traceback" in ended.output,
        f"{ended.seconds:.0f} seconds": ended.seconds > SECONDS,
        f"{megabytes:.0f} MB": megabytes > MEGABYTES,
    }
    return [f"{name}: {what}: {ended.output[-700:]}" for what, is_so in wrong.items() if is_so]


def _limited(command: Command) -> int | None:
    """Run a command in an address space that spares the machine the worst."""
    limit = 24 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return command()


@functools.cache
def _idle_peak(folder: Path) -> int:
    return run(lambda: 0, folder).peak


def campaign(folder: Path, share: float, seed: int) -> Result:
    """Make all attacks, a few with less than a tenth of the campaign."""
    every = [(command, name) for command, attacks in ATTACKS.items() for name in attacks]
    chosen = some(every, share, seed)
    failures = [failure for command, name in chosen for failure in check(command, name, folder)]
    refused = len(chosen) - len({failure.split(":")[0] for failure in failures})
    limits = f"each within {SECONDS} s and {MEGABYTES} MB"
    return Result(f"{len(chosen)} attacks, {refused} refused in one line or harmless, {limits}", failures)
