"""Judge noise models against real noise and denoisers on real images; make submissions to the benchmarks."""

import argparse
from pathlib import Path

from data.benchmarks.dnd import find_dnd
from data.benchmarks.sidd import read_benchmark
from data.image_sets import find_frames
from evaluation import denoising_report
from evaluation.denoisers import make_denoiser
from evaluation.denoising import denoise_all
from evaluation.denoising_images import choose_images
from evaluation.denoising_setup import describe_run as describe_denoising
from evaluation.denoising_setup import find_denoisers, output_folder
from evaluation.noise import evaluate
from evaluation.noise_models import MODEL_NAMES, ModelChoice, find_fakes, make_noise_models, split_name
from evaluation.noise_report import remarks_on, write_report
from evaluation.noise_setup import choose_scenes
from evaluation.report import check_apart, provenance
from evaluation.submission import UPLOAD, BlockSubmission, DndSubmission
from options.denoise import DATA_DIR
from options.evaluate import evaluate_parser
from options.submit import check_submission_files
from utils.command import blame, run_command
from utils.files import claim_folder
from utils.report import to_terminal
from utils.run import terminal_log
from utils.runtime import choose_device


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the arguments name."""
    args = evaluate_parser(MODEL_NAMES).parse_args(arguments)
    {"noise": judge_noise, "denoise": judge_denoisers, "submit": make_submission}[args.command](args)


def judge_noise(args: argparse.Namespace) -> None:
    """Compare noise models with the real noise of the same images."""
    log = terminal_log()
    device = choose_device(args.device, args.gpu_ids)
    folder = Path(args.output_dir or Path("saves") / "evaluation" / args.cam_name)

    # Images and models.
    scenes, chosen, training = choose_scenes(args)
    frames = find_frames([scenes[name] for name in chosen], args.max_images)
    with blame("--output_dir"):
        check_apart(folder, [args.data_dir, *(split_name(given)[1] for given in args.fake_dir)])
    choice = ModelChoice(
        camera=args.cam_name,
        names=args.models,
        pretrain_dir=args.pretrain_dir,
        noise_level=args.noise_level,
        training=[scenes[name] for name in training],
        fit_images=args.fit_images,
        num_workers=args.num_workers,
    )
    pairs = [pair for frame in frames for pair in frame.pairs]
    with blame("--fake_dir"):
        fakes = find_fakes(args.fake_dir, pairs)
    candidates = make_noise_models(choice, pairs, fakes, device)
    claim_folder(folder, "--output_dir")
    for remark in candidates.remarks:
        log.info("note: %s", remark)
    log.info("scenes: %d; models: %s", len(chosen), ", ".join(model.name for model in candidates.models))
    count, split = sum(frame.count for frame in frames), args.scene_list or args.split
    remarks = remarks_on(count, len(chosen), args.data_dir, split, args.draws, args.seed, args.cam_name)

    # Evaluate.
    with blame("--models"):
        results = evaluate(frames, candidates.models, args.draws, args.seed, args.num_workers)

    # Report.
    options = {name: value for name, value in vars(args).items() if name != "command"}
    title, origin = f"Noise models, camera {args.cam_name}", provenance(options, candidates.weights)
    remarks += candidates.remarks
    table = write_report(folder, results, title, remarks, origin, args.seed, args.html)
    log.info("\n%s\n\nwritten: %s", to_terminal(table), folder / ("report.html" if args.html else "report.md"))


def judge_denoisers(args: argparse.Namespace) -> None:
    """Denoise real noisy images and compare with the clean ones."""
    log = terminal_log()
    device = choose_device(args.device, args.gpu_ids)
    folder = output_folder(args)

    # Images and denoisers.
    images = choose_images(args, DATA_DIR)
    with blame("--output_dir"):
        check_apart(folder, [args.data_dir])
    candidates = find_denoisers(args, device)
    claim_folder(folder, "--output_dir")
    for remark in candidates.remarks:
        log.info("note: %s", remark)
    names = dict.fromkeys(run.denoiser.name for run in candidates.runs)
    log.info("images: %d; denoisers: %s", images.count, ", ".join(names))
    info = describe_denoising(args, images, candidates)

    # Evaluate.
    results = denoise_all(images, candidates.runs, args.num_workers)

    # Report.
    table = denoising_report.write_report(results, candidates.runs, candidates.pgap_of, info, folder, args.html)
    log.info("\n%s\n\nwritten: %s", to_terminal(table), folder / ("report.html" if args.html else "report.md"))


def make_submission(args: argparse.Namespace) -> None:
    """Denoise a public benchmark and write what its server takes."""
    check_submission_files(args)
    device = choose_device(args.device, args.gpu_ids)
    with blame("--denoiser"):
        denoiser = make_denoiser(args.denoiser, device, args.tile, args.self_ensemble, args.sigma, args.num_workers)
    if args.benchmark == "dnd":
        with blame("--dnd_dir"):
            dnd = find_dnd(args.dnd_dir)
        with blame("--output_dir"):
            check_apart(Path(args.output_dir), [args.dnd_dir])
            submission = DndSubmission(dnd, Path(args.output_dir), denoiser)
    else:
        with blame("--blocks"):
            blocks = read_benchmark(args.blocks)
        with blame("--output"):
            submission = BlockSubmission(Path(args.blocks), blocks, Path(args.output), args.benchmark, denoiser)
    log = terminal_log()
    submission.make(args.num_workers, log)
    log.info("complete: %s; %s", submission.product, UPLOAD[args.benchmark])


if __name__ == "__main__":
    run_command(main)
