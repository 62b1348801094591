"""The playground: one HTML file that puts cameras' noise on pictures in the browser, without a server or network.

`pipeline.js` is `noise/pipeline.py` in JavaScript, `page.js` what a visitor touches, `page.html.j2` holds both together
with the fits, two pictures and figures of real noise.
"""

import base64
import hashlib
import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import skimage
import torch

from data.pairs import find_pairs, read_pair
from data.sidd import find_scenes, parse_scene
from data.splits import split_to_fit
from metrics import autocorrelation, noise_level_function, noise_level_sums, noise_of
from metrics.structure import MAX_LAG
from noise.kinds import find_fit, kind_of_fit
from noise.pipeline import KIND, LINEAR, Pipeline
from utils.files import read_record

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
REAL_NOISE = "real_noise.json"  # figures of a camera's real noise, beside its fit
NOTICE = "SIDD.md"  # beside the cameras' folders: source and licence of their fits, where their cards name it
PHOTOGRAPH = Path(skimage.__file__).parent / "data" / "chelsea.png"  # by Stefan van der Walt, CC0
PAIR = ROOT / "test" / "imgs"  # the quick test's: real noise of this camera
PAIR_OF: dict[str, Any] = {"camera": "S6", "iso": 800, "scene": "0081"}
CARD_TITLE = re.compile(r"# (.+?) \(\w+\)")


@dataclass(frozen=True)
class Camera:
    """Data of a camera within the page.

    fit: the content of its file. title: what people call the camera. lights: illuminants in kelvin, where the fit has
    several. real: figures of its real noise by scene, see `measure_real`. notice: source and licence of the fit, "" if
    they are not known.
    """

    folder: Path
    fit: dict[str, Any]
    title: str
    lights: list[int]
    real: list[dict[str, Any]] = field(default_factory=list)
    notice: str = ""


def read_camera(folder: str | Path, name: str) -> Camera:
    """Read a camera's fit and what lies beside it.

    Raises ValueError in one line if there is no fit of this camera, or none that the page can render.
    """
    path = find_fit(folder, name)
    if path is None:
        raise ValueError(f"{Path(folder) / name}: has no fit of a camera's noise; main_fit_noise.py makes it")
    if (kind := kind_of_fit(path)) != KIND:
        raise ValueError(f"{path}: the fit of a {kind}, expected a {KIND}, the only model of the page")
    pipeline = Pipeline.load(path)
    if pipeline.camera != name:
        raise ValueError(f"{path}: the fit of camera {pipeline.camera}, expected {name}")
    if pipeline.rendering.demosaicking not in LINEAR:
        expected = f"expected {' or '.join(LINEAR)}, the only ones of the page"
        raise ValueError(f"{path}: a pipeline with the demosaicking {pipeline.rendering.demosaicking}, {expected}")
    card, notice = path.with_name("README.md"), path.parent.with_name(NOTICE)
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    title = CARD_TITLE.match(text)
    figures = path.with_name(REAL_NOISE)
    return Camera(
        path.parent,
        json.loads(path.read_text(encoding="utf-8")),
        title[1] if title else f"camera {name}",
        _lights_of(pipeline),
        _scenes_of(figures) if figures.is_file() else [],
        notice.read_text(encoding="utf-8").strip() if NOTICE in text and notice.is_file() else "",
    )


def _lights_of(pipeline: Pipeline) -> list[int]:
    """List the known illuminants, if the balance of one of them differs from that of all scenes."""
    lights = sorted({scene.illuminant for scene in pipeline.scenes} - {0})
    differ = [not torch.allclose(pipeline.balance(light), pipeline.balance(), atol=1e-3) for light in lights]
    return lights if any(differ) else []


def _scenes_of(path: Path) -> list[dict[str, Any]]:
    scenes = read_record(path).get("scenes")
    if not isinstance(scenes, list):
        raise ValueError(f"{path}: damaged, it has no scenes; remove it or measure again")
    return scenes


def measure_real(data_dir: str | Path, camera: str, lists_dir: str | Path, log: logging.Logger) -> list[dict[str, Any]]:
    """Measure the real noise of a camera's scenes, as `measure` of pipeline.js does that of a picture.

    Each scene has its name, its ISO, the number of its crops, whether the fit has not seen it, and for each channel, in
    grey levels: mean, std, correlation along rows and along columns at 1 to 4 pixels, std by clean level. Raises
    ValueError as `find_scenes`, `split_to_fit` and `find_pairs`.
    """
    folders = {folder.name: folder for folder in find_scenes(data_dir, camera)}
    training, testing = split_to_fit(camera, folders, lists_dir, log)
    figures = []
    for name in sorted(folders):
        images = [read_pair(pair) for pair in find_pairs([folders[name]])]
        noises = [noise_of(noisy, clean) for clean, noisy in images]
        pixels = np.concatenate([noise.reshape(-1, 3) for noise in noises])
        lagged = np.mean([autocorrelation(noise) for noise in noises], 0)[:, MAX_LAG:, MAX_LAG:]
        levels = noise_level_function(sum(noise_level_sums(noise, clean) for noise, (clean, _) in zip(noises, images)))
        channels = [
            {
                "mean": float(pixels[:, channel].mean()),
                "std": float(pixels[:, channel].std()),
                "rows": lagged[channel, 0, 1:].tolist(),
                "columns": lagged[channel, 1:, 0].tolist(),
                "level": [None if np.isnan(std) else float(std) for std in levels[1, channel]],
            }
            for channel in range(3)
        ]
        seen = name not in testing or name in training
        scene = parse_scene(name)
        figures.append(
            {"scene": name, "iso": scene.iso, "crops": len(images), "held_out": not seen, "channels": channels}
        )
    return json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 4))


def render_page(cameras: list[Camera]) -> str:
    """Render the page of some cameras: HTML that asks no host for anything. The same input gives the same text."""
    pictures: list[dict[str, Any]] = [
        {
            "name": "chelsea",
            "title": "Example",
            "caption": "chelsea, by Stefan van der Walt, CC0",
            "clean": _embedded(PHOTOGRAPH),
        }
    ]
    if PAIR_OF["camera"] in [camera.fit["camera"] for camera in cameras]:
        pictures.append(
            {
                "name": "sidd_0081",
                "title": "Example with real noise",
                "caption": "part of SIDD's scene 0081, Galaxy S6, ISO 800, not seen by the fit; MIT License, see below",
                "clean": _embedded(PAIR / "clean.png"),
                "noisy": _embedded(PAIR / "noisy.png"),
                **PAIR_OF,
            }
        )
    data = {
        "cameras": [
            {"title": camera.title, "fit": camera.fit, "lights": camera.lights, "real": camera.real}
            for camera in cameras
        ],
        "pictures": pictures,
    }
    pipeline, page = ((HERE / name).read_text(encoding="utf-8").strip() for name in ("pipeline.js", "page.js"))
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((HERE / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        cameras=cameras,
        notices=list(dict.fromkeys(camera.notice for camera in cameras if camera.notice)),
        licence=(ROOT / "LICENSE").read_text(encoding="utf-8").strip(),
        data=data,
        pipeline=pipeline,
        page=page,
        hash_of=lambda script: base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _embedded(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
