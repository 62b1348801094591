"""Options of main_make_pairs.py."""

import argparse

from options.common import (
    Parser,
    add_path_option,
    given_path,
    natural_int,
    non_negative_float,
    positive_int,
    thread_count,
)

# Of the mean brightness: in a burst nothing has a reason to differ; the noise of a high ISO may brighten or darken.
TOLERANCE, TOLERANCE_OF_BURSTS = 0.1, 0.02


def make_pairs_options(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options of the command that makes pairs of a camera, and end in one line where they do not fit."""
    parser = Parser(
        "Make noisy/clean pairs of your own camera, in SIDD's layout, of photographs that you took: tripod bursts "
        "(--bursts), pairs (--clean and --noisy), or shots of high ISO beside one of low ISO (--shots). Pictures that "
        "moved or changed exposure are left out and named. Run again to continue; new photographs get new scenes."
    )
    add_path_option(
        parser,
        "--bursts",
        "DIR",
        "folder with a folder of frames for each scene; their mean is the clean image, its own noise made up for",
    )
    add_path_option(parser, "--clean", "DIR", "folder of clean images")
    add_path_option(parser, "--noisy", "DIR", "their noisy images, of the same names")
    add_path_option(
        parser,
        "--shots",
        "DIR",
        "folder with a folder for each scene: the shots of the lowest ISO (by EXIF) are its clean image, the "
        "others noisy; choose ISOs a factor of 16 apart, for the reference's own noise stays in the pairs",
    )
    parser.add_argument("--output_dir", type=given_path, required=True, help="folder of the scenes")
    parser.add_argument("--camera_code", required=True, help="two characters A-Z or 0-9 of your own; --cam_name later")
    parser.add_argument("--iso", type=positive_int, default=None, help="ISO of images whose EXIF data says none")
    parser.add_argument("--frames", type=natural_int, default=2, help="noisy images of each scene; 0: all")
    parser.add_argument(
        "--align",
        action="store_true",
        help="shift pictures that moved by whole pixels, in place of leaving them out, and cut to what all show",
    )
    parser.add_argument(
        "--exposure_tolerance",
        type=non_negative_float,
        default=None,
        help="share of the mean brightness by which a picture may differ from its burst or its clean image "
        f"(default: {TOLERANCE_OF_BURSTS} in bursts, {TOLERANCE} otherwise)",
    )
    parser.add_argument("--num_workers", type=thread_count, default=2, help="scenes worked on at once; 0: no threads")
    args = parser.parse_args(arguments)
    if sum(map(bool, (args.bursts, args.shots, args.clean or args.noisy))) != 1 or bool(args.clean) != bool(args.noisy):
        parser.error("expected one of --bursts, --shots, or --clean with --noisy")
    if args.exposure_tolerance is None:
        args.exposure_tolerance = TOLERANCE_OF_BURSTS if args.bursts else TOLERANCE
    return args
