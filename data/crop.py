"""Frames cut into crops: the pairs to do, the work on one of them, and what needs no work."""

import contextlib
import re
from pathlib import Path
from typing import NamedTuple

from data.crop_settings import CropSettings
from data.sidd import find_pairs
from utils.image import png_size, read_image, write_image
from utils.workers import stop_requested


class CropJob(NamedTuple):
    """One pair of images and the scene's folder in the target. Both images are cropped, or none."""

    clean: Path
    noisy: Path
    folder: Path

    def sides(self) -> list[tuple[Path, Path]]:
        """(source image, folder of its crops), the clean one first."""
        return [(self.clean, self.folder / "clean"), (self.noisy, self.folder / "noisy")]


class CropResult(NamedTuple):
    """What became of a job."""

    written: int = 0  # crops, of both images together
    complete: bool = False  # was complete before
    failure: str = ""  # names the file and what is wrong with it


def find_jobs(scenes: list[Path], target: Path) -> tuple[list[CropJob], list[str]]:
    """List the pairs of all scenes and, a line each, the images that are not part of one."""
    jobs, problems = [], []
    for scene in scenes:
        pairs, wrong = find_pairs(scene)
        jobs += [CropJob(clean, noisy, target / scene.name) for clean, noisy in pairs]
        problems += wrong
    return jobs, problems


def crop_pair(job: CropJob, settings: CropSettings) -> CropResult:
    """Write the crops of a pair, `<stem>_00001.png` and so on, unless they are complete.

    What is wrong with the images is told in the result. Raises OSError when the target cannot be written. Then, and
    when it is stopped, it leaves no crops of the pair.
    """
    if is_complete(job, settings):
        return CropResult(complete=True)
    try:
        images = [read_image(source) for source, _ in job.sides()]
    except ValueError as error:
        return CropResult(failure=str(error))
    if images[0].shape != images[1].shape:
        sizes = " and ".join(f"{image.shape[0]}x{image.shape[1]}" for image in images)
        return CropResult(failure=f"{job.clean} and {job.noisy.name}: differ in size, {sizes}")

    boxes = settings.boxes(*images[0].shape[:2])
    try:
        _remove_crops(job)  # of an image that has since been replaced, perhaps by a smaller one
        for image, (source, folder) in zip(images, job.sides()):
            for path, box in zip(crop_paths(source, folder, len(boxes)), boxes):
                if stop_requested():
                    raise KeyboardInterrupt
                # Not flushed one by one, which takes longer than the cutting: what a power cut may leave, `is_complete`
                # and the decoder's checksums find.
                write_image(path, image[box], flush=False)
    except BaseException as error:
        with contextlib.suppress(OSError):
            _remove_crops(job)
        if isinstance(error, OSError):
            reason = f"{job.folder}: cannot be written ({error.strerror})"
            raise OSError(f"{reason}; make room or change --target and run again to continue") from None
        raise
    return CropResult(written=2 * len(boxes))


def crop_paths(source: Path, folder: Path, count: int) -> list[Path]:
    """Name the crops of an image."""
    return [folder / f"{source.stem}_{number:05d}.png" for number in range(1, count + 1)]


def is_complete(job: CropJob, settings: CropSettings) -> bool:
    """Tell whether exactly the crops of this pair are there: of the right sizes, whole, not older than their image."""
    size = png_size(job.clean)
    if size is None or png_size(job.noisy) != size:
        return False
    boxes = settings.boxes(*size)
    for source, folder in job.sides():
        paths = crop_paths(source, folder, len(boxes))
        if set(paths) != set(_files_of(source, folder)):
            return False
        modified = source.stat().st_mtime_ns
        for path, (rows, columns) in zip(paths, boxes):
            expected = rows.stop - rows.start, columns.stop - columns.start
            if png_size(path) != expected or path.stat().st_mtime_ns < modified:
                return False
    return True


def _files_of(source: Path, folder: Path) -> list[Path]:
    """Files that are or were going to be crops of an image, temporary ones of an interrupted run included."""
    form = re.compile(rf"\.?{re.escape(source.stem)}_\d+(\.\d+\.tmp)?\.png")
    return [path for path in folder.iterdir() if form.fullmatch(path.name)] if folder.is_dir() else []


def _remove_crops(job: CropJob) -> None:
    for source, folder in job.sides():
        for path in _files_of(source, folder):
            path.unlink()
