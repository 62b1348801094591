"""Judge NeCA-W and its fair opponents on real crops: `python -m benchmark.judging ../shared/real OUT [CAMERA ...]`.

Writes the lists and scene folders (links; the blocks of SIDD's two validation scenes as six scenes of four, every other
one trains) into OUT, trains a generator of each camera by the quick recipe, reports on each camera, and prints score,
phase and the AUCs of c2st, medians of three seeds with their range. Cameras: T3, S6, GP and the demo camera DC with its
shipped weights; it needs Datasets/Demo_Crop, made by main_make_demo.py and Crop_SIDD.py. Run again to go on.
"""

import json
import os
import sys
from pathlib import Path

import pandas as pd

import main_eval
import main_train_jointly
from data.splits import write_lists

MODELS = ("NeCA-W", "coloured x std", "coloured by phase x std", "heteroscedastic x std", "AWGN-image")
BLOCKS = {"S6": "0009_001_S6_00800_00350_3200_L", "GP": "0021_001_GP_10000_05000_5500_N"}
SCENES = 6


def link_blocks(scene: Path, folder: Path) -> list[str]:
    """Link a scene's blocks into six scenes of a folder and return their names."""
    names = [f"{number:04d}{scene.name[4:]}" for number in range(1, SCENES + 1)]
    for number, file in enumerate(sorted(scene.iterdir(), key=lambda path: path.name[-7:])):  # pairs beside each other
        link = folder / names[number * SCENES // len(list(scene.iterdir()))] / file.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            os.symlink(file.resolve(), link)
    return names


def train(camera: str, data: Path, lists: Path, out: Path) -> None:
    """Train a camera's generator by the quick recipe."""
    words = ["--cam_name", camera, "--train_img_dir", data, "--data_prep_dir", lists, "--dir_save", out]
    main_train_jointly.main(["@options/recipes/quick.txt", *map(str, words)])


def judge(camera: str, data: Path, lists: Path, out: Path, weights: Path, models: tuple[str, ...]) -> pd.DataFrame:
    """Evaluate a camera's models with c2st and tabulate the figures."""
    words = ["--cam_name", camera, "--data_dir", data, "--data_prep_dir", lists, "--pretrain_dir", weights]
    main_eval.main(["noise", "--c2st", *map(str, words), "--output_dir", str(out / camera), "--models", *models])
    summary = json.loads((out / camera / "results.json").read_text())["summary"]
    aucs = pd.read_csv(out / camera / "c2st.csv").groupby(["model", "patch"])["auc"]
    spread = (aucs.max() - aucs.min()).unstack().add_prefix("range ")
    means = {model: {name: of[name]["mean"] for name in ("score", "phase")} for model, of in summary.items()}
    table = pd.DataFrame(means).T.join(aucs.median().unstack().add_prefix("c2st "), how="right")
    return table.join(spread)


def main(root: Path, out: Path, *cameras: str) -> None:
    """Judge on these cameras, or on all."""
    lists, t3 = out / "lists", root / "RENOIR_T3_Srgb_Parts"
    names = sorted(path.name for path in t3.iterdir() if path.is_dir())
    write_lists(lists, "T3", ([name for name in names if name not in names[::3]], names[::3]))
    data = {"T3": t3}
    for camera, scene in BLOCKS.items():
        data[camera] = out / f"blocks_{camera}"
        names = link_blocks(root / "SIDD_Srgb_Parts" / scene, data[camera])
        write_lists(lists, camera, (names[::2], names[1::2]))
    for camera in cameras or (*data, "DC"):
        if camera == "DC":
            demo = Path("Datasets/Demo_Crop"), Path("data_preparation")
            table = judge(camera, *demo, out, Path("pretrain"), (*MODELS, "real"))
        else:
            train(camera, data[camera], lists, out)
            table = judge(camera, data[camera], lists, out, out, MODELS)
        print(table.round(3).to_string())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
