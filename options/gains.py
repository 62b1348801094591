"""Options of main_gains.py."""

import argparse

from options.common import (
    Parser,
    add_device_options,
    add_pretrain_option,
    add_scene_options,
    add_seed_option,
    thread_count,
)


def gains_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options of main_gains.py, and end in one line where they do not fit together."""
    parser = gains_parser()
    args = parser.parse_args(arguments)
    if args.keep_bank and not args.plot:
        parser.error("--keep_bank: only with --plot, there is nothing else to do")
    if args.plot and not args.plot.lower().endswith(".png"):
        parser.error(f"--plot {args.plot}: expected a name that ends in .png")
    return args


def gains_parser() -> Parser:
    """Build the parser of the command that makes a gain bank."""
    parser = Parser(
        "Estimate the gains of a camera's training images by GENet and write them, by ISO, to gains.json beside its "
        "weights, where main_synthesize.py finds them."
    )
    most = "crops of each ISO, evenly spaced over its scenes; 0: all"
    add_scene_options(parser, split="train", purpose="measure", max_images=200, max_images_help=most)
    add_pretrain_option(parser)
    parser.add_argument("--output", default=None, help="the bank's file (default: gains.json beside the weights)")
    parser.add_argument(
        "--plot",
        default=None,
        metavar="PNG",
        help="draw the noise by clean intensity at each ISO's median gain, measured on a chart of all grey levels",
    )
    parser.add_argument("--keep_bank", action="store_true", help="measure nothing, only --plot from the bank there is")
    parser.add_argument("--num_workers", type=thread_count, default=2, help="threads that read; 0: none of their own")
    add_seed_option(parser)
    add_device_options(parser)
    return parser
