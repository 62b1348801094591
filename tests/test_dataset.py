"""Patches, batches and images."""

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import torch

from data.batches import (
    BatchSampler,
    PatchDataset,
    batches_of,
    dihedral,
    dihedral_batch,
    steps_per_epoch,
    to_device,
    training_batches,
    training_loader,
    whole_image_loader,
)
from data.pairs import FileReader, find_pairs
from tests.refusal import one_line
from utils.image import write_image

SCENE = "0001_001_ZZ_00800_00100_5500_N"


@pytest.fixture
def scene(tmp_path):
    """Images whose pixels tell where they are: red the row, green the column, blue the image; noisy = clean + 1."""
    for number in range(5):
        clean = np.zeros((40, 50, 3), np.uint8)
        clean[..., 0], clean[..., 1], clean[..., 2] = np.arange(40)[:, None], np.arange(50), 10 * number
        write_image(tmp_path / SCENE / "clean" / f"0001_GT_SRGB_{number:03d}_00001.png", clean)
        write_image(tmp_path / SCENE / "noisy" / f"0001_NOISY_SRGB_{number:03d}_00001.png", clean + 1)
    return tmp_path / SCENE


@pytest.fixture
def reader(scene):
    return FileReader(find_pairs([scene]))


def batch_of(patches, step, *indices):
    """The batch of a step as it reaches the model."""
    return to_device(patches[step, np.array(indices)], "cpu", patches.augment)


def test_patch_is_cut_at_one_place_of_both_images(reader, scene):
    patches = PatchDataset(reader, 16, augment=False, seed=0)
    tops = set()
    for step in range(40):
        batch = batch_of(patches, step, 0, 1, 2, 3, 4)
        assert (batch["noisy"] - batch["clean"] == 1).all()
        for number, clean in enumerate(batch["clean"].numpy()):
            top, left = int(clean[0, 0, 0]), int(clean[1, 0, 0])
            np.testing.assert_array_equal(clean[0], np.broadcast_to(np.arange(top, top + 16)[:, None], (16, 16)))
            np.testing.assert_array_equal(clean[1], np.broadcast_to(np.arange(left, left + 16), (16, 16)))
            assert (clean[2] == 10 * number).all()
            assert batch["name"][number] == str(scene / "noisy" / f"0001_NOISY_SRGB_{number:03d}_00001.png")
            tops.add(top)
    assert {0, 24} <= tops  # both ends are reached


def test_batch_depends_on_seed_and_step_alone(reader):
    def clean(seed, step):
        return batch_of(PatchDataset(reader, 16, augment=True, seed=seed), step, 2, 3)["clean"]

    assert torch.equal(clean(0, 7), clean(0, 7))
    assert not torch.equal(clean(0, 7), clean(0, 8))
    assert not torch.equal(clean(0, 7), clean(1, 7))


def test_patches_of_a_batch_are_cut_at_places_of_their_own(reader):
    batch = batch_of(PatchDataset(reader, 16, augment=False, seed=0), 0, *[0] * 20)
    assert len({clean.tobytes() for clean in batch["clean"].numpy()}) > 10


def test_the_eight_modes_are_the_eight_symmetries_of_the_square():
    square = np.arange(9).reshape(3, 3, 1)
    made = {dihedral(square, mode).tobytes() for mode in range(8)}
    flips = [square, square[::-1], square[:, ::-1], square[::-1, ::-1]]
    expected = {image.tobytes() for flip in flips for image in (flip, flip.transpose(1, 0, 2))}
    assert made == expected
    np.testing.assert_array_equal(dihedral(square, 0), square)


def test_whole_batches_are_turned_as_single_patches_are(device):
    images = np.random.default_rng(0).integers(0, 256, (8, 5, 5, 6), dtype=np.uint8)
    modes = np.random.default_rng(1).permutation(8)
    turned = dihedral_batch(torch.from_numpy(images).to(device), torch.from_numpy(modes)).cpu().numpy()
    for image, mode, found in zip(images, modes, turned):
        np.testing.assert_array_equal(found, dihedral(image, mode))


def test_augmentation_uses_all_modes_and_none_without(reader):
    def orientations(augment):
        patches = PatchDataset(reader, 40, augment, seed=0)
        return {image[0].tobytes() for image in batch_of(patches, 0, *[0] * 100)["clean"].numpy()}

    assert len(orientations(False)) == 1  # red is the row: rows of 40 equal images differ by orientation only
    assert len(orientations(True)) == 4  # flips across the columns leave red as it is


def test_every_epoch_is_a_new_permutation_without_the_incomplete_batch():
    keys = list(BatchSampler(count=7, batch_size=3, shuffle=True, seed=0, first_step=0, last_step=8))
    assert [step for step, _ in keys] == list(range(8))
    epochs = [[index for _, indices in keys[i : i + 2] for index in indices.tolist()] for i in range(0, 8, 2)]
    for epoch in epochs:
        assert len(epoch) == len(set(epoch)) == 6
    assert len({tuple(epoch) for epoch in epochs}) == 4


def listed(batches):
    return [(step, *indices.tolist()) for step, indices in batches]


def test_batches_from_any_step_continue_the_whole_run():
    whole = listed(BatchSampler(7, 3, True, 5, 0, 9))
    for first in range(9):
        assert listed(BatchSampler(7, 3, True, 5, first, 9)) == whole[first:]


def test_unshuffled_batches_keep_the_order_of_the_list():
    assert listed(BatchSampler(4, 2, False, 0, 0, 4)) == [(0, 0, 1), (1, 2, 3), (2, 0, 1), (3, 2, 3)]


def test_batch_larger_than_the_set_is_refused():
    with pytest.raises(ValueError, match="7 training images are too few for a batch of 8"):
        steps_per_epoch(7, 8)


@pytest.mark.parametrize("augment, origin", [(False, (0, 1)), (True, (0, 0)), (True, (1, 0))])
def test_patches_that_keep_the_phase_begin_at_the_mosaic_s_first_pixel_however_they_are_flipped(scene, augment, origin):
    reader = FileReader([replace(pair, origin=origin) for pair in find_pairs([scene])])
    patches = PatchDataset(reader, 16, augment, seed=0, keep_phase=True)
    firsts, steps = set(), set()
    for step in range(40):
        for rows, columns, _ in batch_of(patches, step, 0, 1, 2, 3, 4)["clean"].numpy().astype(int):
            assert (np.diff(rows, axis=0) == rows[1, 0] - rows[0, 0]).all()  # rows are rows: nothing is turned
            assert (np.diff(columns, axis=1) == columns[0, 1] - columns[0, 0]).all()
            assert ((rows[0, 0] + origin[0]) % 2, (columns[0, 0] + origin[1]) % 2) == (0, 0)
            firsts.add(int(rows.min()))
            steps.add((int(rows[1, 0] - rows[0, 0]), int(columns[0, 1] - columns[0, 0])))
    assert steps == ({(1, 1), (1, -1), (-1, 1), (-1, -1)} if augment else {(1, 1)})
    allowed = range(25) if augment else range(origin[0], 25, 2)  # of 40 rows, patches of 16
    assert firsts == set(allowed)


@pytest.mark.parametrize("augment", [False, True])
def test_loader_workers_change_nothing(reader, augment):
    patches = PatchDataset(reader, 16, augment, seed=0)
    order = BatchSampler(5, 2, True, 0, 0, 6)
    loaded = []
    for workers in (0, 2):
        with training_batches(patches, order, workers, torch.device("cpu")) as batches:
            loaded.append(list(batches))
    assert len(loaded[0]) == 6
    for first, second in zip(*loaded):
        assert first["noisy"].shape == (2, 3, 16, 16) and first["noisy"].is_contiguous()
        assert torch.equal(first["noisy"], second["noisy"])
        assert first["name"] == second["name"]


def test_workers_end_with_the_block_although_the_exception_is_still_held(reader):
    patches = PatchDataset(reader, 16, augment=True, seed=0)
    loader = training_loader(patches, BatchSampler(5, 2, True, 0, 0, 100), 2, pin_memory=False)
    with pytest.raises(ValueError) as held, batches_of(loader) as batches:
        next(batches)
        workers = multiprocessing.active_children()
        raise ValueError
    assert held and len(workers) == 2
    assert not [worker for worker in workers if worker.is_alive()]


def test_whole_images_come_in_order_and_uncut(reader, scene):
    batches = list(whole_image_loader(reader, num_workers=0))
    assert [batch["clean"].shape for batch in batches] == [(1, 3, 40, 50)] * 5
    assert [batch["name"] for batch in batches] == [[str(path)] for path in sorted((scene / "noisy").iterdir())]


def load(reader, num_workers: int = 2) -> list[dict]:
    patches = PatchDataset(reader, 16, augment=True, seed=0)
    with training_batches(patches, BatchSampler(5, 2, True, 0, 0, 4), num_workers, torch.device("cpu")) as batches:
        return list(batches)


WAY_OUT = "use --num_workers 0, or give more shared memory (/dev/shm, docker run --shm-size)"


def test_shared_memory_that_is_full_ends_in_one_line(reader, monkeypatch):
    def full(tensor):
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(ValueError) as error:
        load(reader)
    line = str(error.value).splitlines()[-1]  # after the worker's traceback, as the command shows it
    assert "no shared memory for a loader process's batch" in line and "No space left" in line and WAY_OUT in line
    with pytest.raises(ValueError, match="no shared memory"), batches_of(whole_image_loader(reader, 1)) as images:
        list(images)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("can't start new thread")])
def test_workers_that_cannot_be_started_are_one_line_and_leave_no_process(reader, monkeypatch, capfd, error):
    started = []
    start = multiprocessing.Process.start

    def second_fails(process):
        if started:
            raise error
        started.append(process)
        start(process)

    monkeypatch.setattr("torch.multiprocessing.Process.start", second_fails)
    reason = error.args[-1]
    with pytest.raises(ValueError, match=one_line(f"loader processes cannot be started ({reason})", WAY_OUT)):
        load(reader)
    started[0].join(timeout=5)
    assert not started[0].is_alive()
    assert not capfd.readouterr().err


class Unsendable:
    def __reduce__(self):
        raise OSError("AF_UNIX path too long")


def test_a_worker_that_cannot_send_its_batch_ends_instead_of_being_waited_for(reader, monkeypatch, capfd):
    monkeypatch.setattr(PatchDataset, "__getitem__", lambda self, key: {"pixels": Unsendable()})
    with pytest.raises(RuntimeError, match=r"^DataLoader worker .* exited unexpectedly"):  # as `run_command` knows it
        load(reader)
    assert not capfd.readouterr().err


def test_batches_that_do_not_arrive_are_one_line(reader, monkeypatch):
    def lost(iterator, *args, **options):
        raise RuntimeError("received 0 items of ancdata")

    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter._try_get_data", lost)
    with pytest.raises(ValueError, match=one_line("cannot be received (received 0 items of ancdata)", WAY_OUT)):
        load(reader)
