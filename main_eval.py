"""Judge noise models: their fakes against the real noise of the same images."""

import argparse
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from data.image_sets import find_frames
from evaluation.noise import evaluate
from evaluation.noise_models import MODEL_NAMES
from evaluation.noise_report import write_report
from evaluation.noise_setup import build_models, choose_scenes
from evaluation.noise_summary import add_scores
from options.evaluate import evaluate_parser
from utils.atomic import claim_folder
from utils.report import to_terminal
from utils.run_log import terminal_log
from utils.runtime import choose_device, run_command

PACKAGES = ("torch", "numpy", "scipy", "opencv-python", "scikit-image", "matplotlib")


def main(arguments: list[str] | None = None) -> None:
    args = evaluate_parser(MODEL_NAMES).parse_args(arguments)
    {"noise": judge_noise}[args.command](args)


def judge_noise(args: argparse.Namespace) -> None:
    log = terminal_log()
    device = choose_device(args.device, args.gpu_ids)
    folder = Path(args.output_dir or Path("saves") / "evaluation" / args.cam_name)

    # Images and models.
    scenes, chosen, training = choose_scenes(args)
    frames = find_frames([scenes[name] for name in chosen], args.max_images)
    claim_folder(folder, "--output_dir")
    models, weights = build_models(args, scenes, training, frames, device, log)
    log.info("scenes of %s: %d; models: %s", args.data_dir, len(chosen), ", ".join(model.name for model in models))

    # Evaluate.
    results = evaluate(frames, models, args.draws, args.num_workers)
    add_scores(results)

    # Report.
    count = len({row["image"] for row in results.rows})
    remarks = [
        f"Images: {count}, of {len(chosen)} scenes of {args.data_dir}, split {args.scene_list or args.split}; draws of "
        f"each random model: {args.draws}; seed: {args.seed}. Fakes are clipped and rounded to 8 bit, unless a "
        "metric's definition says otherwise."
    ]
    if args.cam_name in ("G4", "GP", "IP", "N6", "S6"):
        remarks.append("In SIDD's published split every test scene is also seen in training, under another exposure.")
    provenance = {
        "command": "python " + " ".join(sys.argv),
        "options": {name: value for name, value in vars(args).items() if name != "command"},
        "weights (SHA-256)": weights,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": str(device),
    }
    info = {"title": f"Noise models, camera {args.cam_name}", "remarks": remarks, "provenance": provenance}
    table = write_report(results, info, folder, args.seed, args.html)
    log.info("\n%s\n\nwritten: %s", to_terminal(table), folder / ("report.html" if args.html else "report.md"))


if __name__ == "__main__":
    run_command(main)
