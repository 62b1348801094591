"""Cut frames into overlapping crops: the files of a pair, all of them or none."""

import contextlib
import math
import re
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from data.boxes import CropSettings, crop_name
from data.likeness import OTHER_CONTENT, shows_other_content
from data.sidd import SCENE_FORM, find_frames
from utils.files import claim_record, file_state
from utils.image import MAX_MEGAPIXELS, PHOTOGRAPH, png_size, png_text, read_image, write_image
from utils.workers import in_threads

CROP_RECORD = "crop.json"
SOURCE_STATE = "Source state"  # PNG text of an image's last crop: `file_state` of the image that it was cut from


def claim_target(source: Path, target: Path, settings: CropSettings) -> None:
    """Record the settings in the target, or check that it was begun with the same ones.

    Raises ValueError when it was not, when source and target are not apart, or the target cannot be written.
    """
    inside = source.resolve(), target.resolve()
    if inside[0].is_relative_to(inside[1]) or inside[1].is_relative_to(inside[0]):
        raise ValueError(f"{target}: expected a folder apart from {source}, neither in the other")
    try:
        scenes = [path for path in target.iterdir() if SCENE_FORM.fullmatch(path.name)] if target.is_dir() else []
        claim_record(target, CROP_RECORD, asdict(settings), results=scenes)
    except OSError as error:
        raise ValueError(f"{target}: cannot be written ({error.strerror})") from None


class CropJob(NamedTuple):
    """A pair of images to crop, and the scene's folder in the target."""

    clean: Path
    noisy: Path
    folder: Path

    def crops(self, count: int) -> list[list[Path]]:
        """Name the crops of the clean and of the noisy image."""
        return [[folder / crop_name(image, n) for n in range(1, count + 1)] for image, folder in self._sides()]

    def files(self) -> list[list[Path]]:
        """List the files that are or were to become crops of each image, an interrupted run's temporary ones too."""
        found = []
        for image, folder in self._sides():
            form = re.compile(rf"\.?{re.escape(image.stem)}_\d+(\.\d+\.tmp)?\.png")
            paths = folder.iterdir() if folder.is_dir() else []
            found.append([path for path in paths if form.fullmatch(path.name)])
        return found

    def _sides(self) -> list[tuple[Path, Path]]:
        return [(self.clean, self.folder / "clean"), (self.noisy, self.folder / "noisy")]


class CropResult(NamedTuple):
    """Outcome of a job."""

    written: int = 0  # crops, of both images together
    complete: bool = False  # was complete before
    failure: str = ""  # names the file and what is wrong with it


def find_jobs(scenes: list[Path], target: Path) -> tuple[list[CropJob], list[str]]:
    """List the pairs of all scenes and, in one line each, the images that are not part of one."""
    jobs, problems = [], []
    for scene in scenes:
        files, wrong = find_frames(scene)
        jobs += [CropJob(clean, noisy, target / scene.name) for clean, noisy in files]
        problems += wrong
    return jobs, problems


def crop_all(jobs: list[CropJob], settings: CropSettings, num_workers: int) -> list[CropResult]:
    """Crop all pairs in threads (decoding and encoding leave Python's lock alone), with a progress bar.

    Raises ValueError when the target cannot be written. Pairs that are stopped half done are removed.
    """
    stop = threading.Event()
    results = in_threads(lambda job: crop_pair(job, settings, stop.is_set), jobs, num_workers, stop)
    try:
        with tqdm(results, total=len(jobs), desc="crop", unit="pair", disable=None) as bar:
            return list(bar)
    except OSError as error:
        raise ValueError(f"{error.filename}: cannot be written ({error.strerror}); make room and run again") from None


def crop_pair(job: CropJob, settings: CropSettings, stopped: Callable[[], bool] = lambda: False) -> CropResult:
    """Write the crops of a pair, unless they are complete.

    The result tells what is wrong with the images. Raises OSError when the target cannot be written. Then, and when
    it is stopped, it leaves no crops of the pair.
    """
    if is_complete(job, settings):
        return CropResult(complete=True)
    try:
        states = [file_state(job.clean), file_state(job.noisy)]  # before they are read: one that changes is cut anew
        images = [read_image(job.clean), read_image(job.noisy)]
    except ValueError as error:
        return CropResult(failure=str(error))
    if images[0].shape != images[1].shape:
        sizes = " and ".join(f"{image.shape[0]}x{image.shape[1]}" for image in images)
        return CropResult(failure=f"{job.clean} and {job.noisy.name}: differ in size, {sizes}")
    if shows_other_content(*images):
        return CropResult(failure=f"{job.noisy}: {OTHER_CONTENT} {job.clean.name}, expected the same, turned alike")

    boxes = settings.boxes(*images[0].shape[:2])
    try:
        _remove_crops(job)  # of an image that has since been replaced, perhaps by a smaller one
        for image, paths, state in zip(images, job.crops(len(boxes)), states):
            for path, box in zip(paths, boxes):
                if stopped():
                    raise KeyboardInterrupt
                # Not flushed, which takes longer than the cutting: what a power cut may leave, `is_complete` and the
                # decoder's checksums find.
                text = {SOURCE_STATE: state} if path == paths[-1] else {}
                write_image(path, box.of(image), flush=False, encoding=PHOTOGRAPH, text=text)
    except BaseException:
        with contextlib.suppress(OSError):
            _remove_crops(job)
        raise
    return CropResult(written=2 * len(boxes))


def is_complete(job: CropJob, settings: CropSettings) -> bool:
    """Return whether exactly a pair's crops are there: of the right sizes, whole, cut from the images as they are."""
    try:
        return _has_all_crops(job, settings)
    except OSError:
        return False  # reading or writing them tells what is wrong


def _has_all_crops(job: CropJob, settings: CropSettings) -> bool:
    size = png_size(job.clean)
    if size is None or math.prod(size) > MAX_MEGAPIXELS * 1e6 or png_size(job.noisy) != size:
        return False  # reading them tells what is wrong
    boxes = settings.boxes(*size)
    for image, paths, files in zip((job.clean, job.noisy), job.crops(len(boxes)), job.files()):
        if set(paths) != set(files) or any(png_size(path) != box[2:] for path, box in zip(paths, boxes)):
            return False
        if png_text(paths[-1]).get(SOURCE_STATE) != file_state(image):
            return False
        times = [path.stat().st_mtime_ns for path in paths]
        if min(times) < image.stat().st_mtime_ns <= times[-1]:  # one is of an earlier cutting than the last
            return False
    return True


def _remove_crops(job: CropJob) -> None:
    for files in job.files():
        for path in files:
            path.unlink()
