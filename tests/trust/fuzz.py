"""Fuzzing (atheris): every parser of users' files gets mutated ones, and must end in a value or a ValueError.

`campaign` starts this file once for each parser. What was found stands in tests/corpus/<parser>/ for the tests.
"""

import contextlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import torch
from PIL import Image

from data.benchmarks.dnd import DndLayout, read_boxes
from data.benchmarks.sidd import read_blocks
from data.bursts import read_manifest
from data.splits import read_list
from inference.pretrained import load_network
from models.networks import network_checkpoint
from noise.gains import GainBank, read_bank, write_bank
from synthesis.output import SynthesisFolder
from tests.noisy_set import camera_networks
from tests.trust import Result
from utils.checkpoints import save_checkpoint
from utils.files import read_record, write_bytes
from utils.image import check_png, encode_image, png_size, read_exposure, read_photo

SECONDS = 600  # of each parser
AT_ONCE = 2  # parsers
EXECUTIONS = re.compile(r"stat::number_of_executed_units: (\d+)")


def _read_image(path: Path) -> None:
    png_size(path)
    read_exposure(path)
    read_photo(path, max_megapixels=1)


def _read_records(path: Path) -> None:
    for name, read in (("pairs.csv", read_manifest), ("manifest.csv", lambda at: SynthesisFolder(at, {}, []))):
        folder = path.parent / name.partition(".")[0]
        write_bytes(folder / name, path.read_bytes(), flush=False)
        write_bytes(folder / "synthesis.json", b'{"version": 2}', flush=False)
        with contextlib.suppress(ValueError):
            read(folder)
    read_record(path)


def _read_boxes(path: Path) -> None:
    os.replace(path, path.with_name("info.mat"))
    read_boxes(path.parent, DndLayout(1, 1, 4))


# By name: what reads a file of this suffix, and refuses others by a ValueError.
PARSERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "checkpoint": (".pth", lambda path: load_network("E", path)),
    "safetensors": (".safetensors", lambda path: load_network("E", path)),
    "gains": (".json", read_bank),
    "list": (".txt", read_list),
    "records": (".csv", _read_records),
    "mat": (".mat", lambda path: read_blocks(path, "blocks")),
    "boxes": (".mat", _read_boxes),
    "image": (".png", _read_image),
}


def parse(name: str, path: Path) -> None:
    """Let a parser read a file. Raises whatever is not a ValueError that users are told in one line."""
    try:
        PARSERS[name][1](path)
    except ValueError as error:
        assert "\n" not in str(error), str(error)


def write_seeds(name: str, folder: Path) -> None:
    """Write valid files of a parser, which the fuzzer begins from."""
    suffix, _ = PARSERS[name]
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    if name in ("checkpoint", "safetensors"):
        save_checkpoint(folder / f"a{suffix}", network_checkpoint(camera_networks()["E"], 1))
    elif name == "gains":
        write_bank(folder / "a.json", GainBank("ZZ", "", {800: [("a", 0.5)]}))
    elif name == "list":
        write_bytes(folder / "a.txt", b"0001_001_ZZ_00800_00100_5500_N\n")
    elif name == "records":
        write_bytes(folder / "a.csv", b"scene,source,iso,shutter,clean,noisy,left_out,state\na,b,800,100,c,d,,e\n")
        write_bytes(folder / "b.csv", b'{"a": [1, 2.5, "x"], "b": null}')
    elif name in ("mat", "boxes"):
        boxes = np.array([[1, 1, 4, 4]], float)
        key, values = ("blocks", pixels[None, None]) if name == "mat" else ("boundingboxes", boxes[None])
        scipy.io.savemat(folder / "a.mat", {key: values})
        scipy.io.savemat(folder / "b.mat", {key: values}, do_compression=True)
        with h5py.File(folder / "c.mat", "w") as file:
            file[key] = values.T
    else:
        for kind in (".png", ".jpg", ".tif", ".webp", ".bmp"):
            write_bytes(folder / f"a{kind}", encode_image(pixels, kind))
        Image.fromarray(pixels).save(folder / "a.gif")


def fuzz(name: str, work: Path, arguments: list[str]) -> None:
    """Fuzz a parser in this process, which ends with it; arguments: libFuzzer's."""
    import atheris

    torch.set_num_threads(1)
    logging.disable()
    path = work / f"file{PARSERS[name][0]}"

    def one(content: bytes) -> None:
        path.write_bytes(content)
        parse(name, path)

    for function in (read_bank, read_list, read_manifest, read_photo, check_png, load_network, read_blocks, read_boxes):
        atheris.instrument_func(function)
    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def run(name: str, folder: Path, seconds: int, seed: int) -> tuple[int, str]:
    """Fuzz a parser in a process of its own -> executions, and what was found."""
    for part in ("seeds", "work", "found"):
        (folder / name / part).mkdir(parents=True)
    write_seeds(name, folder / name / "seeds")
    words = f"-m tests.trust.fuzz {name} {folder / name / 'work'} -max_total_time={seconds} -seed={seed + 1}"
    words += f" -rss_limit_mb=4096 -timeout=20 -max_len=65536 -artifact_prefix={folder / name / 'found'}/"
    words += f" -print_final_stats=1 {folder / name / 'seeds'}"
    done = subprocess.run([sys.executable, *words.split()], capture_output=True)
    log, found = (
        done.stderr.decode(errors="replace"),
        [path.read_bytes() for path in (folder / name / "found").iterdir()],
    )
    failure = f"{name}: {[each[:200] for each in found]}: {log[-1500:]}" if done.returncode or found else ""
    return int((EXECUTIONS.findall(log) or [0])[-1]), failure


def campaign(folder: Path, share: float, seed: int) -> Result:
    """Fuzz each parser for `share` of SECONDS, two at a time."""
    seconds = max(5, round(SECONDS * share))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        ended = list(threads.map(lambda name: run(name, folder, seconds, seed), PARSERS))
    executions = sum(count for count, _ in ended)
    done = f"{executions} executions of {len(PARSERS)} parsers, {seconds} s each"
    return Result(done, [failure for _, failure in ended if failure])


if __name__ == "__main__":
    fuzz(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
