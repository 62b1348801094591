"""Options of Crop_SIDD.py."""

from options.common import Parser, natural_int, positive_int


def crop_parser() -> Parser:
    """Build the parser of the command that cuts SIDD's frames into crops."""
    parser = Parser(
        "Cut the image pairs of SIDD-Medium, or of your own camera in the same layout, into crops for training. "
        "Run again to continue an interrupted run: what is complete is skipped."
    )
    parser.add_argument(
        "--source",
        default="./Datasets/SIDD_Medium_Srgb_Parts/",
        help="folder of the scene folders, or of Data/ with them; read only",
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
        help="an image is cut if both its sides exceed so many pixels, and kept whole otherwise",
    )
    parser.add_argument(
        "--num_workers", type=natural_int, default=4, help="processes that cut; 0 works without any of its own"
    )
    return parser
