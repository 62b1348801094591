"""Cut the image pairs of SIDD-Medium (or of another camera in its layout) into overlapping crops for training."""

import os
import sys
from pathlib import Path

from data.boxes import CropSettings
from data.crop import claim_target, crop_all, find_jobs
from data.mosaic import MOSAIC_RECORD, store_origins
from data.sidd import find_misnamed, find_scenes, name_unread_in
from options.data import crop_parser
from utils.command import blame, keep_freed_memory, printable, run_command


def main(arguments: list[str] | None = None) -> int:
    """Cut what is not complete; return 1 if an image failed."""
    args = crop_parser().parse_args(arguments)
    keep_freed_memory()
    with blame("--size, --overlap or --threshold"):
        settings = CropSettings(args.size, args.overlap, args.threshold)
    with blame("--source"):
        scenes = find_scenes(args.source)
    with blame("--target"):
        claim_target(Path(args.source), Path(args.target), settings)
    jobs, failures = find_jobs(scenes, Path(args.target))
    failures += find_misnamed(args.source)
    for line in name_unread_in(scenes):
        print(printable(f"note: {line}"))

    with blame("--target"):
        results = crop_all(jobs, settings, args.num_workers)

    cut = [folder for folder in {job.folder for job in jobs} if folder.is_dir()]
    with blame("--target"):
        found = store_origins(Path(args.target), sorted(cut), args.num_workers) if not failures else 0

    if hasattr(os, "sync"):  # not on Windows
        os.sync()  # the crops are not flushed one by one

    failures = sorted(failures + [result.failure for result in results if result.failure])
    for failure in failures:
        print(printable(f"failed: {failure}"), file=sys.stderr)
    written = sum(result.written for result in results)
    skipped = sum(result.complete for result in results)
    print(
        f"{2 * len(jobs)} images of {len(scenes)} scenes in {args.target}: {written} crops written, "
        f"{2 * skipped} images skipped (complete before), {len(failures)} failures"
    )
    if found:
        print(
            f"{found} images are kept whole: their places in the camera's mosaic are in {args.target}/{MOSAIC_RECORD}"
        )
    return 1 if failures else 0


if __name__ == "__main__":
    run_command(main)
