"""Judge noise models against real noise and denoisers on real images; make submissions to the benchmarks."""

import argparse
from functools import partial
from pathlib import Path

from data.benchmarks.dnd import find_dnd
from data.benchmarks.sidd import read_benchmark
from data.mosaic import find_origins, with_origins
from data.pairs import find_pairs
from data.splits import read_list, select_scenes
from evaluation import denoising_report
from evaluation.c2st import large_enough
from evaluation.denoisers import make_denoiser
from evaluation.denoising import (
    VALIDATION,
    choose_reference,
    denoise_all,
    expand_specs,
    images_of_blocks,
    images_of_scenes,
    make_runs,
    sort_by_camera,
)
from evaluation.noise import add_two_sample_tests, evaluate
from evaluation.noise_models import ModelChoice, find_fakes, judged_models, make_noise_models, split_name
from evaluation.noise_report import remarks_on, write_report
from evaluation.report import check_apart, provenance
from evaluation.submission import UPLOAD, BlockSubmission, DndSubmission
from options.evaluate import check_image_options, check_submission_files, evaluate_parser
from utils.command import blame, run_command
from utils.files import claim_folder
from utils.randomness import evenly_spaced
from utils.report import to_terminal
from utils.run import terminal_log
from utils.runtime import choose_device


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the arguments name."""
    args = evaluate_parser(tuple(judged_models())).parse_args(arguments)
    {"noise": judge_noise, "denoise": judge_denoisers, "submit": make_submission}[args.command](args)


def judge_noise(args: argparse.Namespace) -> None:
    """Compare noise models with the real noise of the same images."""
    log = terminal_log()
    with blame("--device or --gpu_ids"):
        device = choose_device(args.device, args.gpu_ids)
    folder = Path(args.output_dir or Path("saves") / "evaluation" / args.cam_name)

    # Images and models.
    with blame("--data_dir, --cam_name, --data_prep_dir, --split or --scene_list"):
        listed = read_list(args.scene_list) if args.scene_list else None
        where = args.data_dir, args.cam_name, args.data_prep_dir, args.split
        scenes, chosen, training = select_scenes(*where, listed, log)
    found = find_pairs([scenes[name] for name in chosen], channels=args.img_channels)
    pairs = evenly_spaced(found, args.max_images)
    origins = find_origins([scenes[name] for name in dict.fromkeys((*chosen, *training))], args.num_workers)
    pairs = with_origins(pairs, origins)
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
        origins=origins,
    )
    if args.c2st:
        with blame("--data_dir, --split or --scene_list, or leave out --c2st"):
            large_enough(pairs)
    with blame("--fake_dir"):
        fakes = find_fakes(args.fake_dir, pairs)
    with blame("--pretrain_dir, --data_dir, --img_channels or --models"):
        candidates = make_noise_models(choice, pairs, fakes, device)
    with blame("--output_dir"):
        claim_folder(folder)
    for remark in candidates.remarks:
        log.info("note: %s", remark)
    log.info("scenes: %d; models: %s", len(chosen), ", ".join(model.name for model in candidates.models))
    split = args.scene_list or args.split
    remarks = remarks_on(pairs, len(chosen), args.data_dir, split, args.draws, args.seed, args.cam_name)

    # Evaluate.
    with blame("--models"):
        results = evaluate(pairs, candidates.models, args.draws, args.seed, args.num_workers)
    if args.c2st:
        add_two_sample_tests(results, pairs, candidates.models, args.seed, args.num_workers, device)

    # Report.
    title, made_with = f"Noise models, camera {args.cam_name}", provenance(vars(args), candidates.weights)
    remarks += results.remarks + candidates.remarks
    table = write_report(folder, results, title, remarks, made_with, args.seed, args.html)
    log.info("\n%s\n\nwritten: %s", to_terminal(table), folder / ("report.html" if args.html else "report.md"))
    with blame("--models or --data_dir; the report has the rest"):
        results.require_whole()


def judge_denoisers(args: argparse.Namespace) -> None:
    """Denoise real noisy images and compare with the clean ones."""
    log = terminal_log()
    with blame("--device or --gpu_ids"):
        device = choose_device(args.device, args.gpu_ids)
    check_image_options(args)
    cameras = [] if args.noisy_blocks else list(dict.fromkeys(args.cam_name))
    default = Path("saves") / "evaluation" / f"denoise_{'_'.join(cameras) or 'validation'}"
    folder = Path(args.output_dir or default)

    # Images and denoisers.
    if args.noisy_blocks:
        with blame("--noisy_blocks or --gt_blocks"):
            images = images_of_blocks(Path(args.noisy_blocks), Path(args.gt_blocks), args.max_images)
        described, title = f"{images.count} blocks of {args.noisy_blocks}", f"Denoisers, {VALIDATION}"
    else:
        names: dict[str, list[str] | None] = dict.fromkeys(cameras)
        if args.scene_list:
            with blame("--scene_list or --cam_name"):
                names |= sort_by_camera(read_list(args.scene_list), cameras)
        with blame("--data_dir, --cam_name, --data_prep_dir, --split or --scene_list"):
            folders = []
            for camera, listed in names.items():
                found, chosen, _ = select_scenes(args.data_dir, camera, args.data_prep_dir, args.split, listed, log)
                folders += [found[name] for name in chosen]
        with blame("--data_dir"):
            pairs = evenly_spaced(find_pairs(folders, channels=args.img_channels), args.max_images)
        images, scenes = images_of_scenes(pairs), len({pair.folder for pair in pairs})
        described = f"{images.count}, of {scenes} scenes of {args.data_dir}, split {args.scene_list or args.split}"
        title = f"Denoisers, camera{'s' * (len(cameras) > 1)} {', '.join(cameras)}"
    with blame("--output_dir"):
        check_apart(folder, [args.data_dir])
    with blame("--denoisers or --seeds"):
        specs = expand_specs(args.denoisers, args.seeds)
    with blame("--denoisers or --img_channels, or use --skip_missing"):
        how = {"tile": args.tile, "self_ensemble": args.self_ensemble, "sigma": args.sigma}
        how |= {"num_workers": args.num_workers, "channels": args.img_channels}
        make = partial(make_denoiser, device=device, **how)
        runs, missing = make_runs(specs, make, args.skip_missing)
    with blame("--pgap_of"):
        pgap_of = choose_reference(args.pgap_of, runs, bool(missing))
    with blame("--output_dir"):
        claim_folder(folder)
    notes = [f"Missing, left out: {reason}." for reason in missing]
    if args.sigma is not None and not any("noise level" in run.denoiser.identity for run in runs):
        notes.append("--sigma has no effect: neither nlm nor bm3d is among the denoisers.")
    if args.self_ensemble and all(run.denoiser.classic for run in runs):
        notes.append("--self_ensemble has no effect: no network is among the denoisers.")
    for note in notes:
        log.info("note: %s", note)
    log.info("images: %d; denoisers: %s", images.count, ", ".join(dict.fromkeys(run.denoiser.name for run in runs)))

    # Evaluate.
    results = denoise_all(images, runs, args.num_workers)

    # Report.
    weights = {path: digest for run in runs for path, digest in run.denoiser.weights.items()}
    made_with = provenance(vars(args), weights)
    remarks = denoising_report.remarks_on(described, cameras) + notes
    table = denoising_report.write_report(folder, results, runs, pgap_of, title, remarks, made_with, args.html)
    log.info("\n%s\n\nwritten: %s", to_terminal(table), folder / ("report.html" if args.html else "report.md"))


def make_submission(args: argparse.Namespace) -> None:
    """Denoise a public benchmark and write what its server takes."""
    check_submission_files(args)
    with blame("--device or --gpu_ids"):
        device = choose_device(args.device, args.gpu_ids)
    with blame("--denoiser"):
        denoiser = make_denoiser(args.denoiser, device, args.tile, args.self_ensemble, args.sigma, args.num_workers)
    submission: DndSubmission | BlockSubmission
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
    submission.make(args.num_workers, log := terminal_log())
    log.info("complete: %s; %s", submission.product, UPLOAD[args.benchmark])


if __name__ == "__main__":
    run_command(main)
