"""Fit a camera's noise to noisy/clean pairs, test it, and write the fit that the other commands use."""

import argparse
import logging
import time
from pathlib import Path

from data.mosaic import find_origins, with_origins
from data.pairs import ImagePair, by_file, find_pairs, pairs_by_iso
from data.sidd import find_scenes
from data.splits import split_to_fit
from evaluation.fit_report import SHOWN, draw_examples, draw_pipeline, stacked, table_by_iso, table_of_reduced
from evaluation.noise import evaluate
from noise.copula_fit import fit_copula
from noise.fitting import read_windows
from noise.kinds import FILES, PipelineNoise, load_fit
from noise.pipeline import LINEAR
from noise.pipeline_fit import Reduced, fit_pipeline, identify, read_reduced, sample_windows
from options.fit import IMAGES_PER_ISO, fit_options
from utils.command import blame, run_command
from utils.files import claim_folder
from utils.image import write_image
from utils.randomness import evenly_spaced
from utils.report import to_terminal
from utils.run import terminal_log


def main(arguments: list[str] | None = None) -> None:
    """Fit, write, test and draw."""
    args, log, start = fit_options(arguments), terminal_log(), time.monotonic()
    folder = Path(args.output_dir) / args.cam_name

    # Image pairs.
    with blame("--cam_name, --train_img_dir or --data_prep_dir"):
        scenes = {scene.name: scene for scene in find_scenes(args.train_img_dir, args.cam_name)}
        training, testing = split_to_fit(args.cam_name, scenes, args.data_prep_dir, log)
    there = [name for name in testing if name in scenes]
    with blame("--train_img_dir"):
        pairs = find_pairs([scenes[name] for name in training])
        test_pairs = find_pairs([scenes[name] for name in there or training]) if args.test_images else []
    reduced: list[Reduced] = []
    held_out: list[Reduced] = []
    if args.reduced_dir:
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
        is_linear = found.rendering.demosaicking in LINEAR
        if found.is_identified and (is_linear or args.model == "pipeline"):
            pipeline = fit_pipeline(args.cam_name, windows, found, reduced, args.num_workers, args.seed)
        elif found.is_identified:  # a fit scored .205 where the true numbers score .083
            log.info("note: fits with this demosaicking are not as good; --model pipeline takes it all the same")
    path = folder / FILES[0 if pipeline else 1]
    if pipeline:
        with blame("--output_dir"):
            pipeline.save(path)
    else:
        with blame("--train_img_dir"):
            write_copula(args, path, [scenes[name] for name in training])
    (folder / FILES[1 if pipeline else 0]).unlink(missing_ok=True)  # an earlier fit of the other kind
    log.info("%s: fitted to %d scenes in %.0f s", path, len(training), time.monotonic() - start)

    # Test.
    if test_pairs:
        if not there:
            log.info("note: tested on the images that it is fitted to, for no other scene is there")
        report(args, path, evenly_spaced(test_pairs, args.test_images), log)
    if held_out and pipeline:
        log.info("\n%s", to_terminal(table_of_reduced(pipeline, held_out, args.seed)))


def write_copula(args: argparse.Namespace, path: Path, scenes: list[Path]) -> None:
    """Fit a copula to scenes and write it."""
    origins = find_origins(scenes, args.num_workers)
    by_iso = {iso: by_file(with_origins(of, origins)) for iso, of in pairs_by_iso(scenes, IMAGES_PER_ISO).items()}
    fit_copula(by_iso, read_windows, args.num_workers, args.cam_name).save(path)


def report(args: argparse.Namespace, path: Path, pairs: list[ImagePair], log: logging.Logger) -> None:
    """Test a fit on images and draw it."""
    noise = load_fit(path)
    model = noise.model(noise.of_iso())
    results = evaluate(pairs, [model], 1, args.seed, args.num_workers)
    log.info("\n%s", to_terminal(table_by_iso(results.rows)))
    pictures = [draw_examples(evenly_spaced(pairs, SHOWN), model, args.seed)]
    if isinstance(noise, PipelineNoise):
        pictures.insert(0, draw_pipeline(noise.pipeline))
    picture = path.with_name("noise.png")
    write_image(picture, stacked(pictures))
    log.info("picture: %s; use: --pretrain_dir %s --cam_name %s", picture, args.output_dir, args.cam_name)


if __name__ == "__main__":
    run_command(main)
