"""Options of the commands that make data: cropping, the demo set, pairs of your own camera."""

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


def crop_parser() -> Parser:
    """Build the parser of the command that cuts SIDD's frames into crops."""
    parser = Parser(
        "Cut the image pairs of SIDD-Medium, or of your own camera in the same layout, into crops for training. "
        "Run again to continue an interrupted run: what is complete is skipped."
    )
    parser.add_argument(
        "--source",
        default="./Datasets/SIDD_Medium_Srgb_Parts/",
        help="folder of the scenes, or of an unpacked archive such as SIDD_Medium_Srgb/, which holds them in Data/; "
        "read only",
    )
    parser.add_argument(
        "--target",
        default="./Datasets/SIDD_Medium_Crop/",
        help="folder for the crops, <scene>/clean/ and <scene>/noisy/; the training's --train_img_dir",
    )
    parser.add_argument("--size", type=positive_int, default=512, help="side of a crop in pixels")
    parser.add_argument("--overlap", type=natural_int, default=128, help="pixels that neighbouring crops share")
    parser.add_argument(
        "--threshold",
        type=natural_int,
        default=800,
        help="cut images whose sides are both longer, in pixels; others are kept whole",
    )
    parser.add_argument("--num_workers", type=natural_int, default=4, help="threads that cut; 0: no threads")
    return parser


def make_demo_parser() -> Parser:
    """Build the parser of the command that makes the demo data set."""
    parser = Parser(
        "Make the demo data set: photographs and test charts as a simulated phone camera (code DC) sees them, clean "
        "and noisy, in the layout of SIDD-Medium. Run again to continue an interrupted run."
    )
    parser.add_argument(
        "--output_dir",
        default="./Datasets/Demo_Srgb_Parts/",
        help="folder of the scenes, one sub-folder each; the cropper's input",
    )
    parser.add_argument(
        "--data_prep_dir",
        default="./data_preparation/",
        help="folder of the scene lists DC_train.txt and DC_test.txt, which are overwritten",
    )
    parser.add_argument(
        "--num_scenes",
        type=positive_int,
        default=24,
        help="number of scenes, two image pairs each; scenes take the ISO levels in turn, and every fifth round tests",
    )
    parser.add_argument(
        "--size",
        default="896x1280",
        help="height x width in pixels, both even; the default cuts into six crops, 3000x5328 is SIDD's largest",
    )
    parser.add_argument(
        "--iso",
        type=positive_int,
        nargs="+",
        default=[100, 800, 3200],
        help="ISO levels, 50 to 12800; the noise grows about as their square root",
    )
    parser.add_argument(
        "--seed",
        type=natural_int,
        default=0,
        help="seed of all random numbers; the same seed and options give the same files",
    )
    parser.add_argument(
        "--statistics",
        action="store_true",
        help="then measure the noise of the files and print a table, one row per ISO",
    )
    return parser


def make_pairs_options(arguments: list[str] | None) -> argparse.Namespace:
    """Read the options of the command that makes pairs of a camera, and end in one line where they do not fit."""
    parser = Parser(
        "Make noisy/clean pairs of your own camera, in SIDD's layout, from photographs that you took: tripod bursts "
        "(--bursts), pairs (--clean and --noisy), or shots of high ISO beside one of low ISO (--shots). Pictures that "
        "moved or changed exposure are left out and named. Run again to continue; new photographs get new scenes."
    )
    add_path_option(
        parser,
        "--bursts",
        "DIR",
        "folder with one folder of frames per scene; their mean is the clean image, and its own noise is corrected",
    )
    add_path_option(parser, "--clean", "DIR", "folder of clean images")
    add_path_option(parser, "--noisy", "DIR", "folder of noisy images, named as the clean ones")
    add_path_option(
        parser,
        "--shots",
        "DIR",
        "folder with one folder of shots per scene: those of the lowest ISO (by EXIF) make the clean image, the "
        "others are noisy; choose ISOs a factor of 16 apart, since the noise of the lowest stays in the pairs",
    )
    parser.add_argument("--output_dir", type=given_path, required=True, help="folder of the scenes")
    parser.add_argument(
        "--camera_code",
        required=True,
        help="your camera's code, two characters A-Z or 0-9, by which --cam_name finds it later",
    )
    parser.add_argument("--iso", type=positive_int, help="ISO of images without one in their EXIF data")
    parser.add_argument("--frames", type=natural_int, default=2, help="noisy images per scene; 0: all")
    parser.add_argument(
        "--align",
        action="store_true",
        help="shift pictures that moved by whole pixels, instead of leaving them out, and crop to what all show",
    )
    parser.add_argument(
        "--exposure_tolerance",
        type=non_negative_float,
        help="largest difference in mean brightness from the burst or the clean image, as a share of it "
        f"(default: {TOLERANCE_OF_BURSTS} in bursts, {TOLERANCE} otherwise)",
    )
    parser.add_argument(
        "--num_workers", type=thread_count, default=2, help="scenes at once, one thread each; 0: no threads"
    )
    args = parser.parse_args(arguments)
    if sum(map(bool, (args.bursts, args.shots, args.clean or args.noisy))) != 1 or bool(args.clean) != bool(args.noisy):
        parser.error("expected one of --bursts, --shots, or --clean with --noisy")
    if args.exposure_tolerance is None:
        args.exposure_tolerance = TOLERANCE_OF_BURSTS if args.bursts else TOLERANCE
    return args
