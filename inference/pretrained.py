"""Networks from checkpoint files: the authors' released weights, and those of our own training runs."""

import functools
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.architectures import ARCH, ARCHITECTURES, DEFAULT_ARCH, DENOISER, count_layers, split_config
from models.network_dncnn import dncnn_config
from models.networks import GENERATORS, HALVINGS, NETWORK_CLASSES, PAPER_NAMES, config_of
from utils.checkpoints import STATE_PREFIX, SUFFIXES, has_state, load_checkpoint, numbered_files
from utils.files import sha256_of

SHIPPED = Path(__file__).resolve().parent.parent / "pretrain"  # fits and weights, in the clone as in the package neca

# Sizes that the constructors have no default for; a released file, which has no `config`, has the paper's.
PAPER_SIZES = {
    "D1": {"patch_size": 96, "halvings": HALVINGS["D1"]},
    "D2": {"patch_size": 32, "halvings": HALVINGS["D2"]},
}

# Sizes of a network of the same layout but with dilated layers (Zhang et al. 2017, IRCNN).
IRCNN = {"nc": 64, "nb": 7, "act_mode": "R"}

IMAGE_CHANNELS = (3, 1)  # RGB, grey

# The authors' released files, by camera (their README): a folder each with checkpoint_{E,G1,G2}.pth.
RELEASED = {
    "G4": "https://drive.google.com/drive/folders/1oqhax1aESnqIx6q4jVqp_7XuoloGlJuk",
    "GP": "https://drive.google.com/drive/folders/1L2lzAMmzUT1flYWdkmTtGnPAWBirGvAr",
    "IP": "https://drive.google.com/drive/folders/1jouUbKfSz9vpvChuY5J-gvWN4JLkYs3H",
    "N6": "https://drive.google.com/drive/folders/1I7TEWZ2HnEVjAvE24wwYGBQvElqqdEH4",
    "S6": "https://drive.google.com/drive/folders/1HgHNluBdvky5HHB-fvRDelfBRv9gebcT",
}


# Arguments of variants that are no longer built, with the published values: files that have these load as before.
RETIRED: dict[str, dict[str, Any]] = {"E": {"pool_mode": "all"}, "G2": {"level": "before", "mosaic": False}}
RETIRED_OUT_NC = {"E": (3,), "G1": (2, 4, 6, 12)}  # gains by channel; means, skews and tails

# What programs call a network's weights in a file, the likeliest first.
WRAPPERS = (
    *("model_state_dict", "params_ema", "params-ema", "ema_state_dict", "state_dict_ema", "model_ema", "ema"),
    *("params", "state_dict", "model", "net_g", "netG", "generator", "denoiser", "net", "network", "weights"),
)
PARTS = ("module", "_orig_mod")  # that DataParallel, AveragedModel and torch.compile put into the names of weights


class MissingWeightsError(ValueError):
    """Weights are not there at all; those that are there and damaged raise a plain ValueError."""


def shipped_folder(folder: str | Path) -> Path:
    """Return the folder of a camera that ships for its name, such as "S6"; of any other name, and what exists, itself.

    An empty name is the folder where the program runs, as ever.
    """
    path = Path(folder)
    is_name = str(folder) == path.name and not path.exists()
    return SHIPPED / path if is_name and (SHIPPED / path).is_dir() else path


def load_network(letter: str, path: str | Path) -> nn.Module:
    """Build a network from its checkpoint file, on the CPU, in float32 and eval mode.

    The file is a dict with `model_state_dict` and `config`, the constructor's arguments; without it the sizes are the
    paper's, for the channels that the weights have. Weights that other programs have wrapped are found, too. Raises
    ValueError that names the file when it is missing, damaged, holds pickled objects, or is not this network. G3 is a
    denoiser of any of the `ARCHITECTURES`, by the id in its `config`; without one it is a DnCNN.
    """
    content = load_checkpoint(path)
    config = content.get("config") if "model_state_dict" in content else None
    build: Callable[..., nn.Module] = NETWORK_CLASSES[letter]
    try:
        if letter == DENOISER and config is not None:
            arch, config = split_config(config)
            build = ARCHITECTURES[arch].network
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: its config does not build a denoiser: {error}") from None
    name, weights = _named(letter, build), find_weights(letter, content, path, build)
    if config is None:
        config = _config_of_published(letter, weights or {})
        if letter == DENOISER and "model_state_dict" not in content and {**config, **IRCNN} == config:
            raise ValueError(
                f"{path}: may be a DnCNN or an IRCNN, whose layers have the same sizes; if it is a DnCNN, save it as a "
                f"dict of model_state_dict, its weights, and config, {config}"
            )
    config = without_retired(letter, config, path)
    try:
        # Before building, for a hostile number of layers would fill the memory.
        layers = count_layers(config)
        if weights is not None and layers > len(weights):
            raise ValueError(f"{layers} layers, but weights for fewer")
        expected = _for_images(letter, config.get("in_nc", 3))
        config = expected | config
        if config["in_nc"] not in IMAGE_CHANNELS or any(config[name] != value for name, value in expected.items()):
            raise ValueError(f"expected one of {[_for_images(letter, channels) for channels in IMAGE_CHANNELS]}")
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            network = build(**config).float()  # whatever the default type is
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: its config does not build {name}: {reason}") from None
    network.load_state_dict(fitting_weights(letter, network, content, path), assign=True)
    return network.eval()


def _named(letter: str, build: Callable[..., nn.Module]) -> str:
    """Name a network for messages; one with the key of denoisers may be of any architecture."""
    other = [f"{kind.name}, denoiser" for kind in ARCHITECTURES.values() if kind.network is build]
    return f"{other[0] if other else PAPER_NAMES[letter]} ({letter})"


def without_retired(letter: str, config: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Drop the arguments of `RETIRED` from a file's config. Raise ValueError for those of a variant."""
    if not isinstance(config, dict):
        return config
    retired = RETIRED.get(letter, {})
    variant = [f"{name} {config[name]}" for name, value in retired.items() if config.get(name, value) != value]
    if config.get("out_nc") in RETIRED_OUT_NC.get(letter, ()):
        variant.append(f"out_nc {config['out_nc']}")
    if variant:
        raise ValueError(
            f"{path}: a variant of {PAPER_NAMES[letter]} ({letter}) that is no longer built ({', '.join(variant)}); "
            "fit the camera's noise with main_fit_noise.py instead, or train again with options/recipes/quick.txt"
        )
    return {name: value for name, value in config.items() if name not in retired}


def unwrapped(content: dict[str, Any]) -> dict[str, Any]:
    """Return the weights in a checkpoint by their names, or what looks most like them.

    Wrappers (`WRAPPERS`, or the only dict of tensors), parts of names (`PARTS`) and counters of averages go.
    """
    for _ in range(3):
        dicts = {name: inner for name, inner in content.items() if isinstance(inner, dict) and _has_tensors(inner)}
        named = [name for name in WRAPPERS if name in dicts] or (list(dicts) if len(dicts) == 1 else [])
        if not named:
            break
        content = dicts[named[0]]
    weights = {
        ".".join(part for part in name.split(".") if part not in PARTS): weight
        for name, weight in content.items()
        if isinstance(name, str) and name != "n_averaged"
    }
    return weights if len(weights) >= len(content) - ("n_averaged" in content) else content


def _has_tensors(content: dict[Any, Any]) -> bool:
    return any(
        isinstance(value, Tensor) or (name in WRAPPERS and isinstance(value, dict) and _has_tensors(value))
        for name, value in content.items()
        if isinstance(name, str)
    )


def find_weights(
    letter: str, content: dict[str, Any], path: str | Path, build: Callable[..., nn.Module] | None = None
) -> dict[str, Any] | None:
    """Find a network's weights in a checkpoint's content, by the name of its first one; None if there are none.

    build: its class, without it the letter's.

    A network may be a part of the saved one, as in Lightning's modules: what is beside it is left out then. Raises
    ValueError that names the file when it holds several such networks.
    """
    build = build or NETWORK_CLASSES[letter]
    weights, first = unwrapped(content), _first_key(letter, build)
    prefixes = {key.removesuffix(first) for key in weights if f".{key}".endswith(f".{first}")}
    if not prefixes:
        given = content.get("model_state_dict")
        return given if isinstance(given, dict) else None
    if len(prefixes) > 1 and "" not in prefixes:
        names = ", ".join(sorted(prefixes))
        raise ValueError(
            f"{path}: holds {len(prefixes)} networks that may be {_named(letter, build)} ({names}); save one alone"
        )
    prefix = "" if "" in prefixes else prefixes.pop()
    return {key.removeprefix(prefix): weight for key, weight in weights.items() if key.startswith(prefix)}


@functools.cache
def _first_key(letter: str, build: Callable[..., nn.Module]) -> str:
    with torch.device("meta"):
        return next(iter(build(**PAPER_SIZES.get(letter, {})).state_dict()))


def _config_of_published(letter: str, weights: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor's arguments for a file without `config`: the paper's sizes, for colour or grey images."""
    config = dncnn_config(weights) if letter == DENOISER else PAPER_SIZES.get(letter, {})
    kernels = [weight for weight in weights.values() if isinstance(weight, Tensor) and weight.ndim == 4]
    is_grey = bool(kernels) and kernels[0].shape[1] == 1
    return config | _for_images(letter, 1 if is_grey else 3)


def _for_images(letter: str, channels: int) -> dict[str, int]:
    """Return the channels in and out for images of C channels; GENet gives a gain, and the critics only score."""
    if letter in ("D1", "D2"):
        return {"in_nc": channels}
    return {"in_nc": channels, "out_nc": 1 if letter == "E" else channels}


def fitting_weights(letter: str, network: nn.Module, content: dict[str, Any], path: str | Path) -> dict[str, Tensor]:
    """Take a network's weights out of a checkpoint's content, in the precision of the network: {key: tensor}.

    Raises ValueError that names the file and the first key that is missing, unexpected, of another shape or not finite.
    """
    expected, weights = network.state_dict(), find_weights(letter, content, path, type(network))
    name = _named(letter, type(network))
    if weights is None:
        raise ValueError(f"{path}: has no model_state_dict, expected a checkpoint of {name}")
    misfit = f"{path}: no checkpoint of {name} of these sizes"
    for key in (*expected, *weights):
        if not isinstance(weights.get(key), Tensor):
            raise ValueError(f"{misfit}: {key} is missing")
        if key not in expected:
            raise ValueError(f"{misfit}: unexpected {key}")
        if weights[key].shape != expected[key].shape:
            shapes = [tuple(tensor.shape) for tensor in (weights[key], expected[key])]
            raise ValueError(f"{misfit}: {key} has the shape {shapes[0]}, expected {shapes[1]}")
        if not torch.isfinite(weights[key]).all():
            raise ValueError(f"{path}: {key} of {name} holds values that are not finite")
    return {key: tensor.detach().to(expected[key].dtype) for key, tensor in weights.items()}


def load_generators(folder: str | Path, letters: tuple[str, ...] = GENERATORS) -> dict[str, nn.Module]:
    """Load the noise generator of a folder, or those of its networks that are needed: {letter: network}.

    NeCA-S needs only G2. Raises ValueError as `load_network`, and when the folder lacks one or its files are not of one
    generator.
    """
    paths = find_checkpoints(folder, letters)
    if not paths:
        raise MissingWeightsError(f"{folder}: has no checkpoints of {', '.join(letters)} that belong together")
    networks = {letter: load_network(letter, path) for letter, path in paths.items()}
    channels = {letter: config_of(network)["in_nc"] for letter, network in networks.items()}
    if len(set(channels.values())) > 1:
        found = ", ".join(f"{letter} for images of {number}" for letter, number in channels.items())
        raise ValueError(f"{folder}: its checkpoints do not belong together ({found} channels)")
    origins = {path.name: _origin(load_checkpoint(path)) for path in paths.values()}
    if len(set(origins.values())) > 1:
        found = ", ".join(f"{name} of {origin}" for name, origin in origins.items())
        raise ValueError(
            f"{folder}: its checkpoints do not belong together ({found}); copy all of them from one training, export "
            "them again, or resume the run to renew them"
        )
    return networks


def _origin(content: dict[str, Any]) -> str:
    """Describe what files of one generator have in common: its id; older ones have none, published ones no sizes."""
    step = f"step {content['step']!r:.20}, " if "step" in content else ""
    if generator := content.get("generator"):
        return f"{step}generator {str(generator)[:16]!r}"
    return step + ("a generator without an id" if content.get("config") else "the paper's sizes")


def find_checkpoints(folder: str | Path, letters: tuple[str, ...]) -> dict[str, Path]:
    """Find the files of these networks in a folder: {letter: path}, empty when one is missing.

    `checkpoint_<letter>.pth` or `.safetensors` comes first, except in a run, which may have begun from it; networks
    without one take `checkpoint_<letter>_<epoch>.pth` of the newest epoch that all of them have: a run that was killed
    while saving has a newer epoch of some networks only.
    """
    folder = Path(folder)
    found = {letter: _either(folder / f"checkpoint_{letter}") for letter in letters}
    is_run = bool(numbered_files(folder, STATE_PREFIX))
    numbered = {}
    for letter, path in found.items():
        files = {int(file.stem.rpartition("_")[2]): file for file in numbered_files(folder, f"checkpoint_{letter}_")}
        if not path.is_file() or (is_run and files):
            numbered[letter] = files
    if numbered:
        common = set.intersection(*(set(files) for files in numbered.values()))
        if not common:
            return {}
        found |= {letter: files[max(common)] for letter, files in numbered.items()}
    return found


def _either(path: Path) -> Path:
    """Complete a checkpoint's name with the first suffix of a file that is there; without one with the first."""
    paths = [path.with_name(path.name + suffix) for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def find_checkpoint_folder(folder: str | Path, camera: str | None, letters: tuple[str, ...] = GENERATORS) -> Path:
    """Find the folder that holds a camera's networks: released weights, a training run's, or `folder` itself.

    Of a run's networks the best come before the newest. Without a camera only `folder` itself will do. Raises
    MissingWeightsError that says where it looked, which cameras are there and how to get weights.
    """
    root, places = Path(folder), []
    if camera is not None:
        places = [root / camera, root / camera / "models" / "best", root / camera / "models"]
    places.append(root)
    for place in places:
        if find_checkpoints(place, letters):
            return place
    if camera is None:
        ships = ", ".join(sorted(place.name for place in SHIPPED.glob("*") if place.is_dir())) or "none"
        raise MissingWeightsError(
            f"{root}: has no checkpoints of {', '.join(letters)} that belong together; in {SHIPPED} ship {ships}"
        )
    cameras = {
        place.name
        for place in root.glob("*")
        if find_checkpoints(place, letters) or find_checkpoints(place / "models", letters)
    }
    files = ", ".join(f"checkpoint_{letter}.pth" for letter in letters)
    ways = ["train with main_train_jointly.py"]
    if camera in RELEASED:
        ways.insert(0, f"download the authors' files from {RELEASED[camera]} into {places[0]}/")
    raise MissingWeightsError(
        f"camera {camera} has no weights ({files}) in {', '.join(map(str, places))}; cameras with weights there: "
        f"{', '.join(sorted(cameras)) or 'none'}; {', or '.join(ways)}"
    )


def hash_weights(files: dict[str, Path]) -> str:
    """Return the SHA-256 over files of weights in the order of their letters, as of `cat E G1 G2 | sha256sum`."""
    return sha256_of(files[letter] for letter in sorted(files))


def require_unmixed(folder: Path, begins_after: int | None) -> None:
    """Refuse to begin a run among networks that it does not go on from, such as those of the published code.

    begins_after: epoch of the checkpoints that it begins from, None if it begins afresh. Raise ValueError that names a
    network in the run's folder which would be taken for one of the run.
    """
    if has_state(folder):
        return
    others = []
    for path in sorted((folder / "models").glob("checkpoint_*.pth")):
        number = re.search(r"_(\d+)$", path.stem)
        if begins_after is None or (number and int(number[1]) > begins_after):
            others.append(path)
    steps = {load_checkpoint(path).get("step") for path in others}
    if None in steps or len(steps) > 1:  # files of one step are what a kill in the first save leaves
        later = "" if begins_after is None else f" of later epochs than {begins_after}, where this run begins,"
        raise ValueError(f"{folder}: holds networks{later} such as {others[-1].name}, but no training state to resume")


def begin_from(
    networks: dict[str, nn.Module], names: dict[str, str], folders: Sequence[Path], log: logging.Logger
) -> int:
    """Fill networks in place from given checkpoints, and return the epoch that these were saved in; 0: none says it.

    A name is that of a file in one of `folders`, the first that has it, there also with `checkpoint_` before it, or a
    path. A network without a file keeps its weights, and the log says so. Of several epochs the last one counts.
    Raises ValueError when there is no file at all, one that was asked for by another name than `<letter>.pth` is
    absent, or one does not fit.
    """
    paths, searched = {}, " and ".join(map(str, folders))
    for letter, name in names.items():
        candidates = [folder / file for folder in folders for file in (name, f"checkpoint_{name}")]
        paths[letter] = next((path for path in (*candidates, Path(name)) if path.is_file()), None)
        if not paths[letter] and name != f"{letter}.pth":
            raise ValueError(f"checkpoint of {letter}: {name} is in neither {searched}, nor is it a path")
    if not any(paths.values()):
        raise ValueError(
            f"none of the checkpoints {', '.join(names.values())} is in {searched}, with or without checkpoint_ before "
            "the name, or a path"
        )
    epoch = 0
    for letter, path in paths.items():
        if path is None:
            log.info("%s begins afresh: no checkpoint %s", letter, names[letter])
            continue
        content = load_checkpoint(path)
        sizes = {ARCH: DEFAULT_ARCH} | config_of(networks[letter])
        for name, value in without_retired(letter, content.get("config", {}), path).items():
            here = sizes.get(name)
            if here != value:
                raise ValueError(f"{path}: was built with {letter}_{name} {value}, not {here}")
        networks[letter].load_state_dict(fitting_weights(letter, networks[letter], content, path))
        saved_in = content.get("epoch")
        epoch = max(epoch, saved_in if isinstance(saved_in, int) else 0)
        log.info("%s begins from %s, epoch %s", letter, path, saved_in)
    return epoch
