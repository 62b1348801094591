"""A tiny camera in the cropped layout, and the shortest training command for it."""

from pathlib import Path

import numpy as np

from utils.image import write_image

CAMERA = "ZZ"
SIZE = 48
OPTIONS = """
    --cam_name ZZ --patch_size 32 --pd_stride 2 --batch_size 2 --num_workers 0 --test_epoch 2 --joint_start_epoch 2
    --E_nc 4 --G1_nc 4 --G2_nc 2 --D1_nc 2 --D2_nc 2 --G3_nc 4 --log_step 1 --init_type kaiming --device cpu
"""


def make_camera(
    root: Path, scenes: int = 5, crops: int = 1, channels: int = 3, code: str = CAMERA, std: float = 12
) -> Path:
    """Write scenes of noisy squares, cropped layout, and lists with the last scene as the test -> folder of crops."""
    random = np.random.default_rng(0)
    names = [f"{i:04d}_001_{code}_00800_00100_5500_N" for i in range(1, scenes + 1)]
    for name in names:
        for crop in range(1, crops + 1):
            squares = random.integers(40, 200, (6, 6, channels)).repeat(8, 0).repeat(8, 1)
            clean = np.clip(squares, 0, 255).astype(np.uint8)
            noisy = np.clip(clean + random.normal(0, std, clean.shape), 0, 255).round().astype(np.uint8)
            for side, kind, image in (("clean", "GT", clean), ("noisy", "NOISY", noisy)):
                write_image(root / "crops" / name / side / f"{name[:4]}_{kind}_SRGB_010_{crop:05d}.png", image)
    (root / "lists").mkdir(exist_ok=True)
    (root / "lists" / f"{code}_train.txt").write_text("\n".join(names[:-1]) + "\n")
    (root / "lists" / f"{code}_test.txt").write_text(names[-1] + "\n")
    return root / "crops"


def command(root: Path, *more: str, save: str = "saves") -> list[str]:
    """Arguments of main_train_jointly.py for the camera in `root`; later ones win."""
    folders = ["--train_img_dir", root / "crops", "--data_prep_dir", root / "lists", "--dir_save", root / save]
    return [str(word) for word in (*folders, *OPTIONS.split(), *more)]
