"""Fit a camera's noise to noisy/clean pairs or to noisy images alone, and write the fit that other commands use."""

import argparse
import logging
import time
from pathlib import Path

from data.folders import find_noisy
from data.mosaic import files_by_iso, find_origins
from data.pairs import ImagePair, find_pairs
from data.sidd import find_scenes
from data.splits import split_to_fit
from evaluation.fit_report import report_of_fit, table_of_levels, table_of_reduced
from noise.blind_fit import fit_blindly, identify_noisy, read_noisy
from noise.copula_fit import fit_copula
from noise.fitting import read_windows
from noise.kinds import FILES
from noise.pipeline_fit import fit_pipeline, identify, read_reduced, sample_windows
from options.fit import IMAGES_PER_ISO, fit_options
from utils.command import blame, run_command
from utils.files import claim_folder
from utils.image import write_image
from utils.randomness import evenly_spaced
from utils.report import to_terminal
from utils.run import terminal_log


def main(arguments: list[str] | None = None) -> None:
    """Fit to what the options name."""
    args, log = fit_options(arguments), terminal_log()
    (fit_noisy if args.noisy_only else fit_pairs)(args, log)


def fit_noisy(args: argparse.Namespace, log: logging.Logger) -> None:
    """Fit to noisy images alone, write and draw."""
    start, path = time.monotonic(), Path(args.output_dir) / args.cam_name / FILES[0]
    with blame("--noisy_only, --cam_name or --iso"):
        files = find_noisy(args.noisy_only, args.cam_name, args.iso)
    with blame("--output_dir"):
        claim_folder(path.parent)
    with blame("--noisy_only"):
        images = read_noisy(files, args.num_workers)
        found = identify_noisy(images, args.num_workers)
    log.info("%s", found)
    pipeline, levels = fit_blindly(args.cam_name, images, files, found, args.num_workers, args.seed)
    with blame("--output_dir"):
        pipeline.save(path)
    log.info("%s: fitted to %d noisy images in %.0f s", path, len(files), time.monotonic() - start)
    log.info("\n%s", to_terminal(table_of_levels(levels)))
    report(args, path, [], log)


def fit_pairs(args: argparse.Namespace, log: logging.Logger) -> None:
    """Fit to image pairs, write, test and draw."""
    start, folder = time.monotonic(), Path(args.output_dir) / args.cam_name

    # Image pairs.
    with blame("--cam_name, --train_img_dir or --data_prep_dir"):
        scenes = {scene.name: scene for scene in find_scenes(args.train_img_dir, args.cam_name)}
        training, testing = split_to_fit(args.cam_name, scenes, args.data_prep_dir, log)
    there = [name for name in testing if name in scenes]
    with blame("--train_img_dir"):
        pairs = find_pairs([scenes[name] for name in training])
        test_pairs = find_pairs([scenes[name] for name in there or training]) if args.test_images else []
    with blame("--reduced_dir, --frame_size or --cam_name"):
        reduced, held_out = read_reduced(args.reduced_dir, args.cam_name, args.frame_size, set(testing))
    with blame("--output_dir"):
        claim_folder(folder)

    # Fit.
    pipeline = None
    if args.model != "copula":
        with blame("--train_img_dir"):
            windows = sample_windows(pairs, args.num_workers)
            found = identify(windows, args.num_workers)
        log.info("%s", found)
        if args.model == "pipeline" and not found.is_identified:
            with blame("--model"):
                raise ValueError(f"{args.train_img_dir}: a rendering that is not identified has no pipeline")
        if found.is_identified:
            pipeline = fit_pipeline(args.cam_name, windows, found, reduced, args.num_workers, args.seed)
    path = folder / FILES[0 if pipeline else 1]
    if pipeline:
        with blame("--output_dir"):
            pipeline.save(path)
    else:
        folders = [scenes[name] for name in training]
        with blame("--train_img_dir"):
            by_iso = files_by_iso(folders, IMAGES_PER_ISO, find_origins(folders, args.num_workers))
            fit_copula(by_iso, read_windows, args.num_workers, args.cam_name).save(path)
    log.info("%s: fitted to %d scenes in %.0f s", path, len(training), time.monotonic() - start)

    # Test.
    if test_pairs and not there:
        log.info("note: tested on the images that it is fitted to, for no other scene is there")
    report(args, path, evenly_spaced(test_pairs, args.test_images), log)
    if held_out and pipeline:
        log.info("\n%s", to_terminal(table_of_reduced(pipeline, held_out, args.seed)))


def report(args: argparse.Namespace, path: Path, pairs: list[ImagePair], log: logging.Logger) -> None:
    """Remove an earlier fit of another kind, test the new one on images, if there are any, and draw it."""
    for other in {path.with_name(name) for name in FILES} - {path}:
        other.unlink(missing_ok=True)
    table, picture = report_of_fit(path, pairs, args.seed, args.num_workers)
    if table:
        log.info("\n%s", to_terminal(table))
    if picture is not None:
        write_image(path.with_name("noise.png"), picture)
        log.info("picture: %s", path.with_name("noise.png"))
    log.info("use: --pretrain_dir %s --cam_name %s", args.output_dir, args.cam_name)


if __name__ == "__main__":
    run_command(main)
