"""SIDD's layout on the disk: scene names, image pairs of a scene, pairs of crops. Paths only, nothing is decoded."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from utils.files import require_folder
from utils.image import name_unread

EXAMPLE_SCENE = "0001_001_S6_00100_00060_3200_L"
MAKERS = (
    "Crop_SIDD.py cuts SIDD-Medium, which https://abdokamel.github.io/sidd has; main_make_demo.py makes a small data "
    "set of a simulated camera, code DC"
)
# SIDD's ISO has five digits; today's cameras go beyond 99999.
SCENE_FORM = re.compile(r"(\d{4})_(\d{3})_([A-Z0-9]{2})_(\d{5,7})_(\d{5})_(\d{4})_([LNH])", re.ASCII)
# SIDD-Medium has the instance before the name, SIDD-Small has not; archives differ in the suffix's letter case.
IMAGE_FORM = re.compile(r"((?:\d{4}_)?)(GT|NOISY)_SRGB_(\d+)\.[pP][nN][gG]", re.ASCII)
# Height and width of SIDD's frames, by camera; public copies of SIDD-Small are reduced.
FRAMES = {"S6": (3000, 5328), "G4": (2988, 5312), "N6": (3120, 4208), "GP": (3044, 4048), "IP": (3024, 4032)}


@dataclass(frozen=True)
class Scene:
    """The name of a scene folder, taken apart."""

    name: str
    instance: str  # 4 digits; differs for every scene folder of SIDD
    scene: str  # 3 digits; instances that share it show the same scene under another exposure
    camera: str  # two characters
    iso: int
    shutter: int  # 1 / seconds
    illuminant: int  # kelvin
    brightness: str  # L(ow), N(ormal) or H(igh)


@lru_cache(maxsize=1000)
def parse_scene(name: str) -> Scene:
    """Read a scene's name. Raises ValueError that names it when it has not SIDD's form."""
    match = SCENE_FORM.fullmatch(name)
    if not match:
        raise ValueError(
            f"{name}: not the name of a scene, expected instance_scene_camera_ISO_shutter_illuminant_brightness "
            f"such as {EXAMPLE_SCENE}"
        )
    instance, scene, camera, iso, shutter, illuminant, brightness = match.groups()
    return Scene(name, instance, scene, camera, int(iso), int(shutter), int(illuminant), brightness)


def find_scenes(root: str | Path, camera: str | None = None) -> list[Path]:
    """List the scene folders of a data set, of one camera or of all, sorted by name.

    They lie in one of the `_scene_places`; other folders are ignored. Raises ValueError when there is no such folder,
    no scene in it or none of this camera, and when a scene is there twice.
    """
    root = Path(root)
    if not root.exists():
        raise ValueError(f"{root}: no such folder; {MAKERS}")
    require_folder(root)
    scenes = sorted(
        (path for place in _scene_places(root) for path in _named_as_scenes(place) if path.is_dir()),
        key=lambda path: path.name,
    )
    if not scenes:
        places = "in it, in its Data/ or in the Data/ of a folder in it"
        raise ValueError(f"{root}: no scene folders, expected some such as {EXAMPLE_SCENE} {places}")
    for one, other in pairwise(scenes):
        if one.name == other.name:
            raise ValueError(f"{one} and {other} are the same scene; remove one of them, or give a folder with one")
    if camera is None:
        return scenes
    cameras = sorted({parse_scene(path.name).camera for path in scenes})
    if camera not in cameras:
        raise ValueError(f"{root}: no scenes of camera {camera}, only of {', '.join(cameras)}")
    return [path for path in scenes if parse_scene(path.name).camera == camera]


def _scene_places(root: Path) -> list[Path]:
    """List where the scenes of a data set lie: in its folder and in Data/ there, as in SIDD's archives.

    If neither holds a scene: in Data/ of the folders there, SIDD_Medium_Srgb or SIDD_Small_sRGB_Only for instance.
    """
    near = [place for place in (root, root / "Data") if place.is_dir()]
    return near if any(map(_named_as_scenes, near)) else [*near, *sorted(root.glob("*/Data"))]


def _named_as_scenes(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if SCENE_FORM.fullmatch(path.name)]


def find_misnamed(root: str | Path) -> list[str]:
    """Name, in one line each, what looks like a scene of a data set and is none: `find_scenes` passes over it.

    That is a scene's name without a folder (a file, a broken link), and a folder of SRGB images of another name.
    """
    problems = []
    for folder in _scene_places(Path(root)):
        for path in sorted(folder.iterdir()):
            if SCENE_FORM.fullmatch(path.name):
                if not path.is_dir():
                    problems.append(f"{path}: no folder, though named as a scene")
            elif path.is_dir() and any("SRGB" in image.name.upper() for image in _visible_pngs(path)):
                problems.append(f"{path}: holds SRGB images, but is not named as a scene, such as {EXAMPLE_SCENE}")
    return problems


def name_unread_in(scenes: Iterable[Path]) -> list[str]:
    """Name the photographs in scene folders, and in their crops, that are no PNG and so in no pair."""
    places = [place for scene in scenes for place in (scene, scene / "clean", scene / "noisy") if place.is_dir()]
    return name_unread((path for place in places for path in place.iterdir()), (".png",))


def log_unread(scenes: Iterable[Path], log: logging.Logger) -> None:
    """Log what `name_unread_in` names."""
    for line in name_unread_in(scenes):
        log.info("note: %s", line)


def find_frames(folder: str | Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """List the (clean, noisy) pairs of an uncropped scene, sorted, and what is wrong with its other images.

    Problems are single lines, each naming a file (or the scene, when it has no images). They are returned and
    not raised, so that the caller can do the good pairs first; it must report them.
    """
    folder = Path(folder)
    found: dict[str, dict] = {"GT": {}, "NOISY": {}}
    problems: list[str] = []
    for path in _visible_pngs(folder):
        match = IMAGE_FORM.fullmatch(path.name)
        if not match:
            problems.append(f"{path}: expected a name such as 0001_GT_SRGB_010.PNG or 0001_NOISY_SRGB_010.PNG")
            continue
        prefix, kind, frame = match.groups()
        first = found[kind].setdefault((prefix, frame), path)
        if first != path:
            problems.append(f"{path}: {first.name} is there too, expected one of them")
    for kind, other in (("GT", "NOISY"), ("NOISY", "GT")):
        for key in found[kind].keys() - found[other].keys():
            path = found[kind][key]
            problems.append(f"{path}: unpaired, expected {path.name.replace(kind, other, 1)} beside it")
    pairs = [(found["GT"][key], found["NOISY"][key]) for key in sorted(found["GT"].keys() & found["NOISY"].keys())]
    if not pairs and not problems:
        problems.append(f"{folder}: no images, expected some such as 0001_GT_SRGB_010.PNG and 0001_NOISY_SRGB_010.PNG")
    return pairs, sorted(problems)


def find_crops(folder: str | Path) -> list[tuple[Path, Path]]:
    """List the (clean, noisy) pairs of crops of a cropped scene, sorted: clean/*GT*.png with noisy/*NOISY*.png.

    Raises ValueError that names the first unpaired file, or the scene when it is not cropped or empty.
    """
    folder = Path(folder)
    for side, word in (("clean", "GT"), ("noisy", "NOISY")):
        for path in _visible_pngs(folder / side):
            if word not in path.name:
                raise ValueError(f"{path}: expected {word} in the names of {side}/; is it in the wrong folder?")
    clean = {path.name.replace("GT", "NOISY", 1): path for path in _visible_pngs(folder / "clean")}  # by partner
    noisy = {path.name: path for path in _visible_pngs(folder / "noisy")}
    for name in sorted(clean.keys() ^ noisy.keys()):
        path, side = (clean[name], "noisy") if name in clean else (noisy[name], "clean")
        partner = name if side == "noisy" else name.replace("NOISY", "GT", 1)
        raise ValueError(f"{path}: has no partner {folder / side / partner}; run Crop_SIDD.py again")
    if not clean:
        what = "the scene is not cropped" if _visible_pngs(folder) else "no crops in its clean/ and noisy/"
        raise ValueError(f"{folder}: {what}; run Crop_SIDD.py and give its target")
    return [(clean[name], noisy[name]) for name in sorted(clean)]


def _visible_pngs(folder: Path) -> list[Path]:
    """List the PNG files of a folder, any letter case, sorted; none where there is no folder.

    Names that start with "." are left out: files being written, and what macOS adds to archives.
    """
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png" and path.name[0] != ".")
