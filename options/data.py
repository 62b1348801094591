"""Options of the commands that make data: Crop_SIDD.py, main_make_demo.py and main_restore_frames.py."""

from options.common import Parser, natural_int, positive_int, thread_count


def crop_parser() -> Parser:
    """Build the parser of the command that cuts SIDD's frames into crops."""
    parser = Parser(
        "Cut the image pairs of SIDD-Medium, or of your own camera in the same layout, into crops for training. "
        "Run again to continue an interrupted run: what is complete is skipped."
    )
    parser.add_argument(
        "--source",
        default="./Datasets/SIDD_Medium_Srgb_Parts/",
        help="folder of the scene folders, of Data/ with them, or of an unpacked archive such as SIDD_Medium_Srgb/; "
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
        help="an image is cut if both its sides exceed this many pixels, and kept whole otherwise",
    )
    parser.add_argument("--num_workers", type=natural_int, default=4, help="threads that cut; 0: none of their own")
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
        help="number of scenes, two image pairs each; the ISO levels take turns, every fifth round is for testing",
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
        help="ISO levels, 50 to 12800; the noise grows with about the square root",
    )
    parser.add_argument(
        "--seed", type=natural_int, default=0, help="the same seed and options give the same files, bit by bit"
    )
    parser.add_argument(
        "--statistics",
        action="store_true",
        help="afterwards measure the noise on the disk and print a table: one row for each ISO level",
    )
    return parser


def restore_frames_parser() -> Parser:
    """Build the parser of the command that makes native-like pairs of reduced frames."""
    parser = Parser(
        "Make native-like training pairs of SIDD's frames that were reduced without antialiasing (bilinear, such as "
        "256x256): their noise gets back its strength, and the correlation of native crops of the same cameras, which "
        "are copied beside them. Whoever has SIDD's own frames needs none of this."
    )
    parser.add_argument("--reduced_dir", required=True, help="folder of the scenes with reduced frames")
    parser.add_argument("--native_dir", required=True, help="folder of scenes with native crops of the same cameras")
    parser.add_argument(
        "--output_dir",
        default="./Datasets/Phones_Srgb_Parts/",
        help="folder of the scenes, the training's --train_img_dir; lists/ in it is the --data_prep_dir",
    )
    parser.add_argument(
        "--test_scenes",
        nargs="+",
        default=[],
        metavar="NNNN",
        help="numbers of scenes to hold out; other native crops train, and other frames follow the published split",
    )
    parser.add_argument("--seed", type=natural_int, default=0, help="of the noise's order")
    parser.add_argument("--num_workers", type=thread_count, default=2, help="threads that read; 0: none of their own")
    return parser
