"""Attacks: files that try to run code, to fill the memory, to take forever or to reach out of their folder."""

import functools
import json
import os
import pickle
import resource
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

import Crop_SIDD
import main_make_pairs
import main_synthesize
import main_test
import main_train_jointly
from benchmark.trust import Result, some
from benchmark.trust.commands import BLOCKS, OUT, make_inputs, new_folder, submit
from benchmark.trust.processes import Command, Process, run
from data.benchmarks.sidd import BENCHMARK_KEY
from data.bursts import COLUMNS
from models.networks import network_checkpoint
from tests.camera import CAMERA, command
from tests.noisy_set import camera_networks
from utils.checkpoints import load_checkpoint, save_checkpoint
from utils.files import write_json
from utils.image import PNG_START

SECONDS, MEGABYTES = 20, 700  # that refusing may take, beyond what an idle process has
HUGE = 10**12  # elements
HARMLESS = ("PNG whose pixels never end", "TIFF whose pages go round")  # may give the picture that they begin with
BOMB = 2**31  # bytes that a small file unpacks to
VICTIM = "victim.txt"  # beside the folder that a command may write to

Attack = Callable[[Path], Command]  # writes the hostile file below a folder of inputs


class Exploit:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo owned > owned",)


def _synthesize(inputs: Path, *more: str) -> Command:
    folders = {"input_dir": inputs / "photos", "output_dir": OUT, "pretrain_dir": inputs / "pretrain"}
    words = [str(word) for option, folder in folders.items() for word in (f"--{option}", folder)]
    return partial(main_synthesize.main, [*words, "--cam_name", CAMERA, "--device", "cpu", *more])


def _estimate(inputs: Path) -> Command:
    return _synthesize(inputs, "--gain_from", str(inputs / "photos"))  # which GENet estimates


def _checkpoint(inputs: Path, content: bytes) -> Command:
    (inputs / "pretrain" / CAMERA / "checkpoint_E.pth").write_bytes(content)
    return _estimate(inputs)


def _with_genet(inputs: Path, change: Callable[[dict[str, Any]], Any], zip_file: bool = True) -> Command:
    content = change(network_checkpoint(camera_networks()["E"], 1))
    path = inputs / "pretrain" / CAMERA / "checkpoint_E.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zip_file)
    return _estimate(inputs)


def _with_config(inputs: Path, **sizes: int) -> Command:
    return _with_genet(inputs, lambda content: content | {"config": content["config"] | sizes})


def _with_weight(inputs: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> Command:
    def changed(content: dict[str, Any]) -> dict[str, Any]:
        weights = content["model_state_dict"]
        name = next(iter(weights))
        return content | {"model_state_dict": weights | {name: change(weights[name])}}

    return _with_genet(inputs, changed)


def _photograph(inputs: Path, content: bytes, name: str = "0GT.png") -> Command:
    for path in (inputs / "photos").iterdir():
        path.unlink()
    (inputs / "photos" / name).write_bytes(content)
    return _synthesize(inputs)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, before: bytes = b"", pixels: bytes = b"") -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return PNG_START[:8] + header + before + _chunk(b"IDAT", zlib.compress(pixels)) + _chunk(b"IEND", b"")


def _squeezed(size: int = BOMB // 8) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join([packer.compress(bytes(2**20)) for _ in range(size // 2**20)] + [packer.flush()])


def _blocks(inputs: Path, write: Callable[[Path], None]) -> Command:
    path = inputs / f"{BENCHMARK_KEY}.mat"
    path.unlink()
    write(path)
    words = ["--blocks", str(path), "--denoiser", "noisy", "--device", "cpu", "--output", f"{OUT}/S.csv"]
    return partial(submit, "kaggle", [*words, "--num_workers", "0"])


def _hdf5(inputs: Path, write: Callable[[h5py.File], Any]) -> Command:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            write(file)

    return _blocks(inputs, make)


def _safetensors(inputs: Path, content: bytes) -> Command:
    folder = inputs / "pretrain" / CAMERA
    (folder / "checkpoint_E.pth").unlink()
    (folder / "checkpoint_E.safetensors").write_bytes(content)
    return _estimate(inputs)


def _header(elements: int) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [elements], "data_offsets": [0, 4 * elements]}}).encode()
    return struct.pack("<Q", len(header)) + header


def _crop(inputs: Path) -> Command:
    return partial(Crop_SIDD.main, ["--source", str(inputs / "frames"), "--target", OUT])


def _train(inputs: Path, *more: str) -> Command:
    return partial(main_train_jointly.main, command(inputs, *more, save=OUT))


def _state_that_runs_code(inputs: Path) -> Command:
    models = inputs / OUT / CAMERA / "models"
    models.mkdir(parents=True)
    torch.save({"step": 1, "model": Exploit()}, models / "training_state_0000000001.pth")
    write_json(models.parent / "options.json", {})
    return _train(inputs)


def _poisoned_cache(inputs: Path) -> int:
    """Train, put pickles into the cache, and train on: damaged arrays are made anew, which counts as a refusal."""
    _train(inputs, "--epochs", "1", "--cache_dir", "cache")()
    for path in Path("cache").rglob("*.npy"):
        path.unlink()
        np.save(path, np.array([Exploit()]), allow_pickle=True)
    _train(inputs, "--epochs", "2", "--cache_dir", "cache")()
    raise ValueError("nothing was unpickled, and the arrays were made anew")


def _poisoned_state(inputs: Path) -> None:
    """Train, let the optimisers' state in the run's file claim a trillion elements, and train on."""
    _train(inputs, "--epochs", "1", "--no_cache")()
    path = next((inputs / OUT).rglob("training_state_*"))
    state = load_checkpoint(path)

    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poison(each) for key, each in value.items()}
        if isinstance(value, list):
            return [poison(each) for each in value]
        return torch.zeros(1).expand(HUGE) if isinstance(value, torch.Tensor) and value.ndim else value

    model = {key: value if key == "networks" else poison(value) for key, value in state["model"].items()}
    save_checkpoint(path, state | {"model": model})
    _train(inputs, "--epochs", "2", "--no_cache")()


def _zip_bomb(inputs: Path) -> Command:
    archive = zipfile.ZipFile(inputs / "pretrain" / CAMERA / "checkpoint_E.pth", "w", zipfile.ZIP_DEFLATED)
    with archive, archive.open("a/data.pkl", "w", force_zip64=True) as file:
        for _ in range(BOMB // 2**20):
            file.write(bytes(2**20))
    return _estimate(inputs)


def _endless_pixels() -> bytes:
    return _png(16, 16)[:33] + _chunk(b"IDAT", _squeezed()) + _chunk(b"IEND", b"")


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


def _mat_bomb(path: Path) -> None:
    dimensions = struct.pack("<6I", 5, 20, BOMB // 3, 1, 1, 1) + struct.pack("<2I", 3, 0)
    name = struct.pack("<2I", 1, len(BENCHMARK_KEY)) + BENCHMARK_KEY.encode()
    parts = struct.pack("<4I", 6, 8, 9, 0) + dimensions + name + struct.pack("<2I", 2, BOMB)
    packer = zlib.compressobj(9)
    packed = packer.compress(struct.pack("<2I", 14, len(parts) + BOMB) + parts)
    packed += b"".join(packer.compress(bytes(2**20)) for _ in range(BOMB // 2**20)) + packer.flush()
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    path.write_bytes(head + struct.pack("<2I", 15, len(packed)) + packed)


def _bombs_in_place_of(inputs: Path, images: str, attacked: Command) -> Command:
    for path in inputs.glob(images):
        path.write_bytes(_png(100_000, 100_000))
    return attacked


def _option_files(inputs: Path, *files: str) -> Command:
    """Write option files by number, in which @N stands for the path of another one."""
    for number, text in enumerate(files):
        (inputs / f"{number}.txt").write_text(text.replace("@", f"@{inputs}/").replace(";", ".txt\n"))
    return partial(main_synthesize.main, [f"@{inputs}/0.txt"])


def _scene_out_of_the_folder(inputs: Path) -> Command:
    out = inputs / OUT
    write_json(out / "make_pairs.json", {})
    row = [f"../../{VICTIM}", str(inputs / "bursts" / "0"), "800", "100", "x", "y", "", ""]
    (out / "pairs.csv").write_text(",".join(COLUMNS) + "\n" + ",".join(row) + "\n")
    words = ["--bursts", str(inputs / "bursts"), "--output_dir", str(out), "--camera_code", CAMERA, "--iso", "800"]
    return partial(main_make_pairs.main, words)


def _dots_in_a_list(inputs: Path) -> Command:
    (inputs / "lists" / f"{CAMERA}_train.txt").write_text("../../../etc\n")
    return _train(inputs)


def _link_for_a_result(inputs: Path) -> Command:
    (inputs / OUT).mkdir()
    (inputs / OUT / "0GT.png").symlink_to(inputs.parent / VICTIM)
    return _synthesize(inputs, "--output_dir", str(inputs / OUT))


def _loop_of_links(inputs: Path) -> Command:
    attacked = _photograph(inputs, b"")
    for name, target in (("loop", ""), ("0GT.png", "0GT.png")):
        (inputs / "photos" / name).unlink(missing_ok=True)
        (inputs / "photos" / name).symlink_to(inputs / "photos" / target)
    return attacked


def _endless_device(inputs: Path) -> Command:
    (inputs / "clean.png").symlink_to("/dev/zero")
    words = ["--dir_test_img", str(inputs), "--cam_name", CAMERA, "--pretrain_dir", str(inputs / "pretrain")]
    return partial(main_test.main, [*words, "--NeCA_type", "S", "--dir_test_save", OUT])


def _linked_blocks(inputs: Path) -> Command:
    with h5py.File(inputs / "secret.h5", "w") as secret:
        secret["blocks"] = np.zeros(BLOCKS[::-1], np.uint8)
    link = h5py.ExternalLink(str(inputs / "secret.h5"), "blocks")
    return _hdf5(inputs, lambda file: file.__setitem__(BENCHMARK_KEY, link))


def _blocks_elsewhere(inputs: Path) -> Command:
    (inputs / "secret.txt").write_bytes(bytes(int(np.prod(BLOCKS))))
    stored = [(str(inputs / "secret.txt"), 0, h5py.h5f.UNLIMITED)]
    return _hdf5(inputs, lambda file: file.create_dataset(BENCHMARK_KEY, BLOCKS[::-1], "u1", external=stored))


def _trillion_blocks(inputs: Path) -> Command:
    shape = (3, 16, 16, 2, HUGE // 1536)  # MATLAB's order of axes
    return _hdf5(inputs, lambda file: file.create_dataset(BENCHMARK_KEY, shape, "u1", chunks=(1, 1, 16, 1, 64)))


ATTACKS: dict[str, Attack] = {
    # Code.
    "pickle in a checkpoint": lambda at: _with_genet(at, lambda content: content | {"extra": Exploit()}),
    "checkpoint of the old format": lambda at: _with_genet(at, lambda _: Exploit(), zip_file=False),
    "bare pickle as a checkpoint": lambda at: _checkpoint(at, pickle.dumps(Exploit(), protocol=2)),
    "pickle as safetensors": lambda at: _safetensors(at, pickle.dumps(Exploit())),
    "pickle in a training state": _state_that_runs_code,
    "pickles in the cache": lambda at: partial(_poisoned_cache, at),
    # Memory and time.
    "sparse tensor": lambda at: _with_weight(at, lambda tensor: tensor.to_sparse()),
    "compressed sparse tensor": lambda at: _with_weight(at, lambda _: torch.zeros(8, 8).to_sparse_csr()),
    "meta tensor": lambda at: _with_weight(at, lambda tensor: tensor.to("meta")),
    "quantized tensor": lambda at: _with_weight(at, lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)),
    "one number as a trillion": lambda at: _with_weight(at, lambda _: torch.zeros(1).expand(HUGE)),
    "training state of a trillion elements": lambda at: partial(_poisoned_state, at),
    "a billion layers": lambda at: _with_config(at, nb=10**9),
    "a million channels": lambda at: _with_config(at, nc=10**6),
    "zip bomb as a checkpoint": _zip_bomb,
    "safetensors of a trillion elements": lambda at: _safetensors(at, _header(HUGE) + bytes(64)),
    "safetensors with an endless header": lambda at: _safetensors(at, struct.pack("<Q", 2**62) + b"{}"),
    "PNG of ten gigapixels": lambda at: _photograph(at, _png(100_000, 100_000)),
    "PNG with a bomb for a profile": lambda at: _photograph(at, _png(16, 16, _chunk(b"iCCP", b"x\0\0" + _squeezed()))),
    "PNG with a bomb for a text": lambda at: _photograph(at, _png(16, 16, _chunk(b"zTXt", b"x\0\0" + _squeezed()))),
    "PNG whose pixels never end": lambda at: _photograph(at, _endless_pixels()),
    "crops of ten gigapixels": lambda at: _bombs_in_place_of(at, "crops/*/*/*.png", _train(at)),
    "frames of ten gigapixels": lambda at: _bombs_in_place_of(at, "frames/*/*.PNG", _crop(at)),
    "TIFF whose pages go round": lambda at: _photograph(at, _pages_that_go_round(), "a.tif"),
    "GIF of 100,000 pictures": lambda at: _photograph(at, _endless_animation(), "a.gif"),
    "JPEG of four gigapixels": lambda at: _photograph(at, _huge_jpeg(), "a.jpg"),
    ".mat of a trillion elements": _trillion_blocks,
    ".mat that unpacks to gigabytes": lambda at: _blocks(at, _mat_bomb),
    "option file that includes itself": lambda at: _option_files(at, "@1;", "--iso 800 @0;"),
    "option files that multiply": lambda at: _option_files(at, *[f"@{n};@{n};" for n in range(1, 40)], "--iso 800"),
    # Escape.
    "dots in a scene list": _dots_in_a_list,
    "dots in a manifest": _scene_out_of_the_folder,
    "link in the place of a result": _link_for_a_result,
    "links in a loop": _loop_of_links,
    "device without end as an image": _endless_device,
    ".mat with a link to another file": _linked_blocks,
    ".mat whose values lie in another file": _blocks_elsewhere,
}


def check(name: str, folder: Path) -> list[str]:
    """Make an attack, and say how it has succeeded: not refused in one line, or at a price."""
    inputs = new_folder(folder / "attack" / "inputs")
    victim = folder / "attack" / VICTIM
    victim.write_text("untouched")
    make_inputs(inputs)
    work = new_folder(folder / "attack" / "work")
    before = _idle_peak(work)
    attacking, began = ATTACKS[name](inputs), time.monotonic()
    ended = Process(partial(_limited, attacking), work).wait(2 * SECONDS)
    seconds, megabytes = time.monotonic() - began, (ended.peak - before) / 2**20
    lines = [line for line in ended.output.splitlines() if line.startswith(("error: ", "failed: "))]
    owned = list(folder.rglob("owned"))
    wrong = {
        "it ran code": bool(owned),
        "it reached another file": victim.read_text() != "untouched",
        f"exit code {ended.code}": ended.code not in ((0, 1) if name in HARMLESS else (1, 2)),
        f"{len(lines)} lines of error": (not lines and name not in HARMLESS) or "Traceback" in ended.output,
        f"{seconds:.0f} seconds": seconds > SECONDS,
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
    names = some(list(ATTACKS), share, seed)
    failures = [failure for name in names for failure in check(name, folder)]
    refused = len(names) - len({failure.split(":")[0] for failure in failures})
    limits = f"each within {SECONDS} s and {MEGABYTES} MB"
    return Result("attacks", f"{len(names)} attacks, {refused} refused in one line, {limits}", failures)
