"""Judge the fair opponents on real crops and the demo camera: `python -m benchmark.judging ../shared/real OUT`.

Writes the lists and scene folders (links; the blocks of SIDD's two validation scenes as six scenes of four, every other
one trains) into OUT, the report of each camera below it, and prints score, phase and the AUCs of c2st over three seeds.
The demo camera's row needs Datasets/Demo_Srgb_Parts, made by main_make_demo.py.
"""

import json
import os
import sys
from pathlib import Path

import pandas as pd

import main_eval

MODELS = ("coloured x std", "coloured by phase x std", "heteroscedastic x std", "AWGN-image")
BLOCKS = {"S6": "0009_001_S6_00800_00350_3200_L", "GP": "0021_001_GP_10000_05000_5500_N"}
SCENES = 6


def write_lists(lists: Path, camera: str, training: list[str], test: list[str]) -> None:
    """Write a camera's lists of scenes."""
    lists.mkdir(parents=True, exist_ok=True)
    for half, names in (("train", training), ("test", test)):
        (lists / f"{camera}_{half}.txt").write_text("\n".join(names) + "\n")


def link_blocks(scene: Path, folder: Path) -> list[str]:
    """Link a scene's blocks into six scenes of a folder and return their names."""
    names = [f"{number:04d}{scene.name[4:]}" for number in range(1, SCENES + 1)]
    for number, file in enumerate(sorted(scene.iterdir(), key=lambda path: path.name[-7:])):  # pairs beside each other
        link = folder / names[number * SCENES // len(list(scene.iterdir()))] / file.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            os.symlink(file.resolve(), link)
    return names


def judge(camera: str, data: Path, lists: Path, out: Path, models: tuple[str, ...]) -> pd.DataFrame:
    """Evaluate a camera's models with c2st and tabulate the figures."""
    words = ["--cam_name", camera, "--data_dir", data, "--data_prep_dir", lists, "--output_dir", out / camera]
    main_eval.main(["noise", "--c2st", *map(str, words), "--models", *models])
    summary = json.loads((out / camera / "results.json").read_text())["summary"]
    c2st = (
        pd.read_csv(out / camera / "c2st.csv").groupby(["model", "patch"])["auc"].median().unstack().add_prefix("c2st ")
    )
    means = {model: {name: of[name]["mean"] for name in ("score", "phase")} for model, of in summary.items()}
    return pd.DataFrame(means).T.join(c2st, how="right")


def main(root: Path, out: Path) -> None:
    """Judge on T3, S6, GP and, where it has been made, the demo camera."""
    lists, t3 = out / "lists", root / "RENOIR_T3_Srgb_Parts"
    names = sorted(path.name for path in t3.iterdir() if path.is_dir())
    write_lists(lists, "T3", [name for name in names if name not in names[::3]], names[::3])
    data = {"T3": t3}
    for camera, scene in BLOCKS.items():
        data[camera] = out / f"blocks_{camera}"
        names = link_blocks(root / "SIDD_Srgb_Parts" / scene, data[camera])
        write_lists(lists, camera, names[::2], names[1::2])
    for camera, folder in data.items():
        print(judge(camera, folder, lists, out, MODELS).round(3).to_string())
    if (demo := Path("Datasets/Demo_Srgb_Parts")).is_dir():
        print(judge("DC", demo, Path("data_preparation"), out, (*MODELS, "NeCA-W", "real")).round(3).to_string())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
