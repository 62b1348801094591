"""Options of the quick test and of the export of weights and gain banks."""

import argparse
from collections.abc import Callable

from options.common import (
    CAMERA,
    Group,
    Parser,
    add_device_options,
    add_path_option,
    add_pretrain_option,
    add_scene_options,
    add_seed_option,
    bounded,
    given_path,
    non_negative_float,
    thread_count,
)

NECA_TYPES = ("W", "S")
DEFAULT_NOISE_LEVEL = 25
PHONES = ("S6", "GP", "G4", "N6", "IP")  # whose fits ship


def add_neca_type_option(parser: Group, default: str | None = "W") -> None:
    """Add `--NeCA_type`, of commands that put noise on images; default None: it follows from other options."""
    parser.add_argument(
        "--NeCA_type",
        choices=NECA_TYPES,
        default=default,
        help="W: NeCA-W, signal-dependent, its strength is a gain; S: NeCA-S, signal-independent, its strength is "
        "--noise_level",
    )


def quick_test_parser() -> Parser:
    """Build the parser of the quick test."""
    parser = Parser(
        "Quick test of NeCA: put a camera's noise on clean images and compare it with the real noise. Reads clean.png "
        "and noisy.png, and further pairs <name>_clean.png and <name>_noisy.png. Writes fake noisy images, the noises "
        "and panels. For your own images use main_synthesize.py."
    )
    parser.add_argument("--cam_name", default=CAMERA, help="code of the camera whose weights are used")
    parser.add_argument("--dir_test_save", default="./test/saves/", help="folder for the results")
    parser.add_argument("--dir_test_img", default="./test/imgs/", help="folder of the image pairs")
    add_neca_type_option(parser)
    parser.add_argument(
        "--noise_level",
        type=non_negative_float,
        default=DEFAULT_NOISE_LEVEL,
        help="NeCA-S: standard deviation of the noise before NCNet, in grey levels",
    )
    parser.add_argument(
        "--gain",
        type=_gain,
        help="NeCA-W: gain, about the noise's standard deviation / 255 (default: estimated on the noisy image)",
    )
    add_pretrain_option(parser, fits=False)
    add_seed_option(parser)
    add_device_options(parser)
    return parser


def export_options(arguments: list[str]) -> argparse.Namespace:
    """Read the options of the command that takes weights out of a training run."""
    parser = Parser(
        "Copy the newest NeCA weights of a training run, and its gains.json, to "
        "<output_dir>/<cam_name>/checkpoint_{E,G1,G2}.pth, where the other commands find them. Four more commands have "
        "their own --help: main_export.py gains (measure gains.json anew), denoiser (for other programs), page (noise "
        "in the browser), program (noise as one file that PyTorch alone runs)."
    )
    parser.add_argument("--cam_name", default=CAMERA, help="code of the camera whose weights are copied")
    parser.add_argument(
        "--pretrain_dir",
        default="./saves/noise_syn/",
        help="--dir_save of the training, or a folder of checkpoints, such as <dir_save>/<cam_name>/models/ema/",
    )
    parser.add_argument("--output_dir", default="./pretrain/", help="folder to copy to")
    parser.add_argument("--half", action="store_true", help="store half precision; loading makes it float32 again")
    parser.add_argument("--format", choices=("pth", "safetensors"), default="pth", help="format of the files")
    return parser.parse_args(arguments)


def denoiser_options(arguments: list[str]) -> argparse.Namespace:
    """Read the options of `main_export.py denoiser`."""
    parser = Parser(
        "Write a trained denoiser as a .safetensors file that spandrel loads, and through it chaiNNer and ComfyUI; "
        "main_eval.py denoise --denoisers NAME=FILE takes it, too.",
        prog="main_export.py denoiser",
    )
    parser.add_argument("--denoiser", required=True, help="folder of a denoiser's training, or its checkpoint")
    parser.add_argument("--output", type=_safetensors_path, required=True, help="file to write, NAME.safetensors")
    return parser.parse_args(arguments)


def program_options(arguments: list[str]) -> argparse.Namespace:
    """Read the options of `main_export.py program`."""
    parser = Parser(
        "Write a camera's noise as one file that PyTorch alone runs: program = torch.export.load(FILE).module(); "
        "noisy = program(clean, white, iso) with clean images (N, 3, H, W) in [0, 1], H and W even, torch.randn of "
        "(N, 1, H, W), and ISOs (N,). NeCA-W takes sides that are multiples of 8, torch.randn of (N, 3, H, W), and "
        "gains (N,) in place of ISOs.",
        prog="main_export.py program",
    )
    parser.add_argument("--cam_name", default=CAMERA, help="code of the camera whose noise is exported")
    add_pretrain_option(parser)
    parser.add_argument(
        "--model", choices=("pipeline", "neca-w"), default="pipeline", help="the camera's fit, or its NeCA weights"
    )
    parser.add_argument("--output", type=_named("pt2"), default="./noise.pt2", help="file to write, NAME.pt2")
    return parser.parse_args(arguments)


def page_options(arguments: list[str]) -> argparse.Namespace:
    """Read the options of `main_export.py page`."""
    parser = Parser(
        "Write one HTML file that puts cameras' noise on pictures in the browser, without a server or network. It has "
        "the cameras' fits (pipelines of main_fit_noise.py) and example pictures: open it, choose a picture, a camera "
        "and an ISO.",
        prog="main_export.py page",
    )
    parser.add_argument(
        "--cam_name", nargs="+", default=list(PHONES), metavar="CAM", help="codes of the cameras on the page"
    )
    parser.add_argument(
        "--pretrain_dir", type=given_path, default="./pretrain/", help="folder of the fits, <cam_name>/noise.json"
    )
    parser.add_argument("--output", type=_named("html"), default="./page.html", help="file to write, NAME.html")
    add_path_option(
        parser,
        "--real_dir",
        "DIR",
        "scenes in SIDD's layout: measure each camera's real noise there and show it beside the page's; the "
        "figures are kept in real_noise.json beside the fit, where a page without this option finds them",
    )
    parser.add_argument(
        "--data_prep_dir",
        default="./data_preparation/",
        help="with --real_dir: folder of the scene lists <CAM>_train.txt and <CAM>_test.txt; the page says of test "
        "scenes that the fit has not seen them",
    )
    return parser.parse_args(arguments)


def gains_options(arguments: list[str]) -> argparse.Namespace:
    """Read the options of `main_export.py gains`, and end in one line where they do not fit together."""
    parser = Parser(
        "Estimate the gains of a camera's training images by NeCA's GENet and write them, by ISO, to gains.json beside "
        "its weights, where main_synthesize.py finds them. A gain is the strength of NeCA-W; fits need none.",
        prog="main_export.py gains",
    )
    most = "crops of each ISO, evenly spaced over its scenes; 0: all"
    add_scene_options(parser, split="train", purpose="measure", max_images=200, max_images_help=most)
    add_pretrain_option(parser, fits=False)
    parser.add_argument("--output", help="file to write (default: gains.json beside the weights)")
    parser.add_argument(
        "--plot",
        metavar="PNG",
        help="draw the noise by clean intensity at each ISO's median gain, measured on a chart of all grey levels",
    )
    parser.add_argument("--keep_bank", action="store_true", help="measure nothing: --plot the gains.json that is there")
    parser.add_argument("--num_workers", type=thread_count, default=2, help="threads that read; 0: no threads")
    add_seed_option(parser)
    add_device_options(parser)
    args = parser.parse_args(arguments)
    if args.keep_bank and not args.plot:
        parser.error("--keep_bank: only with --plot, there is nothing else to do")
    if args.plot and not args.plot.lower().endswith(".png"):
        parser.error(f"--plot {args.plot}: expected a name that ends in .png")
    return args


def needed_networks(args: argparse.Namespace) -> tuple[str, ...]:
    """Name the networks that the quick test runs."""
    return networks_of(args.NeCA_type, estimates_gain=args.gain is None)


def networks_of(neca_type: str, estimates_gain: bool) -> tuple[str, ...]:
    """Name the networks that a type of noise needs: GENet only where it estimates gains."""
    if neca_type == "S":
        return ("G2",)
    return ("E", "G1", "G2") if estimates_gain else ("G1", "G2")


def without_effect(args: argparse.Namespace) -> list[str]:
    """Note options that differ from their defaults, yet have no effect with this `--NeCA_type`, one line each."""
    if args.NeCA_type == "W" and args.noise_level != DEFAULT_NOISE_LEVEL:
        return [f"note: --noise_level {args.noise_level:g} has no effect with --NeCA_type W, whose level is the gain's"]
    if args.NeCA_type == "S" and args.gain is not None:
        return [f"note: --gain {args.gain:g} has no effect with --NeCA_type S, whose level is --noise_level"]
    return []


def _safetensors_path(text: str) -> str:
    """Parse the name of a .safetensors file."""
    if not text.endswith(".safetensors"):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a name that ends in .safetensors")
    return text


def _named(suffix: str) -> Callable[[str], str]:
    """Make a parser of file names that end in a suffix."""

    def parse(text: str) -> str:
        if not text.lower().endswith(f".{suffix}"):
            raise argparse.ArgumentTypeError(f"{text!r}, expected a name that ends in .{suffix}")
        return text

    return parse


def _gain(text: str) -> float:
    """Parse a gain, in [0, 1] units like the images."""
    return bounded(text, float, 0, 1, "0 to 1: grey levels / 255")
