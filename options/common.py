"""Parts that the option files share: a parser that ends in one clear line, number types, common options."""

import argparse
import math
import shlex
import sys
from collections.abc import Callable
from typing import Any, NoReturn

Group = argparse._ActionsContainer  # a parser, or one of its groups
CAMERA = "IP"  # of every command that takes one (published), as the folders of SIDD are their default
MOST_OPTION_FILES = 100  # that a command reads, by its words and by one another


class _DefaultsHelp(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, lists as one types them, but not those of switches, which are off, nor a missing one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.nargs == 0 or action.default in (None, []):
            return action.help
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action)


class _HelpAll(argparse.Action):
    """Print the description of all options and end."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: object, option: object = None) -> None:
        print(parser.format_full_help(), end="")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """ArgumentParser without abbreviations, with defaults in `--help` and one line for an error.

    An argument @FILE stands for the options in a file, in as many lines as one likes; # begins a comment.
    """

    def __init__(self, description: str, **more: Any):
        more |= {"formatter_class": _DefaultsHelp, "allow_abbrev": False, "fromfile_prefix_chars": "@"}
        super().__init__(description=description, **more)
        self._option_files = 0
        self._internals: list[Any] = []

    def add_internal_group(self, title: str) -> Group:
        """Add a group of options that `--help` leaves out and `--help-all` shows."""
        if not self._internals:
            words = "show this help with the options of every network and loss"
            self.add_argument("--help-all", action=_HelpAll, nargs=0, default=argparse.SUPPRESS, help=words)
        self._internals.append(self.add_argument_group(title))
        return self._internals[-1]

    def format_help(self) -> str:
        """Describe the options but the internal ones."""
        hidden = [action for group in self._internals for action in group._group_actions]
        words = [action.help for action in hidden]
        for action in hidden:
            action.help = argparse.SUPPRESS
        try:
            return super().format_help()
        finally:
            for action, help in zip(hidden, words):
                action.help = help

    def format_full_help(self) -> str:
        """Describe all options."""
        return super().format_help()

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """Split a line of an option file as a shell would."""
        try:
            return shlex.split(arg_line, comments=True)
        except ValueError as error:
            self.error(f"option file: {arg_line.strip()}: {error}")

    def _read_args_from_files(self, arg_strings: list[str]) -> list[str]:
        self._option_files += 1  # argparse comes here again for each of them
        if self._option_files > MOST_OPTION_FILES:
            self.error(f"an option file includes itself, or there are more than {MOST_OPTION_FILES}")
        try:
            return super()._read_args_from_files(arg_strings)
        except UnicodeDecodeError:
            self.error("an option file is no text")

    def error(self, message: str) -> NoReturn:
        """End the command with one line that names what is wrong."""
        print(f"error: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


def positive_int(text: str) -> int:
    """Parse an integer from 1."""
    return bounded(text, int, 1, math.inf, "a whole number from 1")


def natural_int(text: str) -> int:
    """Parse an integer from 0."""
    return bounded(text, int, 0, math.inf, "a whole number from 0")


def thread_count(text: str) -> int:
    """Parse a number of threads, 0 to 64; each keeps images in memory."""
    return bounded(text, int, 0, 64, "a whole number from 0, at most 64")


def non_negative_float(text: str) -> float:
    """Parse a number from 0 that single precision can hold."""
    return bounded(text, float, 0, 3e38, "a number from 0, at most 3e38")


def below_one(text: str) -> float:
    """Parse a number from 0, below 1."""
    return bounded(text, float, 0, math.nextafter(1, 0), "a number from 0, less than 1")


def bounded(text: str, kind: Callable[[str], Any], lowest: float, highest: float, expected: str) -> Any:
    """Parse a finite number within [lowest, highest]; `expected` says which, for the message."""
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not (lowest <= value <= highest and value < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}")
    return value


def given_path(text: str) -> str:
    """Refuse an empty path, as an unset variable of the shell would make it."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty, expected a path")
    return text


def add_path_option(parser: Group, flag: str, metavar: str, help: str) -> None:
    """Add an option that takes a path and has no default."""
    parser.add_argument(flag, type=given_path, metavar=metavar, help=help)


def add_device_options(parser: Group) -> None:
    """Add the options of `utils.runtime.choose_device`."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda", "mps"),
        default="auto",
        help="device to compute on; auto: CUDA where there is one, else the CPU; mps: Apple's GPUs",
    )
    parser.add_argument(
        "--gpu_ids",
        type=natural_int,
        nargs="+",
        default=[0],
        help="number of the CUDA GPU; a training takes several and starts one process for each; ignored on the CPU",
    )


def add_seed_option(parser: Group) -> None:
    """Add `--seed`, from which all randomness follows."""
    parser.add_argument("--seed", type=_seed, default=0, help="seed of all random numbers")


def _seed(text: str) -> int:
    return bounded(text, int, 0, 2**32 - 1, "a whole number from 0 to 2^32 - 1")


def add_channels_option(parser: Group) -> None:
    """Add `--img_channels`, of commands that read image pairs."""
    parser.add_argument(
        "--img_channels",
        type=int,
        choices=(3, 1),
        default=3,
        help="channels of the images: 3 (RGB), or 1 (grey; colour files are read as grey)",
    )


def add_scene_options(
    parser: Group, split: str, purpose: str, max_images: int, max_images_help: str, several: bool = False
) -> None:
    """Add the options that choose scenes of a data set, for `data.splits.select_scenes`.

    purpose: what for, for the help; several: --cam_name takes one or more cameras, into a list.
    """
    if several:
        parser.add_argument("--cam_name", nargs="+", default=[CAMERA], metavar="CAM", help="codes of the cameras")
    else:
        parser.add_argument("--cam_name", default=CAMERA, help="code of the camera, in the names of its scenes")
    parser.add_argument(
        "--data_dir",
        type=given_path,
        default="./Datasets/SIDD_Medium_Crop/",
        help="scenes in SIDD's layout: crops of Crop_SIDD.py, or uncropped parts, which are cut into the same crops",
    )
    parser.add_argument(
        "--data_prep_dir",
        default="./data_preparation/",
        help="folder of <CAM>_train.txt and <CAM>_test.txt; without them the published split is taken",
    )
    parser.add_argument("--split", choices=("train", "test", "all"), default=split, help=f"scenes to {purpose}")
    parser.add_argument("--scene_list", help=f"file of scene names to {purpose}, in place of --split")
    parser.add_argument("--max_images", type=natural_int, default=max_images, help=max_images_help)


def add_pretrain_option(parser: Group, fits: bool = True) -> None:
    """Add `--pretrain_dir`, for commands that use a camera's noise; fits: they take fits, not NeCA's weights alone."""
    weights, training = (
        "NeCA weights (checkpoint_{E,G1,G2}.pth or .safetensors)",
        "a --dir_save of main_train_jointly.py",
    )
    both = f"folder of <cam_name>/ with a fit (noise.json or noise.safetensors) or {weights}; an --output_dir of "
    both += f"main_fit_noise.py, or {training}"
    words = both if fits else f"folder of <cam_name>/ with {weights}, or {training}"
    parser.add_argument("--pretrain_dir", type=given_path, default="./pretrain/", help=words)
