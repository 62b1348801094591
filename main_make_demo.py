"""Make the demo data set: scenes of a simulated phone camera with known noise, in SIDD's layout."""

from tqdm import tqdm

from data.demo.scenes import (
    CAMERA,
    DemoOptions,
    all_scenes,
    as_markdown,
    check_iso,
    claim_demo_folder,
    measure,
    parse_size,
    split_of,
)
from data.splits import write_lists
from options.data import make_demo_parser
from utils.command import blame, run_command


def main(arguments: list[str] | None = None) -> None:
    """Make the scenes and their lists; finish an interrupted set."""
    args = make_demo_parser().parse_args(arguments)
    with blame("--size"):
        size = parse_size(args.size)
    with blame("--iso"):
        check_iso(args.iso)
    with blame("--num_scenes"):
        options = DemoOptions(args.num_scenes, size, tuple(args.iso), args.seed)
    with blame("--output_dir"):
        claim_demo_folder(args.output_dir, options)
    with blame("--data_prep_dir"):
        lists = write_lists(args.data_prep_dir, CAMERA, split_of(options))

    for scene in tqdm(all_scenes(options), total=options.num_scenes, desc="demo scenes", unit="scene", disable=None):
        scene.write(args.output_dir)

    print(f"{options.num_scenes} scenes of camera DC in {args.output_dir}")
    print(f"scene lists: {' '.join(map(str, lists))}")
    if args.statistics:
        print(as_markdown(measure(args.output_dir)))


if __name__ == "__main__":
    run_command(main)
