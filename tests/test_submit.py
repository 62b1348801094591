"""main_eval.py submit: what is written, resuming, and what is refused, with small benchmarks of the exact formats."""

import base64
import csv
import io
import json
import logging
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch

import main_eval
from data.benchmarks.dnd import DndLayout
from evaluation import submission
from evaluation.submission import submit
from evaluation.submission_folder import Submission
from tests.mat import write_v5, write_v73
from tests.tiny import CONFIGS, tiny_networks
from utils.checkpoints import save_checkpoint

SHAPE = (3, 2, 8, 6, 3)
LAYOUT = DndLayout(images=2, crops=3, size=4)
BOXES = np.array([[[1, 1, 4, 4], [3, 2, 6, 5], [5, 9, 8, 12]], [[2, 1, 5, 4], [1, 3, 4, 6], [5, 5, 8, 8]]], float)
LOG = logging.getLogger("test")


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
def sidd(tmp_path, monkeypatch):
    """The arguments of a small SIDD submission, and its noisy blocks."""
    monkeypatch.setattr(submission, "BENCHMARK_SHAPE", SHAPE)
    blocks = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    write_v5(tmp_path / "BenchmarkNoisyBlocksSrgb.mat", {"BenchmarkNoisyBlocksSrgb": blocks})
    return arguments(
        "kaggle", blocks=tmp_path / "BenchmarkNoisyBlocksSrgb.mat", output=tmp_path / "out" / "S.csv"
    ), blocks


@pytest.fixture
def dnd(tmp_path, monkeypatch):
    """The arguments of a small DND submission, and its noisy images."""
    monkeypatch.setattr(submission, "DND_LAYOUT", LAYOUT)
    images = [np.random.default_rng(image).random((8, 12, 3), np.float32) for image in range(2)]
    cells = np.empty((1, 2), object)
    for number, image in enumerate(images):
        write_v73(tmp_path / "dnd" / "images_srgb" / f"{number + 1:04d}.mat", {"InoisySRGB": image})
        cells[0, number] = BOXES[number]
    write_v73(tmp_path / "dnd" / "info.mat", {"info": {"boundingboxes": cells}})
    return arguments("dnd", dnd_dir=tmp_path / "dnd", output_dir=tmp_path / "out"), images


def arguments(benchmark: str, **more) -> SimpleNamespace:
    files = dict.fromkeys(("blocks", "output", "dnd_dir", "output_dir")) | {k: str(v) for k, v in more.items()}
    return SimpleNamespace(benchmark=benchmark, num_workers=2, **files)


def changed(args: SimpleNamespace, **more) -> SimpleNamespace:
    return SimpleNamespace(**vars(args) | more)


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(args: SimpleNamespace, denoiser=None) -> str:
    """The one line of a refused submission, which must not denoise anything."""
    denoiser = denoiser or Brighter()
    with pytest.raises(ValueError) as error:
        submit(args, denoiser, LOG)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("write", [write_v5, write_v73])
def test_kaggle_csv_has_the_denoised_blocks_clipped_and_rounded(sidd, tmp_path, write):
    args, blocks = sidd
    write(tmp_path / "BenchmarkNoisyBlocksSrgb.mat", {"BenchmarkNoisyBlocksSrgb": blocks})
    submit(args, Brighter(), LOG)
    with open(args.output, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["ID", "BLOCK"]
    assert len(rows) == 7
    for number, (text_id, text) in enumerate(rows[1:]):
        assert text_id == str(number)
        assert base64.b64decode(text) == TABLE[blocks[number // 2, number % 2]].tobytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["S.csv", "S.csv.json"]


def test_classic_denoisers_work_in_threads_and_give_the_same(sidd, dnd, tmp_path):
    for args in (sidd[0], dnd[0]):
        denoiser = Brighter()
        submit(changed(args, **places(args, tmp_path / "one")), denoiser, LOG)
        assert denoiser.threads == {"MainThread"}
        denoiser.threads, denoiser.classic = set(), True
        submit(changed(args, **places(args, tmp_path / "two")), denoiser, LOG)
        assert denoiser.threads
        assert "MainThread" not in denoiser.threads
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    np.testing.assert_equal(_pixels(tmp_path / "one"), _pixels(tmp_path / "two"))


def places(args, path) -> dict[str, str]:
    return {"output": f"{path}.csv"} if args.output else {"output_dir": str(path)}


def test_older_server_gets_a_cell_array_of_the_same_blocks(sidd, tmp_path):
    args, blocks = sidd
    submit(changed(args, benchmark="sidd-mat", output=str(tmp_path / "out" / "S.mat")), Brighter(), LOG)
    cells = scipy.io.loadmat(tmp_path / "out" / "S.mat")["DenoisedBlocksSrgb"]
    for index in np.ndindex(3, 2):
        np.testing.assert_array_equal(cells[index], TABLE[blocks[index]])


def test_interrupted_sidd_submission_continues_with_the_next_image(sidd, tmp_path):
    args, _ = sidd
    submit(changed(args, output=str(tmp_path / "whole.csv")), Brighter(), LOG)
    with pytest.raises(KeyboardInterrupt):
        submit(args, Brighter(calls=3), LOG)  # of two blocks an image
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["S.csv.json", "S.csv.work"]
    denoiser = Brighter()
    submit(args, denoiser, LOG)
    assert denoiser.calls == 4
    assert (tmp_path / "out" / "S.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_damaged_part_of_an_interrupted_submission_is_denoised_again(sidd, tmp_path):
    args, _ = sidd
    with pytest.raises(KeyboardInterrupt):
        submit(args, Brighter(calls=4), LOG)
    work = tmp_path / "out" / "S.csv.work"
    (work / "0001.npy").write_bytes((work / "0001.npy").read_bytes()[:-1])
    (work / ".0003.1234.tmp.npy").write_bytes(b"left by a kill")
    denoiser = Brighter()
    submit(args, denoiser, LOG)
    assert denoiser.calls == 4
    assert not work.exists()


def test_kill_before_the_last_record_is_made_good(sidd, monkeypatch):
    args, _ = sidd
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Submission, "complete", lambda self: Brighter(calls=0).denoise(None))
        submit(args, Brighter(), LOG)
    denoiser = Brighter()
    submit(args, denoiser, LOG)
    assert denoiser.calls == 0
    assert json.loads(Path(args.output + ".json").read_text())["written"]


def test_complete_submission_is_left_as_it_is(sidd, tmp_path):
    args, _ = sidd
    submit(args, Brighter(), LOG)
    before = contents(tmp_path)
    denoiser = Brighter()
    submit(args, denoiser, LOG)
    assert denoiser.calls == 0
    assert contents(tmp_path) == before


@pytest.mark.parametrize("done", [True, False], ids=["complete", "interrupted"])
def test_changed_settings_are_refused_by_name(sidd, tmp_path, done):
    args, blocks = sidd
    if done:
        submit(args, Brighter(), LOG)
    else:
        with pytest.raises(KeyboardInterrupt):
            submit(args, Brighter(calls=3), LOG)
    before = contents(tmp_path)
    assert "was begun with denoiser brighter by 1.5, not darker by 1.5; choose another --output" in refusal(
        args, Brighter(name="darker")
    )
    assert contents(tmp_path) == before
    write_v5(tmp_path / "BenchmarkNoisyBlocksSrgb.mat", {"BenchmarkNoisyBlocksSrgb": 255 - blocks})
    assert "was begun with inputs SHA-256 " in refusal(args)


def test_files_that_are_not_ours_are_refused_and_stay(sidd, tmp_path):
    args, _ = sidd
    output, record = tmp_path / "out" / "S.csv", tmp_path / "out" / "S.csv.json"
    output.parent.mkdir()
    output.write_text("mine")
    assert f"{output}: is there, but not from this command" in refusal(args)
    assert contents(output.parent) == {"S.csv": b"mine"}
    output.unlink()
    for damaged in ("", "[]", "{}", '{"version": 99, "settings": {}, "written": {}}'):
        record.write_text(damaged)
        assert f"{record}: damaged or no submission's record" in refusal(args)
        assert contents(output.parent) == {"S.csv.json": damaged.encode()}
    record.unlink()
    work = tmp_path / "out" / "S.csv.work"
    work.mkdir()
    (work / "0001.npy").write_bytes(b"of unknown settings")
    assert f"{work / '0001.npy'}: is there" in refusal(args)


def test_nothing_but_our_own_parts_is_removed(sidd, tmp_path):
    args, _ = sidd
    work = tmp_path / "out" / "S.csv.work"
    work.mkdir(parents=True)
    (work / "notes.txt").write_text("mine")
    submit(args, Brighter(), LOG)
    assert [path.name for path in work.iterdir()] == ["notes.txt"]


def test_nan_of_a_denoiser_names_image_and_block_and_leaves_no_output(sidd, tmp_path):
    args, _ = sidd
    message = refusal(args, Brighter(calls=3, nan=True))
    assert message.startswith("image 2, block 2: brighter gives values that are NaN or infinite")
    assert not (tmp_path / "out" / "S.csv").exists()
    assert not list((tmp_path / "out").rglob("*0002*"))


def test_denoiser_that_changes_the_size_is_refused(sidd):
    denoiser = Brighter()
    denoiser.denoise = lambda noisy: noisy[1:]
    assert "image 1, block 1: brighter gives (7, 6, 3), expected (8, 6, 3)" in refusal(sidd[0], denoiser)


def test_other_blocks_than_the_benchmarks_are_refused_before_anything_is_made(sidd, tmp_path, monkeypatch):
    args, blocks = sidd
    write_v5(tmp_path / "V.mat", {"ValidationNoisyBlocksSrgb": blocks})
    message = refusal(changed(args, blocks=str(tmp_path / "V.mat")))
    assert "V.mat: has ValidationNoisyBlocksSrgb, expected a variable BenchmarkNoisyBlocksSrgb" in message
    assert "no such file" in refusal(changed(args, blocks=str(tmp_path / "none.mat")))
    monkeypatch.setattr(submission, "BENCHMARK_SHAPE", (40, 32, 256, 256, 3))
    assert "is 3x2x8x6x3, expected 40x32x256x256x3 as published" in refusal(args)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"output": None}, "--benchmark kaggle: needs --output"),
        ({"blocks": None}, "--benchmark kaggle: needs --blocks"),
        ({"dnd_dir": "x"}, "--benchmark kaggle: does not take --dnd_dir"),
        ({"benchmark": "dnd"}, "--benchmark dnd: does not take --blocks"),
        ({"output": "S.mat"}, "--output S.mat: expected a name that ends in .csv"),
        ({"benchmark": "sidd-mat", "output": "S.csv"}, "--output S.csv: expected a name that ends in .mat"),
    ],
)
def test_options_of_another_benchmark_are_refused(sidd, change, expected):
    assert expected in refusal(changed(sidd[0], **change))


def dnd_crops(images) -> dict[str, np.ndarray]:
    """The denoised crops by name, cut as MATLAB cuts: y1:y2, x1:x2."""
    crops = {}
    for image, boxes in enumerate(BOXES.astype(int)):
        for number, (y1, x1, y2, x2) in enumerate(boxes):
            crop = [[images[image][y - 1, x - 1] for x in range(x1, x2 + 1)] for y in range(y1, y2 + 1)]
            denoised = np.array(crop) * np.float32(1.5) - np.float32(0.201)
            crops[f"{image + 1:04d}_{number + 1:02d}"] = np.minimum(1, np.maximum(0, denoised))
    return crops


def test_dnd_crops_are_denoised_clipped_and_bundled(dnd, tmp_path):
    args, images = dnd
    submit(args, Brighter(), LOG)
    expected = dnd_crops(images)
    out = tmp_path / "out"
    assert sorted(path.stem for path in out.glob("*.mat")) == sorted(expected)
    assert sorted(path.name for path in (out / "bundled").iterdir()) == ["0001.mat", "0002.mat"]
    for name, crop in expected.items():
        image, number = name.split("_")
        bundle = scipy.io.loadmat(out / "bundled" / f"{image}.mat")
        assert (bundle["israw"].item(), bundle["eval_version"].item()) == (0, "1.0")
        bundled = bundle["Idenoised"].squeeze()
        assert bundled.shape == (3,)
        for found in (scipy.io.loadmat(out / f"{name}.mat")["Idenoised_crop"], bundled[int(number) - 1]):
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, crop)


def test_interrupted_dnd_submission_continues_with_the_next_crop(dnd, tmp_path):
    args, _ = dnd
    submit(changed(args, output_dir=str(tmp_path / "whole")), Brighter(), LOG)
    with pytest.raises(KeyboardInterrupt):
        submit(args, Brighter(calls=4), LOG)
    crop = tmp_path / "out" / "0001_02.mat"
    crop.write_bytes(crop.read_bytes()[:-1])  # a disk error, say
    (tmp_path / "out" / ".0002_02.1234.tmp.mat").write_bytes(b"left by a kill")
    denoiser = Brighter()
    submit(args, denoiser, LOG)
    assert denoiser.calls == 3
    assert not list((tmp_path / "out").glob(".*.tmp*"))
    whole, resumed = (_pixels(tmp_path / name) for name in ("whole", "out"))
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    submit(args, denoiser, LOG)
    assert denoiser.calls == 3


def test_removed_product_is_made_again_of_what_is_there(sidd, dnd, tmp_path):
    for args, product, calls in ((sidd[0], "out/S.csv", 6), (dnd[0], "out/bundled/0002.mat", 0)):
        submit(args, Brighter(), LOG)
        (tmp_path / product).unlink()
        denoiser = Brighter()
        submit(args, denoiser, LOG)
        assert denoiser.calls == calls
        assert (tmp_path / product).exists()


def test_complete_dnd_submission_is_left_as_it_is(dnd, tmp_path):
    submit(dnd[0], Brighter(), LOG)
    before = contents(tmp_path)
    assert json.loads(before["out/submission.json"])["written"].keys() == {"0001.mat", "0002.mat"}
    submit(dnd[0], Brighter(calls=0), LOG)
    assert contents(tmp_path) == before


def _pixels(folder) -> dict[str, np.ndarray]:
    """The bundled crops; the files themselves have their date in them."""
    files = sorted((folder / "bundled").iterdir())
    return {path.name: np.stack(list(scipy.io.loadmat(path)["Idenoised"].squeeze())) for path in files}


def test_dnd_folder_of_other_settings_inputs_or_files_is_refused(dnd, tmp_path):
    args, images = dnd
    other = tmp_path / "other"
    other.mkdir()
    (other / "0001_01.mat").write_bytes(b"mine")
    message = refusal(changed(args, output_dir=str(other)))
    assert f"{other / '0001_01.mat'}: is there, but not from this command" in message
    submit(args, Brighter(), LOG)
    before = contents(tmp_path)
    assert "was begun with denoiser brighter by 1.5, not darker by 1.5; choose another --output_dir" in refusal(
        args, Brighter(name="darker")
    )
    assert contents(tmp_path) == before
    info = tmp_path / "dnd" / "info.mat"
    info.rename(tmp_path / "info.mat")
    write_v5(info, {"boundingboxes": BOXES[::-1]})
    assert "was begun with inputs SHA-256 " in refusal(args)
    (tmp_path / "info.mat").rename(info)
    submit(args, Brighter(calls=0), LOG)
    write_v5(tmp_path / "dnd" / "images_srgb" / "0002.mat", {"InoisySRGB": images[0]})
    assert "was begun with inputs SHA-256 " in refusal(args)


def test_missing_dnd_files_and_nan_are_named(dnd, tmp_path):
    args, _ = dnd
    message = refusal(args, Brighter(calls=4, nan=True))
    assert message.startswith("image 0002, crop 2: brighter gives values that are NaN or infinite")
    assert sorted(path.name for path in (tmp_path / "out").glob("*_*.mat"))[-1] == "0002_01.mat"
    assert not (tmp_path / "out" / "bundled" / "0002.mat").exists()
    (tmp_path / "dnd" / "images_srgb" / "0002.mat").unlink()
    assert "0002.mat: no such file, expected 2 images; is --dnd_dir DND's folder?" in refusal(args)
    (tmp_path / "dnd" / "info.mat").unlink()
    assert "info.mat: no such file" in refusal(args)


@pytest.mark.parametrize("output", ["S.csv", "S.mat"])
def test_command_makes_a_submission_of_a_training_run(sidd, tmp_path, capsys, output):
    """The whole command with a tiny DnCNN, against its network applied to each block."""
    args, blocks = sidd
    network = tiny_networks(dtype=torch.float32)["G3"].eval()
    models = tmp_path / "run" / "models"
    content = {"epoch": 3, "model_state_dict": network.state_dict(), "config": CONFIGS["G3"]}
    save_checkpoint(models / "checkpoint_G3_3.pth", content)
    benchmark = "kaggle" if output == "S.csv" else "sidd-mat"
    words = ["submit", "--benchmark", benchmark, "--denoiser", str(tmp_path / "run"), "--device", "cpu"]
    files = ["--blocks", args.blocks, "--output", str(tmp_path / output)]
    main_eval.main(words + files)
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
    with pytest.raises(ValueError, match="was begun with denoiser"):
        main_eval.main(words + files + ["--self_ensemble"])


def test_command_names_what_is_missing(sidd, tmp_path):
    args, _ = sidd
    words = ["submit", "--benchmark", "kaggle", "--blocks", args.blocks, "--output", args.output, "--denoiser"]
    with pytest.raises(ValueError, match="no such checkpoint or folder"):
        main_eval.main([*words, str(tmp_path / "none.pth")])
    assert not (tmp_path / "out").exists()
