"""The commands that write results, on inputs so small that each takes about a second."""

import logging
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
import torch

import Crop_SIDD
import main_eval
import main_make_pairs
import main_synthesize
import main_train_denoiser
import main_train_jointly
from data.benchmarks import sidd
from data.cache import open_pairs
from data.pairs import find_pairs
from noise.gains import GainBank, bank_path, write_bank
from tests.camera import CAMERA, command, make_camera
from tests.noisy_set import make_weights
from utils.checkpoints import STATE_PREFIX, load_checkpoint, numbered_files
from utils.image import write_image

OUT = "out"  # the folder of results, in that in which a command runs
TRAINING = "--log_step 1 --test_epoch 1 --epochs 3 --ema .9 --keep_checkpoints 2 --keep_best --cache_dir out/cache"
DENOISER = f"""--name run --cam_name {CAMERA} --patch_size 32 --batch_size 2 --nc 4 --nb 3 --init_type kaiming
    --device cpu --source real neca-w coloured --fit_images 2 --test_images 1"""
BLOCKS = (3, 2, 16, 16, 3)  # of a small SIDD benchmark


class Case(NamedTuple):
    """A command by its words, and in how many processes it runs."""

    name: str
    main: Callable[[list[str]], int | None]
    words: list[str]
    processes: int = 1

    def command(self, workers: int, more: Sequence[str] = ()) -> Callable[[], int | None]:
        """Return the command, to be run with `workers` threads or loader processes and more options."""
        return partial(self.main, [*self.words, "--num_workers", str(workers), *more])


def make_inputs(root: Path) -> list[Case]:
    """Write the inputs into a new folder and return the commands; results go to OUT where they run."""
    make_camera(root)
    write_bank(bank_path(make_weights(root) / CAMERA), GainBank(CAMERA, "", {800: [("a", 0.03), ("b", 0.04)]}))
    random = np.random.default_rng(0)
    for frame in range(3):
        for kind in ("GT", "NOISY"):
            write_image(_scene(root, frame) / f"0001_{kind}_SRGB_01{frame}.PNG", _picture(random, 40, 56))
            write_image(root / "photos" / f"{frame}{kind}.png", _picture(random, 24, 40))
    for scene in range(3):
        still = _picture(random, 64, 64)
        for frame in range(4):
            noisy = still + random.normal(0, 4, still.shape)
            write_image(root / "bursts" / str(scene) / f"{frame}.png", noisy.clip(0, 255).astype(np.uint8))
    noisy_blocks = random.integers(0, 256, BLOCKS, dtype=np.uint8)
    scipy.io.savemat(root / f"{sidd.BENCHMARK_KEY}.mat", {sidd.BENCHMARK_KEY: noisy_blocks})

    joint = [*command(root, *TRAINING.split(), save=""), "--dir_save", OUT]
    data = ["--train_img_dir", str(root / "crops"), "--data_prep_dir", str(root / "lists"), "--dir_save", OUT]
    pretrained = ["--pretrain_dir", str(root / "pretrain")]
    crop = ["--source", str(root / "frames"), "--target", OUT, "--size", "16", "--overlap", "8", "--threshold", "32"]
    noise = ["--input_dir", str(root / "photos"), "--output_dir", OUT, "--cam_name", CAMERA, "--device", "cpu"]
    pairs = ["--bursts", str(root / "bursts"), "--output_dir", OUT, "--camera_code", CAMERA, "--iso", "800"]
    blocks = ["--blocks", str(root / f"{sidd.BENCHMARK_KEY}.mat"), "--denoiser", "nlm", "--device", "cpu"]
    return [
        Case("training", main_train_jointly.main, joint),
        Case("training, 2 processes", main_train_jointly.main, joint, processes=2),
        Case("denoiser training", main_train_denoiser.main, [*data, *TRAINING.split(), *DENOISER.split(), *pretrained]),
        Case("cropping", Crop_SIDD.main, crop),
        Case("cache", partial(_build_cache, root / "crops"), []),
        Case("synthesis", main_synthesize.main, [*noise, *pretrained, "--per_image", "6"]),
        Case("pairs", main_make_pairs.main, pairs),
        Case("submission, .csv", partial(submit, "kaggle"), [*blocks, "--output", f"{OUT}/S.csv"]),
        Case("submission, .mat", partial(submit, "sidd-mat"), [*blocks, "--output", f"{OUT}/S.mat"]),
    ]


def _scene(root: Path, frame: int) -> Path:
    return root / "frames" / f"000{1 + frame // 2}_001_{CAMERA}_00800_00100_5500_N"


def _picture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    squares = random.integers(60, 190, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)
    return (squares + random.integers(-9, 10, squares.shape)).astype(np.uint8)


def _build_cache(crops: Path, words: list[str]) -> None:
    open_pairs(find_pairs(sorted(crops.iterdir())), OUT, int(words[1]), logging.getLogger("cache"))


def submit(benchmark: str, words: list[str]) -> None:
    """Run the command that makes a submission on a small benchmark."""
    sidd.BENCHMARK_SHAPE = BLOCKS  # the published files have 250 MB
    main_eval.main(["submit", "--benchmark", benchmark, *words])


def new_folder(folder: Path) -> Path:
    """Make a folder anew, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Read what a command has made, by path: all but locks, the log with its times, and MATLAB's date of writing.

    Of training states the newest counts, for a run that is asked to stop saves one more. It counts by its values, bit
    by bit: its pickle also tells which equal words are one object.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (".lock", "train.log"):
            content = path.read_bytes()
            if path.name.startswith(STATE_PREFIX):
                if path != numbered_files(path.parent, STATE_PREFIX)[-1]:
                    continue
                content = _values(load_checkpoint(path))
            found[str(path.relative_to(folder))] = content[116:] if path.suffix == ".mat" else content
    return found


def _values(content: Any) -> bytes:
    """Turn nested dicts and lists of tensors and plain values into bytes."""
    if isinstance(content, dict | list | tuple):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return b"".join(repr(key).encode() + _values(value) for key, value in items)
    return content.numpy().tobytes() if isinstance(content, torch.Tensor) else repr(content).encode()


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Name the files that are not the same in both."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
