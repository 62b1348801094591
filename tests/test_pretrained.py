"""Weights from files: released ones, our own, and everything that only looks like one."""

import csv
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from inference import load_generators, load_network
from inference.pretrained import begin_from, find_checkpoint_folder, find_checkpoints
from models import NETWORK_CLASSES, generator_id, network_checkpoint
from tests.conftest import ROOT
from tests.refusal import Payload
from tests.tiny import tiny_networks
from utils.checkpoints import save_checkpoint

IMAGE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def released(letter: str) -> dict:
    """Content of a file as the authors released it: published keys and shapes, no sizes beside them."""
    with (Path(__file__).parent / "state_dict" / f"{letter}.csv").open() as file:
        shapes = {row["key"]: row["shape"] for row in csv.DictReader(file)}
    generator = torch.Generator().manual_seed(1)
    weights = {
        key: torch.tensor(7)
        if shape == "scalar"
        else 0.1 * torch.randn(*map(int, shape.split("x")), generator=generator)
        for key, shape in shapes.items()
    }
    return {"epoch": 4200, "model_state_dict": weights}


def save_tiny(folder: Path, *files: str) -> dict:
    """Write tiny networks of E, G1 and G2, or only these files (without `checkpoint_` and suffix), into a folder."""
    networks = tiny_networks(dtype=torch.float32)
    for name in files or ("E", "G1", "G2"):
        letter, _, epoch = name.partition("_")
        save_checkpoint(folder / f"checkpoint_{name}.pth", network_checkpoint(networks[letter], int(epoch or 1)))
    return networks


# --- files of others, with PyTorch before 2.10 ---


@pytest.fixture
def old_torch(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    monkeypatch.delenv("NECA_TRUSTED", raising=False)


def test_pth_of_others_is_refused_by_an_old_pytorch_in_one_line_with_the_ways_out(tmp_path, old_torch, monkeypatch):
    network = tiny_networks(dtype=torch.float32)["G2"].eval()
    path = tmp_path / "checkpoint_G2.pth"
    save_checkpoint(path, network_checkpoint(network, 1))
    with pytest.raises(
        ValueError, match=r"PyTorch 2\.9\.1.*CVE-2026-24747.*2\.10.*main_export\.py.*NECA_TRUSTED"
    ) as refusal:
        load_network("G2", path)
    assert str(refusal.value).startswith(f"{path}: ") and "\n" not in str(refusal.value)
    save_checkpoint(path.with_suffix(".safetensors"), network_checkpoint(network, 1))
    assert torch.equal(load_network("G2", path.with_suffix(".safetensors"))(IMAGE), network(IMAGE))
    for version in ("2.10.0", "2.10.0a0+git1", "3.0"):
        monkeypatch.setattr(torch, "__version__", version)
        assert torch.equal(load_network("G2", path)(IMAGE), network(IMAGE))


def test_an_old_pytorch_reads_what_ships(old_torch):
    files = sorted((ROOT / "pretrain").glob("*/checkpoint_*"))
    assert len(files) == 18
    for path in files:
        load_network(path.stem.rpartition("_")[2], path)


@pytest.mark.parametrize(
    ("place", "is_read"),
    [
        ("XY/models/checkpoint_G2_00000001.pth", True),
        ("XY/models/best/checkpoint_G2.pth", True),
        ("XY/logs/checkpoint_G2.pth", False),
        ("XY/checkpoint_G2.pth", False),
        ("XY/models/best/other/checkpoint_G2.pth", False),
    ],
)
def test_an_old_pytorch_reads_what_a_run_has_written(place, is_read, tmp_path, old_torch, monkeypatch):
    (tmp_path / "XY").mkdir()
    (tmp_path / "XY" / "options.json").write_text("{}")
    save_checkpoint(tmp_path / place, network_checkpoint(tiny_networks(dtype=torch.float32)["G2"], 1))
    if not is_read:
        with pytest.raises(ValueError, match="refused"):
            load_network("G2", tmp_path / place)
        monkeypatch.setenv("NECA_TRUSTED", f"{tmp_path / 'elsewhere'}{os.pathsep}{tmp_path / 'XY'}")
    load_network("G2", tmp_path / place)


# --- one file ---


@pytest.mark.parametrize("letter", NETWORK_CLASSES)
def test_released_file_of_the_papers_sizes_loads_as_it_is(tmp_path, letter):
    content = released(letter)
    save_checkpoint(tmp_path / "x.pth", content)
    loaded = load_network(letter, tmp_path / "x.pth").state_dict()
    assert list(loaded) == list(content["model_state_dict"])
    assert all(torch.equal(loaded[key], value) for key, value in content["model_state_dict"].items())


@pytest.mark.parametrize("letter", NETWORK_CLASSES)
def test_own_file_rebuilds_a_network_of_any_size(tmp_path, letter):
    network = tiny_networks(dtype=torch.float32)[letter].eval()
    save_checkpoint(tmp_path / "x.pth", network_checkpoint(network, 3))
    loaded = load_network(letter, tmp_path / "x.pth")
    size = {"D1": 96}.get(letter, 32)
    arguments = (torch.rand(1, 3, size, size), *([torch.full((1, 1, 1, 1), 0.1)] if letter == "G1" else []))
    assert torch.equal(loaded(*arguments), network(*arguments))


def test_loaded_network_is_in_eval_mode_and_can_be_trained_on(tmp_path):
    save_checkpoint(tmp_path / "x.pth", network_checkpoint(tiny_networks()["G3"], 1))
    network = load_network("G3", tmp_path / "x.pth")
    assert not network.training
    network(IMAGE).sum().backward()
    assert all(weights.grad is not None for weights in network.parameters())


def test_half_precision_file_becomes_float32(tmp_path):
    content = released("G1")
    content["model_state_dict"] = {key: value.half() for key, value in content["model_state_dict"].items()}
    save_checkpoint(tmp_path / "x.pth", content)
    network = load_network("G1", tmp_path / "x.pth")
    assert {weights.dtype for weights in network.parameters()} == {torch.float32}
    assert torch.equal(network.conv5.weight, content["model_state_dict"]["conv5.weight"].float())


def test_loading_draws_no_random_numbers(tmp_path):
    save_tiny(tmp_path)
    before = torch.get_rng_state()
    load_generators(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def changed(**changes) -> dict:
    """A released file of NPNet with some keys replaced, or removed where None."""
    content = released("G1")
    content["model_state_dict"] |= {key.replace("__", "."): value for key, value in changes.items()}
    for key in [key for key, value in content["model_state_dict"].items() if value is None]:
        del content["model_state_dict"][key]
    return content


@pytest.mark.parametrize(
    "content, message",
    [
        ({"weights": torch.zeros(3)}, r"no model_state_dict, expected a checkpoint of NPNet.*\(G1\)"),
        ({"model_state_dict": torch.zeros(3)}, "no model_state_dict"),
        (torch.zeros(3), "holds a Tensor, expected a dict"),
        (changed(conv3__bias=None), r"NPNet.*\(G1\).*: conv3.bias is missing"),
        (changed(conv3__bias="text"), "conv3.bias is missing"),
        (changed(conv6__bias=torch.zeros(3)), r"\(G1\).*unexpected conv6.bias"),
        (changed(conv5__bias=torch.zeros(4)), r"conv5.bias has the shape \(4,\), expected \(3,\)"),
        (changed(conv4__bias=torch.full((96,), torch.nan)), "conv4.bias.*not finite"),
        (changed(conv5__bias=torch.zeros(3).to_sparse()), r"conv5\.bias of|conv5\.bias is"),
        (released("E"), r"NPNet.*\(G1\).*conv1.weight is missing"),
        (
            released("G1") | {"config": {"nc": 4}},
            r"conv1.weight has the shape \(96, 3, 7, 7\), expected \(4, 3, 7, 7\)",
        ),
        (released("G1") | {"config": {"width": 4}}, "config does not build NPNet.*width"),
        (released("G1") | {"config": 4}, "config does not build NPNet"),
        (released("G1") | {"config": {"nc": -4}}, "config does not build NPNet"),
    ],
)
def test_file_that_does_not_fit_is_named_with_what_is_wrong(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=message) as error:
        load_network("G1", tmp_path / "x.pth")
    assert str(error.value).startswith(str(tmp_path / "x.pth"))
    assert "\n" not in str(error.value)


def test_checkpoint_with_pickled_objects_is_refused_and_not_executed(tmp_path):
    torch.save(released("G1") | {"config": Payload(tmp_path / "executed")}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth: refused.*pickled"):
        load_network("G1", tmp_path / "x.pth")
    assert not (tmp_path / "executed").exists()


# --- which file ---


@pytest.mark.parametrize(
    "files, is_run, taken",
    [
        ("G2 G2_00000005", False, "checkpoint_G2.pth"),
        ("G2 G2_00000005", True, "checkpoint_G2_00000005.pth"),  # the run may have begun from the other
        ("G2_00000005 G2_00000010 G2_00000009", False, "checkpoint_G2_00000010.pth"),
        ("E", False, None),
    ],
)
def test_file_without_an_epoch_comes_first_but_in_runs_which_give_their_newest(tmp_path, files, is_run, taken):
    save_tiny(tmp_path, *files.split())
    if is_run:
        save_checkpoint(tmp_path / "training_state_0000000010.pth", {})
    assert find_checkpoints(tmp_path, ("G2",)) == ({"G2": tmp_path / taken} if taken else {})


def test_run_killed_while_saving_gives_the_newest_epoch_that_all_networks_have(tmp_path):
    save_tiny(tmp_path, "E_00000005", "G1_00000005", "G2_00000005", "E_00000010", "G1_00000010")
    epochs = {path.stem.rpartition("_")[2] for path in find_checkpoints(tmp_path, ("E", "G1", "G2")).values()}
    assert epochs == {"00000005"}
    assert find_checkpoints(tmp_path, ("E", "G1"))["E"].name == "checkpoint_E_00000010.pth"


def test_networks_of_different_epochs_do_not_belong_together(tmp_path):
    save_tiny(tmp_path, "E_00000005", "G1_00000005", "G2_00000010")
    with pytest.raises(ValueError, match="E, G1, G2 that belong together"):
        load_generators(tmp_path)


def test_only_the_networks_asked_for_are_needed(tmp_path):
    save_tiny(tmp_path, "G2")
    assert list(load_generators(tmp_path, ("G2",))) == ["G2"]


@pytest.mark.parametrize("place", ["IP", "IP/models/best", "IP/models", "."])
def test_weights_are_found_where_they_are_released_trained_or_pointed_at(tmp_path, place):
    save_tiny(tmp_path / place)
    assert find_checkpoint_folder(tmp_path, "IP") == tmp_path / place


def test_best_networks_of_a_run_come_before_the_newest(tmp_path):
    save_tiny(tmp_path / "IP" / "models")
    save_tiny(tmp_path / "IP" / "models" / "best")
    assert find_checkpoint_folder(tmp_path, "IP") == tmp_path / "IP" / "models" / "best"


def test_camera_without_weights_is_told_where_to_get_them_and_which_others_are_there(tmp_path):
    save_tiny(tmp_path / "DC")
    save_tiny(tmp_path / "T3" / "models")
    save_tiny(tmp_path / "GP" / "models" / "best")
    save_tiny(tmp_path / "GP" / "models")
    save_tiny(tmp_path / "S6", "G2")  # not all of them
    save_tiny(tmp_path / "IP", "G1")
    with pytest.raises(ValueError, match=r"cameras with weights there: DC, GP, T3;") as error:
        find_checkpoint_folder(tmp_path, "IP")
    message = str(error.value)
    for part in ("camera IP", f"{tmp_path}/IP, {tmp_path}/IP/models/best, {tmp_path}/IP/models, ", f"{tmp_path};"):
        assert part in message
    for part in ("main_train_jointly.py", "checkpoint_E.pth, checkpoint_G1.pth, checkpoint_G2.pth"):
        assert part in message


# As the authors' README has them; so does ../shared/spec/reference.md.
FOLDERS = {
    "IP": "1jouUbKfSz9vpvChuY5J-gvWN4JLkYs3H",
    "G4": "1oqhax1aESnqIx6q4jVqp_7XuoloGlJuk",
    "GP": "1L2lzAMmzUT1flYWdkmTtGnPAWBirGvAr",
    "N6": "1I7TEWZ2HnEVjAvE24wwYGBQvElqqdEH4",
    "S6": "1HgHNluBdvky5HHB-fvRDelfBRv9gebcT",
}


@pytest.mark.parametrize("camera", FOLDERS)
def test_authors_files_are_linked_where_a_user_looks_for_them(tmp_path, camera):
    address = f"https://drive.google.com/drive/folders/{FOLDERS[camera]}"
    with pytest.raises(ValueError, match=rf"{address} into {tmp_path}/{camera}/"):
        find_checkpoint_folder(tmp_path, camera)
    for page in ("README.md", "pretrain/README.md"):
        assert f"[{camera}]({address})" in (ROOT / page).read_text()


def test_camera_of_ones_own_is_told_to_train():
    with pytest.raises(ValueError) as error:
        find_checkpoint_folder("absent", "XY")
    assert "drive.google.com" not in str(error.value)


# --- a run that begins from given weights ---


def test_networks_begin_from_their_files_and_those_without_one_afresh(tmp_path, caplog):
    given = save_tiny(tmp_path, "E", "G1_00000005")
    fresh = tiny_networks(seed=9, dtype=torch.float32)
    untouched = {key: value.clone() for key, value in fresh["G2"].state_dict().items()}
    names = {"E": "E.pth", "G1": str(tmp_path / "checkpoint_G1_00000005.pth"), "G2": "G2.pth"}
    with caplog.at_level(logging.INFO):
        begin_from({letter: fresh[letter] for letter in names}, names, [tmp_path], logging.getLogger())
    for letter in ("E", "G1"):
        expected = given[letter].state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in fresh[letter].state_dict().items())
    assert all(torch.equal(value, untouched[key]) for key, value in fresh["G2"].state_dict().items())
    assert "G2 begins afresh" in caplog.text


@pytest.mark.parametrize(
    "names, message",
    [
        ({"E": "E.pth", "G2": "typo.pth"}, r"checkpoint of G2: typo\.pth is in neither"),
        ({"E": "released.pth"}, r"released\.pth: no checkpoint of GENet"),
    ],
)
def test_checkpoint_that_is_absent_or_of_other_sizes_is_no_fresh_beginning(tmp_path, names, message):
    save_tiny(tmp_path, "E")
    save_checkpoint(tmp_path / "released.pth", released("E"))
    with pytest.raises(ValueError, match=message):
        begin_from(tiny_networks(), names, [tmp_path], logging.getLogger())


def test_checkpoints_are_looked_for_in_the_folders_in_their_order_and_then_by_path(tmp_path):
    for place, epoch in {"run": 30, "released": 20, "elsewhere": 10}.items():
        for letter in {"run": ["E"], "released": ["E", "G1"], "elsewhere": ["E", "G1", "G2"]}[place]:
            content = network_checkpoint(tiny_networks(seed=epoch, dtype=torch.float32)[letter], epoch)
            save_checkpoint(tmp_path / place / f"checkpoint_{letter}.pth", content)
    networks = tiny_networks(dtype=torch.float32)
    names = {"E": "E.pth", "G1": "G1.pth", "G2": str(tmp_path / "elsewhere" / "checkpoint_G2.pth")}
    epoch = begin_from(networks, names, [tmp_path / "run", tmp_path / "released"], logging.getLogger())
    assert epoch == 30
    for letter, seed in {"E": 30, "G1": 20, "G2": 10}.items():
        expected = tiny_networks(seed=seed, dtype=torch.float32)[letter].state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in networks[letter].state_dict().items())


@pytest.mark.parametrize(
    "letter, config",
    [
        ("E", {"nb": 10**9}),
        ("E", {"in_nc": 2}),
        ("E", {"out_nc": 2}),
        ("G1", {"out_nc": 1}),
        ("G2", {"in_nc": 0}),
        ("G2", {"cameras": 2}),
        ("G2", [3]),
    ],
)
def test_config_that_is_not_necas_is_refused_before_anything_is_built(tmp_path, letter, config):
    path = tmp_path / f"checkpoint_{letter}.pth"
    torch.save({"epoch": 1, "model_state_dict": {}, "config": config}, path)
    with pytest.raises(ValueError, match=rf"checkpoint_{letter}\.pth: its config does not build"):
        load_network(letter, path)


@pytest.mark.parametrize("letter", NETWORK_CLASSES)
def test_networks_are_found_behind_the_names_of_wrappers(tmp_path, letter):
    content = released(letter)
    weights = content["model_state_dict"]
    for saved in (
        {"model_state_dict": {f"module.{key}": value for key, value in weights.items()}},
        {"n_averaged": torch.tensor(3)} | {f"module._orig_mod.{key}": value for key, value in weights.items()},
        {"state_dict": {f"net.{key}": value for key, value in weights.items()} | {"other.weight": torch.zeros(1)}},
        weights,
    ):
        torch.save(saved, tmp_path / "x.pth")
        loaded = load_network(letter, tmp_path / "x.pth").state_dict()
        assert list(loaded) == list(weights)
        assert all(torch.equal(loaded[key], value) for key, value in weights.items())


def test_a_run_begins_from_a_file_of_numpys_epoch_and_parallel_names(tmp_path):
    network = tiny_networks(dtype=torch.float32)["E"]
    content = network_checkpoint(torch.nn.DataParallel(network).module, 1) | {"epoch": np.int64(30)}
    content["model_state_dict"] = torch.nn.DataParallel(network).state_dict()
    torch.save(content, tmp_path / "E.pth")
    fresh = {"E": tiny_networks(seed=9, dtype=torch.float32)["E"]}
    assert begin_from(fresh, {"E": "E.pth"}, [tmp_path], logging.getLogger()) == 30
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in fresh["E"].state_dict().items())


# --- which files are one generator ---


def save_generator(folder, kinds: dict):
    for letter, kind in kinds.items():
        networks = tiny_networks(seed=ord(kind[-1]), dtype=torch.float32)
        content = {
            "published": lambda letter=letter: released(letter) | {"epoch": 4200 + len(letter)},
            "older a": lambda n=networks, letter=letter: network_checkpoint(n[letter], 50),
            "own a": lambda n=networks, letter=letter: network_checkpoint(n[letter], 50, generator_id(n)),
            "own b": lambda n=networks, letter=letter: network_checkpoint(n[letter], 50, generator_id(n)),
        }[kind]()
        save_checkpoint(folder / f"checkpoint_{letter}.pth", content)


@pytest.mark.parametrize("kind", ["published", "older a", "own a"])
def test_files_of_one_generator_belong_together_with_an_id_or_without(tmp_path, kind):
    save_generator(tmp_path, dict.fromkeys(("E", "G1", "G2"), kind))
    assert list(load_generators(tmp_path)) == ["E", "G1", "G2"]


@pytest.mark.parametrize("letter", ["E", "G1", "G2"])
@pytest.mark.parametrize(
    "kind, other",
    [
        ("own a", "own b"),
        ("own a", "published"),
        ("published", "own a"),
        ("older a", "own a"),
        ("older a", "published"),
        ("published", "older a"),
    ],
)
def test_a_network_of_another_generator_is_refused_in_one_line_that_names_the_files(tmp_path, kind, other, letter):
    save_generator(tmp_path, dict.fromkeys(("E", "G1", "G2"), kind) | {letter: other})
    with pytest.raises(ValueError, match=f"{tmp_path}: its checkpoints do not belong together") as error:
        load_generators(tmp_path)
    message = str(error.value)
    assert "\n" not in message and all(f"checkpoint_{name}.pth of " in message for name in ("E", "G1", "G2"))


def test_an_id_follows_from_every_weight():
    networks = tiny_networks(dtype=torch.float32)
    ids = {generator_id(networks)}
    assert generator_id(tiny_networks(dtype=torch.float32)) in ids
    for letter in ("E", "G1", "G2"):
        with torch.no_grad():
            list(networks[letter].parameters())[-1].reshape(-1)[-1].add_(1e-6)
        ids.add(generator_id(networks))
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("letter", "config"),
    [
        ("E", {"pool_mode": "inside"}),
        ("E", {"out_nc": 3}),
        ("G1", {"out_nc": 12}),
        ("G1", {"out_nc": 6}),
        ("G2", {"level": "after"}),
        ("G2", {"mosaic": True}),
    ],
)
def test_retired_variant_is_refused_in_one_line_that_names_what_replaces_it(tmp_path, letter, config):
    content = network_checkpoint(tiny_networks(dtype=torch.float32)[letter], 1)
    save_checkpoint(tmp_path / "x.pth", content | {"config": content["config"] | config})
    [(name, value)] = config.items()
    for load in (
        lambda: load_network(letter, tmp_path / "x.pth"),
        lambda: begin_from(tiny_networks(), {letter: "x.pth"}, [tmp_path], logging.getLogger()),
    ):
        with pytest.raises(ValueError, match=rf"x\.pth: a variant .*{name} {value}.*main_fit_noise\.py") as error:
            load()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("letter", "config"), [("E", {"pool_mode": "all"}), ("G2", {"level": "before", "mosaic": False})]
)
def test_file_of_the_published_form_that_names_retired_arguments_loads_as_before(tmp_path, letter, config):
    content = network_checkpoint(tiny_networks(dtype=torch.float32)[letter], 1)
    save_checkpoint(tmp_path / "x.pth", content | {"config": content["config"] | config})
    assert load_network(letter, tmp_path / "x.pth").config == content["config"]
