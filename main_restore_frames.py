"""Make native-like training pairs of frames that were reduced, such as public copies of SIDD-Small at 256x256."""

import shutil
from pathlib import Path

from tqdm import tqdm

from data.mosaic import MOSAIC_RECORD, Origins
from data.sidd import find_scenes, parse_scene
from data.splits import published_split, write_lists
from options.data import restore_frames_parser
from synthesis.reduced import fit_native, restore_scene
from utils.command import blame, run_command
from utils.files import claim_folder, write_json


def main(arguments: list[str] | None = None) -> None:
    """Restore all cameras' scenes, copy their native crops, and write the places in the mosaic and the scene lists."""
    args = restore_frames_parser().parse_args(arguments)
    folder = Path(args.output_dir)
    origins: dict[str, tuple[int, int]] = {}
    with blame("--reduced_dir"):
        reduced = find_scenes(args.reduced_dir)
    with blame("--output_dir"):
        claim_folder(folder)
    for camera in sorted({parse_scene(scene.name).camera for scene in reduced}):
        with blame("--native_dir"):
            native = find_scenes(args.native_dir, camera)
        of_camera = [scene for scene in reduced if parse_scene(scene.name).camera == camera]
        origins |= restore_camera(camera, of_camera, native, args.test_scenes, args.seed, args.num_workers, folder)
    write_json(folder / MOSAIC_RECORD, origins)
    print(f"{folder}: {len(reduced)} scenes restored, with the native crops beside them; scene lists in {folder}/lists")


def restore_camera(
    camera: str, reduced: list[Path], native: list[Path], held_out: list[str], seed: int, num_workers: int, folder: Path
) -> Origins:
    """Restore one camera's scenes into a folder and copy its native crops; return all places in the mosaic.

    Scenes whose instance number is held out test, and other ones with native crops train; the rest follow the published
    split.
    """

    def instance(scene: Path | str) -> str:
        return parse_scene(Path(scene).name).instance

    train = [scene for scene in native if instance(scene) not in held_out]
    if not train:
        raise ValueError(f"--test_scenes: hold out all native crops of camera {camera}, expected some to learn from")
    published = published_split(camera) or ([], [])
    tests = {*held_out, *map(instance, published[1])} - set(map(instance, train))
    fit, origins = fit_native(train, native, num_workers)
    places = dict(origins)
    for scene in native:
        shutil.copytree(scene, folder / scene.name, dirs_exist_ok=True)
    for scene in tqdm(reduced, desc=f"restore {camera}", unit="scene", disable=None):
        with blame("--reduced_dir"):
            places |= restore_scene(scene, folder, fit, seed)
    names = sorted({scene.name for scene in [*native, *reduced]})
    train_names = [name for name in names if instance(name) not in tests]
    write_lists(folder / "lists", camera, (train_names, [name for name in names if instance(name) in tests]))
    return places


if __name__ == "__main__":
    run_command(main)
