"""Options of main_fit_noise.py."""

import argparse

from options.common import (
    CAMERA,
    Parser,
    add_path_option,
    add_seed_option,
    given_path,
    natural_int,
    positive_int,
    thread_count,
)

IMAGES_PER_ISO = 100  # that a copula is fitted to, evenly spaced
MODELS = ("auto", "pipeline", "copula")


def fit_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options of main_fit_noise.py, and end in one line where they do not fit together."""
    parser = fit_parser()
    args = parser.parse_args(arguments)
    if args.frame_size and not args.reduced_dir:
        parser.error("--frame_size: only with --reduced_dir, whose frames had this size")
    if args.reduced_dir and args.model == "copula":
        parser.error("--reduced_dir: not with --model copula, which cannot use reduced frames")
    if args.noisy_only and args.model == "copula":
        parser.error("--noisy_only: not with --model copula, which needs clean images")
    if args.noisy_only and args.reduced_dir:
        parser.error("--noisy_only: not with --reduced_dir, whose frames are pairs")
    for name in ("train_img_dir", "data_prep_dir", "test_images"):
        if args.noisy_only and getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name}: not with --noisy_only, which takes no pairs")
    if args.iso and not args.noisy_only:
        parser.error("--iso: only with --noisy_only; scenes of pairs have it in their names")
    return args


def fit_parser() -> Parser:
    """Build the parser of the command that fits a camera's noise."""
    parser = Parser(
        "Fit a camera's noise to noisy/clean pairs, in about a minute on a CPU. The pipeline model identifies the "
        "camera's rendering (tone curve, colour matrix, demosaicking) from the noisy images and fits the sensor's "
        "noise behind it. Images whose rendering cannot be identified, such as in-camera JPEGs, get a copula: measured "
        "distributions and correlations. The fit is written as <output_dir>/<cam_name>/noise.json or "
        "noise.safetensors, with a picture of it, noise.png, and is tested on the test scenes. --noisy_only needs no "
        "clean images. "
        "Then main_synthesize.py --pretrain_dir <output_dir> puts the noise on images."
    )
    parser.add_argument("--cam_name", default=CAMERA, help="code of the camera, in the names of its scenes")
    parser.add_argument(
        "--model",
        choices=MODELS,
        default="auto",
        help="auto: the pipeline if the rendering is identified, else the copula",
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--train_img_dir",
        type=given_path,
        default="./Datasets/SIDD_Medium_Crop/",
        help="scenes in SIDD's layout: crops of Crop_SIDD.py, frames as downloaded, or scenes of main_make_pairs.py",
    )
    data.add_argument(
        "--data_prep_dir",
        default="./data_preparation/",
        help="folder of the scene lists <CAM>_train.txt and <CAM>_test.txt. Without lists SIDD's cameras have the "
        "published split, others test on every fifth scene of each ISO; a single scene is fitted and tested",
    )
    add_path_option(
        data,
        "--reduced_dir",
        "DIR",
        "folder of further scenes, whose frames were reduced without antialiasing (cv2.resize, bilinear), such as to "
        "256x256: they add the noise of their ISO and light",
    )
    data.add_argument(
        "--frame_size",
        type=positive_int,
        nargs=2,
        metavar=("H", "W"),
        help="size of the frames of --reduced_dir before they were reduced (default: that of SIDD's phones)",
    )
    add_path_option(
        data,
        "--noisy_only",
        "FILE_OR_DIR",
        "noisy images to fit to without clean ones, as the camera made them: no JPEG, not resized, from 256x256 "
        "pixels; one is enough",
    )
    data.add_argument("--iso", type=positive_int, help="ISO of images of --noisy_only without one in EXIF data or name")
    data.add_argument(
        "--test_images", type=natural_int, default=24, help="images to test on, evenly spaced; 0: no test"
    )
    parser.add_argument(
        "--output_dir", type=given_path, default="./saves/fits/", help="folder for the fit, in <output_dir>/<cam_name>/"
    )
    add_seed_option(parser)
    parser.add_argument("--num_workers", type=thread_count, default=2, help="threads that read and fit; 0: no threads")
    return parser
