"""The crop cache: the same samples as the files give, whatever has happened to it."""

import errno
import json
import logging
import os
import pickle
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import main_train_jointly
from data import cache
from data.batches import BatchSampler, PatchDataset, training_batches, whole_image_loader
from data.boxes import PUBLISHED_CROPS
from data.cache import open_pairs
from data.crop import CropJob, crop_pair
from data.pairs import FileReader, find_pairs, pairs_fingerprint, read_files
from data.sidd import find_frames
from data.splits import read_list
from tests.camera import CAMERA, command, make_camera
from tests.conftest import ROOT
from tests.refusal import one_line
from tests.runs import assert_same
from tests.test_image_formats import turn
from tests.test_train_command import weights
from utils.image import read_image, write_image

SCENES = [f"{number:04d}_001_ZZ_00800_00100_5500_N" for number in (1, 2)]
LOG = logging.getLogger("test")


def write_pair(scene: Path, frame: int, shape: tuple[int, int], seed: int = 0, cropped: bool = True) -> list[Path]:
    """Write noise as a pair of crops or of frames -> clean and noisy file."""
    random, paths = np.random.default_rng((frame, seed)), []
    for side, kind in (("clean", "GT"), ("noisy", "NOISY")):
        stem = f"{scene.name[:4]}_{kind}_SRGB_{frame:03d}"
        paths.append(scene / side / f"{stem}_00001.png" if cropped else scene / f"{stem}.PNG")
        write_image(paths[-1], random.integers(0, 256, (*shape, 3), dtype=np.uint8))
    return paths


@pytest.fixture
def data(tmp_path) -> Path:
    """Two scenes of three pairs, of different sizes."""
    for scene in SCENES:
        for frame in range(3):
            write_pair(tmp_path / "data" / scene, frame, (24 + frame, 40))
    return tmp_path / "data"


def open_set(data: Path, cache_dir: Path | None):
    pairs = find_pairs(sorted(data.iterdir()))
    return open_pairs(pairs, cache_dir, 2, LOG) if cache_dir else FileReader(pairs)


def cached_file(data: Path, scene: str = SCENES[0]) -> Path:
    return next((data.parent / "cache").glob(f"*/{scene}.*.npy"))


def samples(reader, num_workers: int = 0) -> list[torch.Tensor]:
    patches = PatchDataset(reader, 16, augment=True, seed=0)
    order = BatchSampler(len(reader), 3, True, 0, 0, 8)
    with training_batches(patches, order, num_workers, torch.device("cpu")) as batches:
        return [batch[name] for batch in batches for name in ("clean", "noisy")]


def assert_right(reader, data: Path) -> None:
    """Samples and whole images must be those of the files themselves."""
    plain = open_set(data, None)
    assert all(map(torch.equal, samples(reader), samples(plain)))
    for one, other in zip(whole_image_loader(reader, 0), whole_image_loader(plain, 0)):
        assert one["name"] == other["name"]
        assert torch.equal(one["clean"], other["clean"]) and torch.equal(one["noisy"], other["noisy"])


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the noisy files that go into the cache."""
    names, read = [], cache.read_files
    monkeypatch.setattr(
        cache, "read_files", lambda clean, noisy, channels: (names.append(noisy.name), read(clean, noisy))[1]
    )
    return names


def test_samples_and_whole_images_are_those_of_the_files(data, tmp_path):
    assert_right(open_set(data, tmp_path / "cache"), data)


@pytest.mark.parametrize("cropped", [True, False], ids=["crops", "frames"])
def test_images_with_an_orientation_are_those_of_the_files(tmp_path, cropped):
    for path in write_pair(tmp_path / "data" / SCENES[0], 10, (24, 40), cropped=cropped):
        turn(path, 6)
    pairs = find_pairs([tmp_path / "data" / SCENES[0]])
    assert pairs[0].size == (40, 24)
    cached = open_pairs(pairs, tmp_path / "cache", 0, LOG).pair(0)
    for images in (FileReader(pairs).pair(0), read_files(pairs[0].clean, pairs[0].noisy)):
        assert all(np.array_equal(one, other) for one, other in zip(cached, images))


def test_pair_of_unequal_sizes_is_named(data):
    _, noisy = pair = write_pair(data / SCENES[0], 0, (24, 40))
    write_image(noisy, np.zeros((23, 40, 3), np.uint8))
    with pytest.raises(ValueError, match=rf"{noisy.name}: 23x40.*24x40"):
        read_files(*pair)


def test_complete_cache_is_used_without_decoding_or_writing_anything(data, tmp_path, monkeypatch, decoded):
    open_set(data, tmp_path / "cache")
    assert len(decoded) == 6
    real_open = open

    def read_only(file, mode="r", **options):
        assert mode in ("r", "rb"), f"{file} opened to write"
        return real_open(file, mode, **options)

    monkeypatch.setattr("builtins.open", read_only)
    monkeypatch.setattr(Path, "mkdir", lambda *arguments, **options: pytest.fail("makes a folder"))
    assert_right(open_set(data, tmp_path / "cache"), data)
    assert len(decoded) == 6


def test_changed_image_costs_its_own_scene_alone(data, tmp_path, decoded):
    open_set(data, tmp_path / "cache")
    decoded.clear()
    _, noisy = write_pair(data / SCENES[1], 1, (30, 30), seed=1)
    assert_right(open_set(data, tmp_path / "cache"), data)
    assert len(decoded) == 3 and noisy.name in decoded
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2


def test_image_of_the_same_size_in_bytes_is_told_by_its_time(data, tmp_path, decoded):
    open_set(data, tmp_path / "cache")
    decoded.clear()
    clean = sorted((data / SCENES[0] / "clean").iterdir())[0]
    os.utime(clean, ns=(0, clean.stat().st_mtime_ns + 1))
    open_set(data, tmp_path / "cache")
    assert len(decoded) == 3


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def change(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        truncate,
        lambda path: path.write_bytes(b""),
        lambda path: change(path, 0),
        lambda path: change(path, 70),  # the shape
        lambda path: path.unlink(),
    ],
    ids=["truncated", "empty", "header", "shape", "gone"],
)
def test_file_that_is_not_what_it_should_be_is_made_anew(data, tmp_path, decoded, spoil):
    open_set(data, tmp_path / "cache")
    decoded.clear()
    spoil(cached_file(data))
    assert_right(open_set(data, tmp_path / "cache"), data)
    assert len(decoded) == 3  # the other scene stays


def test_file_replaced_after_the_cache_was_opened_is_refused(data, tmp_path):
    reader = open_set(data, tmp_path / "cache")
    write_pair(data / SCENES[0], 0, (60, 60), seed=1)
    open_set(data, tmp_path / "cache")
    with pytest.raises(ValueError, match="changed by another process"):
        samples(reader)


def test_two_data_sets_with_the_same_scene_names_share_a_folder(data, tmp_path):
    other = tmp_path / "other" / "data"
    shutil.copytree(data, other)
    write_pair(other / SCENES[0], 0, (24, 40), seed=1)
    for folder in (data, other, data):
        assert_right(open_set(folder, tmp_path / "cache"), folder)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_reader_travels_to_other_processes_without_pixels(data, tmp_path):
    reader = open_set(data, tmp_path / "cache")
    expected = samples(reader)
    packed = pickle.dumps(reader)
    pixels = sum(image.numel() for pair in expected for image in pair)
    assert len(packed) < pixels / 4  # paths and places
    assert all(map(torch.equal, samples(pickle.loads(packed)), expected))


def test_disk_without_room_is_named_before_anything_is_written(data, tmp_path, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(ValueError, match=r"the disk has.*make room"):
        open_set(data, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_disk_that_fills_up_is_named_and_nothing_half_written_stays(data, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("utils.files.flush_file", full)
        with pytest.raises(ValueError, match=r"\.npy: the cache cannot be written \(No space left"):
            open_set(data, tmp_path / "cache")
    assert {path.name for path in (tmp_path / "cache").glob("*/*")} <= {".lock"}
    assert_right(open_set(data, tmp_path / "cache"), data)


def test_folder_that_cannot_be_written_is_named(data, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(ValueError, match="the cache cannot be written"):
        open_set(data, tmp_path / "cache")


OTHER_PROCESS = """
import logging, os, signal, sys, time
from pathlib import Path
from data import cache
from data.pairs import find_pairs

data, kill_at = Path(sys.argv[1]), int(sys.argv[2])
read, count = cache.read_files, 0

def slow(*pair):
    global count
    count += 1
    time.sleep(0.1)
    if count == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*pair)

cache.read_files = slow
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
pairs = find_pairs(sorted(data.iterdir()))
print("ready", flush=True)
input()
reader = cache.open_pairs(pairs, data.parent / "cache", 0, logging.getLogger())
print("decoded", count, sum(int(pixels.sum()) for i in range(len(reader)) for pixels in reader.pair(i)))
"""


def start(data: Path, kill_at: int = 0) -> subprocess.Popen:
    """Start a process that opens the cache as soon as it gets a line."""
    words = [sys.executable, "-c", OTHER_PROCESS, str(data), str(kill_at)]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def release(processes: list[subprocess.Popen]) -> list[list[str]]:
    """Let processes that are ready open the cache, at the same time -> the lines of each."""
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * len(processes)
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return [process.communicate(timeout=60)[0].splitlines() for process in processes]


def test_killed_build_is_continued_and_nothing_of_it_is_taken_for_complete(data, tmp_path, decoded):
    process = start(data, kill_at=5)  # in the second of two scenes
    release([process])
    assert process.returncode == -9
    assert [path.name.split(".")[0] for path in (tmp_path / "cache").glob("*/[0-9]*.npy")] == SCENES[:1]
    assert_right(open_set(data, tmp_path / "cache"), data)
    assert len(decoded) == 3  # the first scene was complete
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_two_processes_at_once_decode_nothing_twice(data):
    processes = [start(data), start(data)]
    lines = release(processes)
    assert [process.returncode for process in processes] == [0, 0], lines
    assert sum("waiting" in line for each in lines for line in each) == 1, lines
    decoded, sums = zip(*(map(int, each[-1].split()[1:]) for each in lines))
    assert sorted(decoded) == [0, 6]
    assert set(sums) == {sum(int(read_image(path).sum()) for path in data.rglob("*.png"))}


def test_image_damaged_in_its_middle_is_named(data, tmp_path):
    path = sorted((data / SCENES[1] / "noisy").iterdir())[0]
    change(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=path.name):
        open_set(data, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.tmp"))


# Uncropped frames.


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """parts/ with two frames that are cut in four and six and one that is not, and crops/ of them."""
    root = tmp_path_factory.mktemp("frames")
    for number, (scene, shape) in enumerate(
        [(SCENES[0], (801, 801)), (SCENES[0], (810, 900)), (SCENES[1], (700, 900))]
    ):
        write_pair(root / "parts" / scene, number, shape, cropped=False)
    for scene in SCENES:
        for pair in find_frames(root / "parts" / scene)[0]:
            crop_pair(CropJob(*pair, root / "crops" / scene), PUBLISHED_CROPS)
    return root


def test_uncropped_frames_give_the_same_samples_and_names_as_their_crops(frames, tmp_path):
    cut, crops = open_set(frames / "parts", tmp_path), open_set(frames / "crops", None)
    assert len(cut) == 2 * 2 + 2 * 3 + 1  # columns begin at 0 and 289; at 0, 384 and 388
    assert all(map(torch.equal, samples(cut), samples(crops)))
    for one, other in zip(whole_image_loader(cut, 0), whole_image_loader(crops, 0)):
        assert one["name"][0].replace("parts", "crops") == other["name"][0]
        assert torch.equal(one["clean"], other["clean"]) and torch.equal(one["noisy"], other["noisy"])
    assert pairs_fingerprint(cut.pairs) == pairs_fingerprint(crops.pairs)


def test_cache_of_frames_is_smaller_than_that_of_their_crops(frames, tmp_path):
    def size(kind):
        open_set(frames / kind, tmp_path / kind)
        return sum(path.stat().st_size for path in (tmp_path / kind).rglob("*.npy"))

    assert size("parts") < 0.75 * size("crops")  # 2.0 of 3.3 million pixels


def test_frames_without_a_cache_are_refused(frames):
    with pytest.raises(ValueError, match=r"whole frames.*Crop_SIDD"):
        open_set(frames / "parts", None)


# The training command.


def train(root: Path, *more: str, save: str) -> None:
    main_train_jointly.main(command(root, *more, save=save))


def test_run_on_frames_and_its_resume_give_the_weights_of_a_run_on_crops(tmp_path):
    make_camera(tmp_path)
    shutil.rmtree(tmp_path / "crops")
    *train_scenes, test_scene = [
        name for half in ("train", "test") for name in read_list(tmp_path / f"lists/ZZ_{half}.txt")
    ]
    for number, scene in enumerate(train_scenes):
        write_pair(tmp_path / "parts" / scene, number, (801, 801) if number == 0 else (64, 48), cropped=False)
    write_pair(tmp_path / "parts" / test_scene, 9, (64, 64), cropped=False)
    for scene in (*train_scenes, test_scene):
        for pair in find_frames(tmp_path / "parts" / scene)[0]:
            crop_pair(CropJob(*pair, tmp_path / "crops" / scene), PUBLISHED_CROPS)
    parts = ("--train_img_dir", str(tmp_path / "parts"))
    train(tmp_path, "--epochs", "1", save="on_crops")  # 4 + 3 crops in batches of 2
    train(tmp_path, "--epochs", "1", *parts, save="on_frames")
    train(tmp_path, "--epochs", "1", "--steps", "1", save="mixed")
    train(tmp_path, "--epochs", "1", *parts, save="mixed")
    assert int(weights(tmp_path, "on_crops")["step"]) == 3
    assert_same(weights(tmp_path, "on_frames"), weights(tmp_path, "on_crops"))
    assert_same(weights(tmp_path, "mixed"), weights(tmp_path, "on_crops"))


def test_run_without_the_cache_gives_the_same_weights(tmp_path):
    make_camera(tmp_path)
    train(tmp_path, "--epochs", "2", save="cached")
    assert list((tmp_path / "cache").rglob("*.npy"))
    shutil.rmtree(tmp_path / "cache")
    train(tmp_path, "--epochs", "2", "--no_cache", save="plain")
    assert not (tmp_path / "cache").exists()
    train(tmp_path, "--epochs", "1", "--cache_dir", str(tmp_path / "elsewhere"), save="mixed")
    train(tmp_path, "--epochs", "2", "--no_cache", save="mixed")
    assert list((tmp_path / "elsewhere").rglob("*.npy"))
    assert_same(weights(tmp_path, "cached"), weights(tmp_path, "plain"))
    assert_same(weights(tmp_path, "mixed"), weights(tmp_path, "plain"))


def test_testing_alone_decodes_no_training_images(tmp_path):
    make_camera(tmp_path)
    train(tmp_path, "--epochs", "1", save="saves")
    shutil.rmtree(tmp_path / "cache")
    train(tmp_path, "--epochs", "1", "--not_train", save="saves")
    assert [path.name[:4] for path in (tmp_path / "cache").rglob("*.npy")] == ["0005"]


def test_run_whose_samples_were_drawn_otherwise_is_not_resumed(tmp_path):
    make_camera(tmp_path)
    train(tmp_path, "--epochs", "1", save="saves")
    options = tmp_path / "saves" / CAMERA / "options.json"
    older = json.loads(options.read_text())
    del older["sampling"]
    options.write_text(json.dumps(older))
    with pytest.raises(ValueError, match="sampling by patch, not by step"):
        train(tmp_path, "--epochs", "2", save="saves")


def test_files_of_images_that_have_changed_make_room_for_the_new_ones(data, tmp_path, monkeypatch):
    open_set(data, tmp_path / "cache")
    for path in data.rglob("*.png"):
        os.utime(path, ns=(0, 0))

    def usage(path):
        taken = sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*.npy"))
        return shutil._ntuple_diskusage(50_000, taken, 50_000 - taken)

    assert usage(tmp_path).used > 25_000
    monkeypatch.setattr(cache.shutil, "disk_usage", usage)
    assert_right(open_set(data, tmp_path / "cache"), data)


def many_scenes(root: Path, count: int = 40) -> Path:
    for number in range(count):
        write_pair(root / "data" / f"{number:04d}_001_ZZ_00800_00100_5500_N", number, (16, 16))
    return root / "data"


@pytest.fixture
def few_files():
    """Let this process open some 40 files more, until it asks for more -> the limits."""
    set_limit, (soft, hard) = resource.setrlimit, resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 40
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    yield few, hard
    set_limit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files by Linux's /proc")
@pytest.mark.parametrize("can_be_raised", [False, True])
def test_more_scenes_than_files_may_be_open_are_read(tmp_path, monkeypatch, few_files, can_be_raised):
    def refused(*limits):
        raise ValueError("not allowed to raise maximum limit")

    data = many_scenes(tmp_path)
    if not can_be_raised:
        monkeypatch.setattr(resource, "setrlimit", refused)
    readers = [open_set(data, tmp_path / "cache") for _ in range(2)]  # one trains, one tests
    before = len(os.listdir("/proc/self/fd"))
    for reader in readers:
        assert_right(reader, data)
    kept = (len(os.listdir("/proc/self/fd")) - before) / 2
    assert kept == (40 if can_be_raised else few_files[0] // 4)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EMFILE, "Too many open files); raise the limit of open files (ulimit -n)"),
        (errno.ENOMEM, "Cannot allocate memory)"),
        (errno.ENODEV, "No such device)"),  # a file system without memory maps
    ],
)
def test_what_the_system_does_not_map_is_neither_rebuilt_nor_called_changed(data, monkeypatch, number, words):
    def refused(*args, **options):
        raise OSError(number, os.strerror(number))

    reader = open_set(data, data.parent / "cache")
    before = cached_file(data).stat().st_mtime_ns
    monkeypatch.setattr("data.cache.np.load", refused)
    for use in (lambda: reader.pair(0), lambda: open_set(data, data.parent / "cache")):
        with pytest.raises(ValueError, match=one_line(SCENES[0], "cannot be mapped into memory", words)):
            use()
    assert cached_file(data).stat().st_mtime_ns == before
