"""Make the demo data set: scenes of a simulated phone camera with known noise, in SIDD's layout."""

from tqdm import tqdm

from data.demo.options import DemoOptions, claim_folder, parse_size
from data.demo.scenes import all_scenes, write_lists
from data.demo.statistics import as_markdown, measure
from options.make_demo import make_demo_parser
from utils.command import run_command


def main(arguments: list[str] | None = None) -> None:
    args = make_demo_parser().parse_args(arguments)
    options = DemoOptions(args.num_scenes, parse_size(args.size), tuple(args.iso), args.seed)
    claim_folder(args.output_dir, options)
    lists = write_lists(args.data_prep_dir, options)

    for scene in tqdm(all_scenes(options), total=options.num_scenes, desc="demo scenes", unit="scene", disable=None):
        scene.write(args.output_dir)

    print(f"{options.num_scenes} scenes of camera DC in {args.output_dir}")
    print(f"scene lists: {' '.join(map(str, lists))}")
    if args.statistics:
        print(as_markdown(measure(args.output_dir)))


if __name__ == "__main__":
    run_command(main)
