"""main_eval.py submit: what is written, resuming, and what is refused, with small benchmarks of the exact formats."""

import base64
import contextlib
import csv
import io
import logging
import threading

import numpy as np
import pytest
import scipy.io
import torch

import main_eval
from data.benchmarks import sidd as sidd_files
from data.benchmarks.dnd import DndLayout, find_dnd
from data.benchmarks.sidd import read_benchmark
from evaluation.submission import BlockSubmission, DndSubmission
from tests.conftest import contents
from tests.mat import write_v5, write_v73
from tests.tiny import CONFIGS, tiny_networks
from utils.checkpoints import save_checkpoint

SHAPE = (3, 2, 8, 6, 3)
LAYOUT = DndLayout(images=2, crops=3, size=4)
BOXES = np.array([[[1, 1, 4, 4], [3, 2, 6, 5], [5, 9, 8, 12]], [[2, 1, 5, 4], [1, 3, 4, 6], [5, 5, 8, 8]]], float)
LOG = logging.getLogger("test")
BLOCKS = "BenchmarkNoisyBlocksSrgb"


class Brighter:
    """A denoiser that stretches values beyond [0, 1]; after `calls` calls it is interrupted, or gives NaN."""

    def __init__(self, calls: int = 10**9, name: str = "brighter", nan: bool = False):
        self.left, self.name, self.nan, self.calls = calls, name, nan, 0
        self.identity, self.classic, self.weights = f"{name} by 1.5", False, {}
        self.threads = set()

    def denoise(self, noisy):
        if self.calls == self.left and not self.nan:
            raise KeyboardInterrupt
        self.calls += 1
        assert noisy.dtype == np.float32
        assert noisy.flags.c_contiguous
        self.threads.add(threading.current_thread().name)
        denoised = noisy * 1.5 - np.float32(0.201)
        if self.nan and self.calls > self.left:
            denoised[-1, -1, -1] = np.nan
        return denoised


def expected_value(value: int) -> int:
    """Brighter's 8-bit value, by the definition of rounding."""
    return min(255, max(0, int(np.floor(value * 1.5 - 0.201 * 255 + 0.5))))


TABLE = np.array([expected_value(value) for value in range(256)], np.uint8)


@pytest.fixture
def blocks(tmp_path, monkeypatch):
    """A small benchmark of SIDD: its noisy blocks."""
    monkeypatch.setattr(sidd_files, "BENCHMARK_SHAPE", SHAPE)
    blocks = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    write_v5(tmp_path / f"{BLOCKS}.mat", {BLOCKS: blocks})
    return blocks


@pytest.fixture
def images(tmp_path):
    """A small DND: its noisy images."""
    images = [np.random.default_rng(image).random((8, 12, 3), np.float32) for image in range(2)]
    cells = np.empty((1, 2), object)
    for number, image in enumerate(images):
        write_v73(tmp_path / "dnd" / "images_srgb" / f"{number + 1:04d}.mat", {"InoisySRGB": image})
        cells[0, number] = BOXES[number]
    write_v73(tmp_path / "dnd" / "info.mat", {"info": {"boundingboxes": cells}})
    return images


def submit_blocks(root, denoiser=None, output: str = "out/S.csv", benchmark: str = "kaggle") -> Brighter:
    denoiser = denoiser or Brighter()
    source = root / f"{BLOCKS}.mat"
    BlockSubmission(source, read_benchmark(source), root / output, benchmark, denoiser).make(2, LOG)
    return denoiser


def submit_dnd(root, denoiser=None, output: str = "out") -> Brighter:
    denoiser = denoiser or Brighter()
    DndSubmission(find_dnd(root / "dnd", LAYOUT), root / output, denoiser).make(2, LOG)
    return denoiser


def refusal(submit, root, *args, **more) -> str:
    """Return the one line of a refused submission."""
    with pytest.raises(ValueError) as error:
        submit(root, *args, **more)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("write", [write_v5, write_v73])
def test_kaggle_csv_has_the_denoised_blocks_clipped_and_rounded(blocks, tmp_path, write):
    write(tmp_path / f"{BLOCKS}.mat", {BLOCKS: blocks})
    submit_blocks(tmp_path)
    with open(tmp_path / "out" / "S.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["ID", "BLOCK"]
    assert len(rows) == 7
    for number, (text_id, text) in enumerate(rows[1:]):
        assert text_id == str(number)
        assert base64.b64decode(text) == TABLE[blocks[number // 2, number % 2]].tobytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["S.csv", "S.csv.json"]


def test_classic_denoisers_work_in_threads_and_give_the_same(blocks, images, tmp_path):
    for submit, suffix in ((submit_blocks, ".csv"), (submit_dnd, "")):
        denoiser = submit(tmp_path, output=f"one{suffix}")
        assert denoiser.threads == {"MainThread"}
        denoiser.threads, denoiser.classic = set(), True
        submit(tmp_path, denoiser, output=f"two{suffix}")
        assert denoiser.threads
        assert "MainThread" not in denoiser.threads
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    np.testing.assert_equal(pixels(tmp_path / "one"), pixels(tmp_path / "two"))


def test_older_server_gets_a_cell_array_of_the_same_blocks(blocks, tmp_path):
    submit_blocks(tmp_path, output="out/S.mat", benchmark="sidd-mat")
    assert scipy.io.whosmat(tmp_path / "out" / "S.mat") == [("DenoisedBlocksSrgb", (3, 2), "cell")]
    cells = scipy.io.loadmat(tmp_path / "out" / "S.mat")["DenoisedBlocksSrgb"]
    for index in np.ndindex(3, 2):
        assert cells[index].dtype == np.uint8
        np.testing.assert_array_equal(cells[index], TABLE[blocks[index]])


def test_interrupted_sidd_submission_continues_with_the_next_image(blocks, tmp_path):
    submit_blocks(tmp_path, output="whole.csv")
    with pytest.raises(KeyboardInterrupt):
        submit_blocks(tmp_path, Brighter(calls=3))  # of two blocks an image
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["S.csv.json", "S.csv.work"]
    assert submit_blocks(tmp_path).calls == 4
    assert (tmp_path / "out" / "S.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_damaged_part_of_an_interrupted_submission_is_denoised_again(blocks, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        submit_blocks(tmp_path, Brighter(calls=4))
    work = tmp_path / "out" / "S.csv.work"
    (work / "0001.npy").write_bytes((work / "0001.npy").read_bytes()[:-1])
    (work / ".0003.1234.tmp.npy").write_bytes(b"left by a kill")
    assert submit_blocks(tmp_path).calls == 4
    assert not work.exists()


def test_leftover_of_a_kill_while_the_record_was_written_is_removed(blocks, tmp_path):
    (tmp_path / "out").mkdir()
    for name in (".S.csv.123.tmp.json", ".T.csv.123.tmp.json"):
        (tmp_path / "out" / name).write_bytes(b"")
    submit_blocks(tmp_path)
    assert sorted(contents(tmp_path / "out")) == [".T.csv.123.tmp.json", "S.csv", "S.csv.json"]


def test_kill_before_the_parts_are_removed_is_made_good(blocks, tmp_path):
    submit_blocks(tmp_path)
    work = tmp_path / "out" / "S.csv.work"
    work.mkdir()
    (work / "0001.npy").write_bytes(b"denoised")
    assert submit_blocks(tmp_path).calls == 0
    assert not work.exists()


def test_complete_submissions_are_left_as_they_are(blocks, images, tmp_path):
    submit_blocks(tmp_path)
    submit_dnd(tmp_path, output="dnd_out")
    before = contents(tmp_path)
    assert submit_blocks(tmp_path).calls == submit_dnd(tmp_path, output="dnd_out").calls == 0
    assert contents(tmp_path) == before


@pytest.mark.parametrize("calls", [10**9, 3], ids=["complete", "interrupted"])
def test_changed_settings_are_refused_by_name(blocks, tmp_path, calls):
    with contextlib.suppress(KeyboardInterrupt):
        submit_blocks(tmp_path, Brighter(calls))
    before = contents(tmp_path)
    message = refusal(submit_blocks, tmp_path, Brighter(name="darker"))
    assert "was begun with denoiser brighter by 1.5, not darker by 1.5" in message
    assert contents(tmp_path) == before
    write_v5(tmp_path / f"{BLOCKS}.mat", {BLOCKS: 255 - blocks})
    assert "was begun with inputs SHA-256 " in refusal(submit_blocks, tmp_path)


def test_files_that_are_not_ours_are_refused_and_stay(blocks, images, tmp_path):
    output, record = tmp_path / "out" / "S.csv", tmp_path / "out" / "S.csv.json"
    output.parent.mkdir()
    output.write_text("mine")
    assert f"{output}: is there, but" in refusal(submit_blocks, tmp_path)
    assert contents(output.parent) == {"S.csv": b"mine"}
    output.unlink()
    record.write_text("[")
    assert f"{record}: missing or damaged" in refusal(submit_blocks, tmp_path)
    assert contents(output.parent) == {"S.csv.json": b"["}
    record.unlink()
    for submit, part in ((submit_blocks, "S.csv.work/0001.npy"), (submit_dnd, "0001_01.mat")):
        path = tmp_path / "out" / part
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"of unknown settings")
        assert f"{path}: is there, but" in refusal(submit, tmp_path)


def test_nothing_but_our_own_parts_is_removed(blocks, tmp_path):
    work = tmp_path / "out" / "S.csv.work"
    work.mkdir(parents=True)
    (work / "notes.txt").write_text("mine")
    submit_blocks(tmp_path)
    assert [path.name for path in work.iterdir()] == ["notes.txt"]


def test_nan_of_a_denoiser_names_image_and_block_and_leaves_no_output(blocks, tmp_path):
    message = refusal(submit_blocks, tmp_path, Brighter(calls=3, nan=True))
    assert message.startswith("image 2, block 2: brighter gives values that are NaN or infinite")
    assert not (tmp_path / "out" / "S.csv").exists()
    assert not list((tmp_path / "out").rglob("*0002*"))


def test_denoiser_that_changes_the_size_is_refused(blocks, tmp_path):
    denoiser = Brighter()
    denoiser.denoise = lambda noisy: noisy[1:]
    message = refusal(submit_blocks, tmp_path, denoiser)
    assert "image 1, block 1: brighter gives (7, 6, 3), expected (8, 6, 3)" in message


def dnd_crops(images) -> dict[str, np.ndarray]:
    """The denoised crops by name, cut as MATLAB cuts: y1:y2, x1:x2."""
    crops = {}
    for image, boxes in enumerate(BOXES.astype(int)):
        for number, (y1, x1, y2, x2) in enumerate(boxes):
            crop = [[images[image][y - 1, x - 1] for x in range(x1, x2 + 1)] for y in range(y1, y2 + 1)]
            denoised = np.array(crop) * np.float32(1.5) - np.float32(0.201)
            crops[f"{image + 1:04d}_{number + 1:02d}"] = np.minimum(1, np.maximum(0, denoised))
    return crops


def test_dnd_crops_are_denoised_clipped_and_bundled(images, tmp_path):
    submit_dnd(tmp_path)
    expected = dnd_crops(images)
    out = tmp_path / "out"
    assert sorted(path.stem for path in out.glob("*.mat")) == sorted(expected)
    assert sorted(path.name for path in (out / "bundled").iterdir()) == ["0001.mat", "0002.mat"]
    for name, crop in expected.items():
        image, number = name.split("_")
        assert ("israw", (1, 1), "logical") in scipy.io.whosmat(out / "bundled" / f"{image}.mat")
        bundle = scipy.io.loadmat(out / "bundled" / f"{image}.mat")
        assert (bundle["israw"].item(), bundle["eval_version"].item()) == (0, "1.0")
        bundled = bundle["Idenoised"].squeeze()
        assert bundled.shape == (3,)
        for found in (scipy.io.loadmat(out / f"{name}.mat")["Idenoised_crop"], bundled[int(number) - 1]):
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, crop)


def test_interrupted_dnd_submission_continues_with_the_next_crop(images, tmp_path):
    submit_dnd(tmp_path, output="whole")
    with pytest.raises(KeyboardInterrupt):
        submit_dnd(tmp_path, Brighter(calls=4))
    crop = tmp_path / "out" / "0001_02.mat"
    crop.write_bytes(crop.read_bytes()[:-1])  # a disk error, say
    (tmp_path / "out" / ".0002_02.1234.tmp.mat").write_bytes(b"left by a kill")
    assert submit_dnd(tmp_path).calls == 3
    assert not list((tmp_path / "out").glob(".*.tmp*"))
    whole, resumed = (pixels(tmp_path / name) for name in ("whole", "out"))
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_removed_product_is_made_again_of_what_is_there(blocks, images, tmp_path):
    for submit, product, calls in ((submit_blocks, "S.csv", 6), (submit_dnd, "bundled/0002.mat", 0)):
        submit(tmp_path)
        (tmp_path / "out" / product).unlink()
        assert submit(tmp_path).calls == calls
        assert (tmp_path / "out" / product).exists()


def pixels(folder) -> dict[str, np.ndarray]:
    """The bundled crops; the files themselves have their date in them."""
    files = sorted((folder / "bundled").iterdir())
    return {path.name: np.stack(list(scipy.io.loadmat(path)["Idenoised"].squeeze())) for path in files}


def test_dnd_folder_of_other_settings_or_inputs_is_refused(images, tmp_path):
    submit_dnd(tmp_path)
    before = contents(tmp_path)
    message = refusal(submit_dnd, tmp_path, Brighter(name="darker"))
    assert "was begun with denoiser brighter by 1.5, not darker by 1.5" in message
    assert contents(tmp_path) == before
    info = tmp_path / "dnd" / "info.mat"
    info.rename(tmp_path / "info.mat")
    write_v5(info, {"boundingboxes": BOXES[::-1]})
    assert "was begun with inputs SHA-256 " in refusal(submit_dnd, tmp_path)
    (tmp_path / "info.mat").rename(info)
    submit_dnd(tmp_path, Brighter(calls=0))
    write_v5(tmp_path / "dnd" / "images_srgb" / "0002.mat", {"InoisySRGB": images[0]})
    assert "was begun with inputs SHA-256 " in refusal(submit_dnd, tmp_path)


def test_missing_dnd_files_and_nan_are_named(images, tmp_path):
    message = refusal(submit_dnd, tmp_path, Brighter(calls=4, nan=True))
    assert message.startswith("image 0002, crop 2: brighter gives values that are NaN or infinite")
    assert sorted(path.name for path in (tmp_path / "out").glob("*_*.mat"))[-1] == "0002_01.mat"
    assert not (tmp_path / "out" / "bundled" / "0002.mat").exists()
    (tmp_path / "dnd" / "images_srgb" / "0002.mat").unlink()
    assert "0002.mat: no such file, expected 2 images" in refusal(submit_dnd, tmp_path)
    (tmp_path / "dnd" / "info.mat").unlink()
    assert "info.mat: cannot be read (No such file" in refusal(submit_dnd, tmp_path)


def command(root, *more, benchmark: str = "kaggle", denoiser: str = "noisy") -> None:
    words = ["submit", "--benchmark", benchmark, "--denoiser", denoiser, "--device", "cpu", *map(str, more)]
    main_eval.main(words)


@pytest.mark.parametrize("benchmark, output", [("kaggle", "S.csv"), ("sidd-mat", "S.mat")])
def test_command_makes_a_submission_of_a_training_run(blocks, tmp_path, capsys, benchmark, output):
    """The whole command with a tiny DnCNN, against its network applied to each block."""
    network = tiny_networks(dtype=torch.float32)["G3"].eval()
    content = {"epoch": 3, "model_state_dict": network.state_dict(), "config": CONFIGS["G3"]}
    save_checkpoint(tmp_path / "run" / "models" / "checkpoint_G3_3.pth", content)
    files = ["--blocks", tmp_path / f"{BLOCKS}.mat", "--output", tmp_path / output]
    command(tmp_path, *files, benchmark=benchmark, denoiser=str(tmp_path / "run"))
    assert f"complete: {tmp_path / output}; upload it to" in capsys.readouterr().out
    if benchmark == "kaggle":
        rows = list(csv.DictReader(io.StringIO((tmp_path / output).read_text())))
        written = [np.frombuffer(base64.b64decode(row["BLOCK"]), np.uint8).reshape(SHAPE[2:]) for row in rows]
    else:
        written = list(scipy.io.loadmat(tmp_path / output)["DenoisedBlocksSrgb"].ravel())
    for noisy, found in zip(blocks.reshape(6, *SHAPE[2:]), written, strict=True):
        image = torch.from_numpy(noisy.astype(np.float32) / 255).permute(2, 0, 1)[None]
        with torch.no_grad():
            expected = network(image)[0].permute(1, 2, 0).double().clamp(0, 1).numpy() * 255
        assert np.abs(found - expected).max() <= 0.5 + 1e-3
    with pytest.raises(ValueError, match=r"was begun with denoiser .*; change --output"):
        command(tmp_path, *files, "--self_ensemble", benchmark=benchmark, denoiser=str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"output": None}, "--benchmark kaggle: needs --output"),
        ({"blocks": None}, "--benchmark kaggle: needs --blocks"),
        ({"dnd_dir": "x"}, "--benchmark kaggle: does not take --dnd_dir"),
        ({"benchmark": "dnd"}, "--benchmark dnd: does not take --blocks"),
        ({"output": "S.mat"}, "S.mat: expected a name that ends in .csv; change --output"),
        ({"benchmark": "sidd-mat", "output": "S.csv"}, "S.csv: expected a name that ends in .mat; change --output"),
        ({"blocks": "V.mat"}, f"V.mat: has V, expected a variable {BLOCKS}; change --blocks"),
        ({"blocks": "Small.mat"}, f"{BLOCKS} is 2x2x8x6x3, expected 3x2x8x6x3 as published; change --blocks"),
        ({"blocks": "none.mat"}, "none.mat: cannot be read (No such file or directory); change --blocks"),
        ({"denoiser": "none.pth"}, "none.pth: no such checkpoint or folder; change --denoiser"),
    ],
)
def test_command_refuses_what_does_not_fit_before_anything_is_made(blocks, tmp_path, monkeypatch, given, expected):
    monkeypatch.chdir(tmp_path)
    write_v5(tmp_path / "V.mat", {"V": blocks})
    write_v5(tmp_path / "Small.mat", {BLOCKS: blocks[:2]})
    before = contents(tmp_path)
    options = {"blocks": f"{BLOCKS}.mat", "output": "S.csv", "benchmark": "kaggle", "denoiser": "noisy"} | given
    benchmark, denoiser = options.pop("benchmark"), options.pop("denoiser")
    words = [word for name, value in options.items() if value for word in (f"--{name}", value)]
    assert expected in refusal(command, tmp_path, *words, benchmark=benchmark, denoiser=denoiser)
    assert contents(tmp_path) == before
