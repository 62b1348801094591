"""Fit a camera's pipeline again without one of its parts, for each part, to see what the part is worth.

python -m benchmark.parts --cam_name S6 --train_img_dir SCENES --data_prep_dir LISTS --output_dir OUT

The fits go to OUT/<part>/<CAM>/noise.json; runs/parts.sh judges them.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from data.pairs import find_pairs
from data.sidd import find_scenes
from data.splits import split_to_fit
from noise.pipeline import LEAST_NOISE, Pipeline, Rendering
from noise.pipeline_fit import Window, fit_pipeline, identify, sample_windows
from utils.run import terminal_log

# The rendering is changed before raw noise is fitted through it.
RENDERINGS: dict[str, Callable[[Rendering], Rendering]] = {
    "none": lambda whole: whole,
    "curve": lambda whole: replace(whole, light=torch.linspace(0, 1, 256)),
    "matrix": lambda whole: replace(whole, matrix=torch.eye(3)),
    "demosaicking": lambda whole: replace(
        whole, demosaicking="bilinear" if whole.demosaicking == "malvar" else "malvar"
    ),
    "clipping": lambda whole: replace(whole, clips=not whole.clips),
}


def without_shape(fit: Pipeline) -> Pipeline:
    """Make raw noise Gaussian, by the law of shot and read noise."""
    return replace(fit, shape=torch.zeros_like(fit.shape))


def of_one_level(fit: Pipeline, windows: list[Window]) -> Pipeline:
    """Give each colour one level of noise, that of its mean raw value, Gaussian."""
    camera = torch.cat([fit.rendering.camera(window.clean[None] / 255).flatten(2)[0] for window in windows], 1)
    mean = camera.mean(1).tolist()
    scenes = [
        replace(scene, noise=tuple((LEAST_NOISE, shot * raw + read) for (shot, read), raw in zip(scene.noise, mean)))
        for scene in fit.scenes
    ]
    return replace(without_shape(fit), scenes=tuple(scenes))


def main(arguments: list[str] | None = None) -> None:
    """Fit without each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cam_name", required=True, help="code of the camera")
    parser.add_argument("--train_img_dir", required=True, help="scenes in SIDD's layout")
    parser.add_argument("--data_prep_dir", required=True, help="folder of <CAM>_train.txt and <CAM>_test.txt")
    parser.add_argument("--output_dir", required=True, help="folder for the fits")
    args = parser.parse_args(arguments)
    scenes = {scene.name: scene for scene in find_scenes(args.train_img_dir, args.cam_name)}
    training, _ = split_to_fit(args.cam_name, scenes, args.data_prep_dir, terminal_log())
    windows = sample_windows(find_pairs([scenes[name] for name in training]), num_workers=2)
    found = identify(windows, num_workers=2)
    fits = {
        part: fit_pipeline(args.cam_name, windows, replace(found, rendering=change(found.rendering)))
        for part, change in tqdm(RENDERINGS.items(), unit="fit")
    }
    fits |= {"shape": without_shape(fits["none"]), "level": of_one_level(fits["none"], windows)}
    for part, fit in fits.items():
        folder = Path(args.output_dir, part, args.cam_name)
        folder.mkdir(parents=True, exist_ok=True)
        fit.save(folder / "noise.json")


if __name__ == "__main__":
    main()
