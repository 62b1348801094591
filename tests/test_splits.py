"""Train and test scenes: lists that are there win, otherwise the published split or 80/20 within each ISO level."""

import logging
import re

import pytest

from data.splits import HALVES, choose_scenes, generate_split, published_split, read_list
from tests.conftest import ROOT
from tests.refusal import one_line

LOG = logging.getLogger("test_splits")
# reference.md, section 4: the published test scenes by instance number; sidd.md: scenes of each camera.
PUBLISHED = {
    "G4": "0059 0077 0122 0173",
    "GP": "0034 0086 0107 0156 0199",
    "IP": "0032 0090 0110 0114 0115 0134 0139 0165 0191 0193",
    "N6": "0050 0054 0075 0096",
    "S6": "0002 0007 0008 0014 0081 0126 0152",
}
COUNTS = {"G4": 16, "GP": 33, "IP": 54, "N6": 22, "S6": 35}
ISOS = (100, 800, 3200)


def name(instance, camera="XX", iso=100):
    return f"{int(instance):04d}_001_{camera}_{iso:05d}_00100_5500_N"


def scenes_of(camera, *counts):
    """Scene names of a camera, so many of each ISO in turn."""
    isos = [iso for iso, count in zip(ISOS, counts) for _ in range(count)]
    return [name(number, camera, iso) for number, iso in enumerate(isos, start=1)]


def sidd_medium(camera):
    """SIDD-Medium's scenes of a camera."""
    return [scene for half in published_split(camera) for scene in half]


def write(path, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(names) + "\n")


def write_both(folder, train, test, camera="XX"):
    write(folder / f"{camera}_train.txt", train)
    write(folder / f"{camera}_test.txt", test)


def choose(folder, names, camera="XX", **options):
    return choose_scenes(camera, names, folder, log=LOG, **options)


# --- the published split ---


@pytest.mark.parametrize("camera", COUNTS)
def test_on_sidd_medium_the_split_is_the_published_one_and_nothing_is_written(tmp_path, camera):
    train, test = choose(tmp_path, sidd_medium(camera), camera)
    assert [scene[:4] for scene in test] == PUBLISHED[camera].split()
    assert len(train) + len(test) == COUNTS[camera]
    assert {scene.split("_")[2] for scene in train} == {camera} and not set(train) & set(test)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("camera", COUNTS)
def test_the_lists_that_are_shipped_are_the_published_ones(camera):
    folder = ROOT / "data_preparation"
    assert [read_list(folder / f"{camera}_{half}.txt") for half in HALVES] == list(published_split(camera))


def test_another_camera_has_no_published_split():
    assert published_split("XX") is None


def test_a_camera_without_lists_and_without_a_published_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match=one_line("XX_train.txt: no scene lists for camera XX")):
        choose(tmp_path, scenes_of("XX", 5))
    assert choose(tmp_path, scenes_of("XX", 5), needed=()) == ([], [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("instances, half", [((1, 2, 3), "test"), ((59, 77), "train")])
def test_a_published_half_without_a_scene_is_an_error(tmp_path, instances, half):
    names = [name(instance, "G4") for instance in instances]
    with pytest.raises(ValueError, match=one_line(f"camera G4: none of its {len(names)} scenes", f"{half} scenes")):
        choose(tmp_path, names, "G4")


@pytest.mark.parametrize("shipped", [True, False])
def test_a_part_of_sidd_medium_is_split_with_a_warning_and_later_scenes_are_taken_up(tmp_path, caplog, shipped):
    train, test = published_split("G4")
    if shipped:
        write_both(tmp_path, train, test, "G4")
    part = [*train[:3], test[1]]
    assert choose(tmp_path, part, "G4") == (train[:3], test[1:2])
    assert caplog.messages == [
        "camera G4: 9 of the 12 published train scenes are not there",
        "camera G4: 3 of the 4 published test scenes are not there",
    ]
    assert choose(tmp_path, train + test, "G4") == (train, test)


# --- 80/20 within each ISO level ---


@pytest.mark.parametrize("count, train", [(3, 2), (4, 3), (5, 4), (7, 6), (8, 6), (10, 8), (13, 10)])
def test_four_fifths_of_an_iso_level_train(count, train):
    assert [len(half) for half in generate_split(scenes_of("XX", count), seed=0)] == [train, count - train]


def test_each_iso_level_is_split_by_itself():
    halves = generate_split(scenes_of("XX", 5, 10, 2), seed=3)
    counts = [[sum(scene.split("_")[3] == f"{iso:05d}" for scene in half) for iso in ISOS] for half in halves]
    assert counts == [[4, 8, 2], [1, 2, 0]]


def test_no_scene_is_lost_or_in_both_halves_and_both_are_sorted():
    names = scenes_of("XX", 5, 10, 2)
    train, test = generate_split(names[::-1], seed=1)
    assert sorted(train + test) == names and train == sorted(train) and test == sorted(test)


def test_the_split_depends_on_the_seed_but_not_on_the_order_of_the_scenes():
    names = scenes_of("XX", 10, 10, 10)
    assert generate_split(names, 0) == generate_split(names[::-1], 0)
    assert len({tuple(generate_split(names, seed)[1]) for seed in range(8)}) > 4


@pytest.mark.parametrize("counts", [(1,), (2, 2, 1)])
def test_too_few_scenes_for_a_test_half_are_an_error_that_names_the_camera(counts):
    with pytest.raises(ValueError, match=one_line("camera XX", "three", "same ISO")):
        generate_split(scenes_of("XX", *counts), seed=0)


def test_generated_lists_are_written_and_are_those_of_the_next_run(tmp_path):
    names = scenes_of("XX", 5, 5)
    split = choose(tmp_path / "lists", names, generate=True, seed=7)
    assert split == generate_split(names, 7)
    assert sorted(path.name for path in (tmp_path / "lists").iterdir()) == ["XX_test.txt", "XX_train.txt"]
    assert choose(tmp_path / "lists", names) == split


def test_generated_lists_go_before_the_published_split_and_take_the_place_of_lists_that_are_there(tmp_path):
    names = sidd_medium("G4")
    write_both(tmp_path, names[1:], names[:1], "G4")
    split = choose(tmp_path, names, "G4", generate=True)
    assert split == generate_split(names, 0) != published_split("G4")
    assert choose(tmp_path, names, "G4") == split


def test_scenes_of_other_cameras_are_left_out(tmp_path):
    train, test = choose(tmp_path, scenes_of("XX", 5) + scenes_of("YY", 5), generate=True)
    assert sorted(train + test) == scenes_of("XX", 5)


# --- lists that are there ---


def test_a_users_own_lists_win_over_the_published_split_and_stay_as_they_are(tmp_path):
    names = [name(instance, "G4") for instance in (1, 59, 77)]
    write_both(tmp_path, [names[1], names[2]], [names[0]], "G4")
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert choose(tmp_path, names, "G4") == ([names[1], names[2]], [names[0]])
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before


@pytest.mark.parametrize("missing, there", [("train", "test"), ("test", "train")])
def test_one_list_without_the_other_is_an_error_that_names_the_missing_one(tmp_path, missing, there):
    write(tmp_path / f"XX_{there}.txt", scenes_of("XX", 2))
    with pytest.raises(ValueError, match=one_line(f"XX_{missing}.txt: missing, though", f"XX_{there}.txt")):
        choose(tmp_path, scenes_of("XX", 5))
    assert choose(tmp_path, scenes_of("XX", 5), needed=[there])[("train", "test").index(there)] == scenes_of("XX", 2)


@pytest.mark.parametrize("half", ["train", "test"])
def test_a_listed_scene_that_is_absent_is_an_error_that_names_it_and_the_list(tmp_path, half):
    names, absent = scenes_of("XX", 4), name(99)
    lists = {"train": names[1:], "test": names[:1]}
    lists[half] = lists[half] + [absent]
    write_both(tmp_path, lists["train"], lists["test"])
    with pytest.raises(ValueError, match=one_line(f"XX_{half}.txt: {absent} is not there (1 of")):
        choose(tmp_path, names)
    choose(tmp_path, names, needed={"train", "test"} - {half})


def test_a_scene_in_both_lists_is_an_error_that_names_it(tmp_path):
    names = scenes_of("XX", 3)
    write_both(tmp_path, names[:2], names[1:])
    with pytest.raises(ValueError, match=one_line(f"{names[1]}: in both", "XX_train.txt", "XX_test.txt")):
        choose(tmp_path, names)


def test_scenes_in_neither_list_are_counted_in_one_warning_with_an_example(tmp_path, caplog):
    names = scenes_of("XX", 5)
    write_both(tmp_path, names[:1], names[1:2])
    choose(tmp_path, names + scenes_of("YY", 3))
    assert len(caplog.messages) == 1
    assert re.search(one_line("3 scenes are in neither", "XX_train.txt", "XX_test.txt", names[2]), caplog.messages[0])


def test_a_folder_that_cannot_be_written_is_named_with_its_option(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=one_line(f"{tmp_path / 'file'}", "cannot be written")):
        choose(tmp_path / "file" / "lists", scenes_of("XX", 5), generate=True)


def test_a_full_disk_leaves_neither_list(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ValueError, match=one_line(str(tmp_path), "No space left on device")):
        choose(tmp_path, scenes_of("XX", 5), generate=True)
    assert not list(tmp_path.iterdir())


# --- reading a list ---


def test_blank_lines_and_white_space_are_ignored(tmp_path):
    path = tmp_path / "XX_train.txt"
    path.write_bytes(f"\ufeff\r\n  {name(1)} \r\n\r\n\t{name(2)}".encode())
    assert read_list(path) == [name(1), name(2)]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", ["list.txt: empty"]),
        (b" \n\n", ["list.txt: empty"]),
        (f"{name(1)}\n\n{name(1)}\n".encode(), ["list.txt, line 3:", name(1), "line 1"]),
        (f"{name(1)}\nholiday\n".encode(), ["list.txt, line 2: holiday"]),
        (b"\xff\xfe\x00\x81", ["list.txt: not a text file"]),
        (b"\n<!DOCTYPE html>", ["list.txt: a web page"]),
        (None, ["list.txt: cannot be read"]),
    ],
)
def test_a_bad_list_is_an_error_that_names_the_file_and_the_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=one_line(*words)):
        read_list(tmp_path / "list.txt")
