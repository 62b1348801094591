"""Options of main_synthesize.py."""

import argparse
import math
import os
from pathlib import Path
from typing import Any

from inference.generator import SYNTHESIS_TILE
from noise.kinds import default_kind, of_own_images
from options.common import (
    CAMERA,
    Group,
    Parser,
    add_device_options,
    add_pretrain_option,
    add_seed_option,
    given_path,
    natural_int,
    non_negative_float,
    positive_int,
    thread_count,
)
from options.inference import DEFAULT_NOISE_LEVEL, add_neca_type_option
from utils.image import JPEG_QUALITY

LAYOUTS = ("plain", "sidd")
FORMATS = ("png", "tiff", "bmp", "webp", "jpg")
FORMATS_16BIT = ("png", "tiff")
# What determines the outputs: a folder that was begun with others of these is refused.
FIXED = (
    "cam_name", "NeCA_type", "noise_level", "noisy_dir", "gain_from", "gain", "iso", "seed", "per_image", "layout",
    "camera_code", "format", "keep_16bit", "half",
)  # fmt: skip
# What can be done about a failed or changed image, by words of what is said about it.
WAYS_OUT = {
    "rounded to 8 bit": "--keep_16bit keeps them",
    "megapixels": "--max_megapixels",
    "holds at most": "choose another --format, such as png or tiff",
    "out of memory": "use a smaller --tile",
}


def synthesize_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options of main_synthesize.py, and end in one line where they do not fit together."""
    parser = synthesize_parser()
    args = parser.parse_args(arguments)
    _choose_model(args, parser)
    if args.like is not None and args.model != "pipeline":
        parser.error(f"--like: not with --model {args.model}; the noise of one photograph is a pipeline")
    others = [name for name in ("noisy_dir", "gain_from", "gain") if getattr(args, name) is not None]
    if args.model == "neca-s":
        args.noise_level = args.noise_level or (DEFAULT_NOISE_LEVEL, DEFAULT_NOISE_LEVEL)
        if others:
            parser.error(f"--{others[0]}: not with --NeCA_type S, whose level is --noise_level")
    elif args.noise_level is not None:
        whose = "--NeCA_type W, whose level is the gain's" if args.model == "neca-w" else f"--model {args.model}"
        parser.error(f"--noise_level: not with {whose}")
    if args.gain is not None and args.model != "neca-w":
        parser.error(f"--gain: not with --model {args.model}; expected --iso, --noisy_dir, --gain_from or --times")
    if args.times is not None and (args.gain is not None or args.noise_level is not None):
        parser.error("--times: not with a gain or a noise level, which can be intervals themselves")
    if args.keep_16bit and args.layout == "sidd":
        parser.error("--keep_16bit: not with --layout sidd, whose images are 8-bit")
    if args.keep_16bit and args.format not in FORMATS_16BIT:
        parser.error(f"--keep_16bit: not with --format {args.format}, expected {' or '.join(FORMATS_16BIT)}")
    if args.jpg_quality != JPEG_QUALITY and args.format != "jpg":
        parser.error("--jpg_quality: only with --format jpg")
    if args.layout == "sidd" and args.format != "png":
        parser.error(f"--format {args.format}: not with --layout sidd, whose images are PNG")
    if args.camera_code is not None and args.layout != "sidd":
        parser.error("--camera_code: only with --layout sidd, whose names have it")
    if args.iso is not None and args.layout != "sidd" and not uses_bank(args) and is_neca(args):
        parser.error("--iso: only with the gain bank, of which it chooses gains, or with --layout sidd")
    for name in ("cam_name", "pretrain_dir"):
        if args.like is not None and getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name}: not with --like, whose noise is the photograph's")
    if args.like is not None and args.iso is not None and args.layout != "sidd":
        parser.error("--iso: not with --like, whose strength is the photograph's; only in the names of --layout sidd")
    if args.like is not None and args.layout == "sidd" and args.camera_code is None:
        parser.error("--camera_code: missing; the names of --layout sidd hold one, and --like names no camera")
    if args.layout == "sidd" and args.camera_code is None:
        args.camera_code = args.cam_name
    return args


def _choose_model(args: argparse.Namespace, parser: Parser) -> None:
    """Set --model and --NeCA_type, each of which may follow from the other options, or from the camera's folder."""
    of_type = {"W": "neca-w", "S": "neca-s"}
    if args.model is None and args.like is not None and not args.NeCA_type:
        args.model = "pipeline"
    elif args.model is None and (args.NeCA_type or args.gain or args.noise_level):
        args.model = of_type[args.NeCA_type or "W"]
    elif args.model is None:
        try:
            args.model = default_kind(args.pretrain_dir, args.cam_name)
        except ValueError as error:
            parser.error(f"{error}; change --cam_name or --pretrain_dir, or choose another --model")
    if args.NeCA_type is not None and args.model != of_type[args.NeCA_type]:
        parser.error(f"--NeCA_type {args.NeCA_type}: not with --model {args.model}")
    args.NeCA_type = "S" if args.model == "neca-s" else "W"


def is_neca(args: argparse.Namespace) -> bool:
    """Return whether networks make the noise."""
    return args.model in ("neca-w", "neca-s")


def uses_bank(args: argparse.Namespace) -> bool:
    """Return whether gains come from the camera's bank."""
    return args.model == "neca-w" and args.noisy_dir is None and args.gain_from is None and args.gain is None


def draws_iso(args: argparse.Namespace) -> bool:
    """Return whether the noise of an image is that of an ISO, drawn where the options name none."""
    return uses_bank(args) or not (is_neca(args) or args.noisy_dir or args.gain_from)


def source_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Take what `noise.kinds.Sources` holds, but the device, out of the parsed options."""
    return {
        "folder": args.pretrain_dir,
        "camera": args.cam_name,
        "tile": args.tile,
        "half": args.half,
        "channels_last": args.channels_last or None,
        "estimates": not uses_bank(args) and args.gain is None,
        "per_unit": 255,
    }


def synthesis_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Take what `synthesis.run.SynthesisSettings` holds, but the device, out of the parsed options."""
    names = ("seed", "keep_16bit", "max_megapixels", "num_workers", "model", "times", "jpg_quality")
    settings = {"camera": args.cam_name} | {name: getattr(args, name) for name in names}
    return settings if args.like is None else settings | {"camera": f"like {Path(args.like).name}"}


def fixed_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the options that determine the outputs of a folder.

    The image or folder of gains goes by its own name, wherever it is: its content counts.
    """
    settings = {name: getattr(args, name) for name in FIXED}
    settings["noisy_dir"] = args.noisy_dir and os.path.abspath(args.noisy_dir)
    settings["gain_from"] = args.gain_from and Path(args.gain_from).resolve().name
    if not is_neca(args):
        settings = settings | {"NeCA_type": None, "model": args.model}
    if args.times is not None:
        settings["times"] = args.times
    if args.jpg_quality != JPEG_QUALITY:
        settings["jpg_quality"] = args.jpg_quality
    if args.like is not None:  # its content counts
        settings |= {"like": Path(args.like).name, "cam_name": None}
    return settings


def with_way_out(message: str) -> str:
    """Append the option that changes what is said about an image, if there is one."""
    ways = [way for words, way in WAYS_OUT.items() if words in message]
    return f"{message} ({ways[0]})" if ways else message


def synthesize_parser() -> Parser:
    """Build the parser of the command that noises one's own images."""
    parser = Parser(
        "Put a camera's noise on your own clean images: every PNG, JPEG, TIFF, BMP, WebP and GIF of a folder and of "
        "those below it. Without --model the noise is the camera's fit, else NeCA-W. Run again to continue an "
        "interrupted run, or after adding images."
    )
    parser.add_argument("--input_dir", type=given_path, required=True, help="folder of the clean images; read only")
    parser.add_argument("--output_dir", type=given_path, required=True, help="folder of noisy images and manifest.csv")
    parser.add_argument("--cam_name", default=CAMERA, help="code of the camera: DC, G4, GP, IP, N6, S6 ship")
    add_pretrain_option(parser)
    _add_strength_options(parser.add_argument_group("strength of the noise"))
    _add_output_options(parser.add_argument_group("outputs"))
    _add_work_options(parser.add_argument_group("work"))
    return parser


def _add_strength_options(group: Group) -> None:
    group.add_argument(
        "--model",
        choices=of_own_images(),
        help="noise model: pipeline or copula, the camera's fit (noise.json or noise.safetensors); neca-w or neca-s, "
        "its NeCA weights; awgn-x-std, white noise of the std of each image's pair in --noisy_dir (default: the fit "
        "that is there, else neca-w)",
    )
    add_neca_type_option(group, default=None)
    gain = group.add_mutually_exclusive_group()
    gain.add_argument(
        "--noisy_dir",
        type=given_path,
        help="folder of real noisy images; each output has the strength of the one of the same name",
    )
    gain.add_argument(
        "--gain_from",
        type=given_path,
        metavar="FILE_OR_DIR",
        help="noisy image of the same camera, whose strength is taken, or a folder to draw one from",
    )
    gain.add_argument(
        "--gain",
        type=_gains,
        metavar="G[:G]",
        help="NeCA-W: its gain, about the noise's standard deviation / 255; LOW:HIGH draws it log-uniformly (default: "
        "drawn from gains.json beside the weights)",
    )
    group.add_argument(
        "--iso",
        type=natural_int,
        help="ISO of the noise, such as 1600 (default: drawn from those that were measured); also the ISO in the names "
        "of --layout sidd (default: the one that was drawn for the scene; 00000 where the noise has none)",
    )
    gain.add_argument(
        "--like",
        type=given_path,
        metavar="FILE",
        help="noisy photograph whose noise is taken in place of a camera's, with its strength: a pipeline is fitted to "
        "it in seconds, without a clean image. As the camera made it: no JPEG, not resized, from 256x256 pixels",
    )
    group.add_argument(
        "--times",
        type=_factors,
        metavar="F[:F]",
        help="multiply the noise of the ISO or of the noisy image by a factor; LOW:HIGH draws it log-uniformly",
    )
    group.add_argument(
        "--noise_level",
        type=grey_levels,
        metavar="S[:S]",
        help="NeCA-S: std of the noise before NCNet, in grey levels; LOW:HIGH draws it uniformly (default: "
        f"{DEFAULT_NOISE_LEVEL})",
    )
    add_seed_option(group)


def _add_output_options(group: Group) -> None:
    group.add_argument("--per_image", type=positive_int, default=1, help="independent draws of each image, _00, _01...")
    group.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="plain",
        help="plain: noisy images under the names of the inputs; sidd: noisy/clean pairs in scene folders, as "
        "Crop_SIDD.py and the trainings take them, one frame (010, 011...) per draw",
    )
    group.add_argument(
        "--format",
        choices=FORMATS,
        default="png",
        help="format of the noisy images; all but jpg are lossless",
    )
    group.add_argument(
        "--jpg_quality", type=_quality, default=JPEG_QUALITY, help="of --format jpg, from 1 to 100, in full colour"
    )
    group.add_argument(
        "--keep_16bit",
        action="store_true",
        help="put noise on 16-bit images in 16 bit and write 16 bit; without it they are rounded to 8 bit first",
    )
    group.add_argument(
        "--camera_code", help="--layout sidd: camera in the scene names, two characters (default: --cam_name)"
    )


def _add_work_options(group: Group) -> None:
    group.add_argument(
        "--max_megapixels",
        type=non_negative_float,
        default=400,
        help="refuse larger images before decoding them",
    )
    group.add_argument(
        "--half",
        action="store_true",
        help="NeCA computes in half precision: faster on CUDA, the noise changes by about 1e-3",
    )
    group.add_argument(
        "--channels_last", action="store_true", help="NeCA's memory format on CUDA; the CPU always takes it"
    )
    group.add_argument(
        "--tile",
        type=natural_int,
        default=SYNTHESIS_TILE,
        help="NeCA: side of a tile in pixels, 0: whole images; smaller tiles take less memory. It changes the noise by "
        "at most 1e-7, and so the rounding of one value in a million",
    )
    group.add_argument(
        "--num_workers", type=thread_count, default=2, help="threads that read, and as many that write; 0: no threads"
    )
    add_device_options(group)


def _quality(text: str) -> int:
    """Parse a quality of JPEG."""
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number from 1 to 100")
    return int(text)


def _gains(text: str) -> tuple[float, float]:
    """Parse a gain or an interval of gains, in [0, 1] units like the images."""
    low, high = _interval(text, "a gain from 0 to 1 such as 0.03, or an interval such as 0.01:0.08")
    if high > 1 or (low == 0 and high > 0):
        raise argparse.ArgumentTypeError(
            f"{text!r}, expected a gain from 0 to 1 (grey levels / 255), or an interval that begins above 0"
        )
    return low, high


def _factors(text: str) -> tuple[float, float]:
    """Parse a factor or an interval of factors."""
    low, high = _interval(text, "a factor above 0 such as 1.5, or an interval such as 0.5:2")
    if low == 0:
        raise argparse.ArgumentTypeError(f"{text!r}, expected factors above 0")
    return low, high


def grey_levels(text: str) -> tuple[float, float]:
    """Parse a noise level or an interval of noise levels, in grey levels."""
    low, high = _interval(text, "a number from 0 to 255 such as 25, or an interval such as 5:50")
    if high > 255:
        raise argparse.ArgumentTypeError(f"{text!r}, expected at most 255 grey levels")
    return low, high


def _interval(text: str, expected: str) -> tuple[float, float]:
    parts = text.split(":")
    try:
        low, high = float(parts[0]), float(parts[-1])
    except ValueError:
        low = math.nan
    if len(parts) > 2 or not 0 <= low <= high < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}")
    return low, high
