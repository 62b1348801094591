"""The quick test: put a camera's noise on clean images and set it beside the real noise."""

import random
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from models.neca import Synthesis, synthesize_s, synthesize_w
from utils.image import to_uint8
from utils.metrics import autocorrelation, noise_of
from utils.plots import magnified_noise, panel

TILE_SIDE = 512  # pixels of a panel's tile: larger images show their middle, smaller ones are enlarged
PANEL_STD = 40  # grey levels to which the panel magnifies the noise


def draw_z(height: int, width: int, seed: int, name: str) -> Tensor:
    """Draw a pair's white noise, (1, 3, H, W), from (seed, name); on the CPU, so that every device gets the same."""
    generator = torch.Generator().manual_seed(random.Random(f"{seed} quick test {name}").getrandbits(63))
    return torch.randn(1, 3, height, width, generator=generator)


@torch.inference_mode()
def estimate_gain(genet: nn.Module, noisy_uint8: np.ndarray) -> float:
    """Gain of a real noisy image, (H, W, 3) uint8 -> about the noise's standard deviation in [0, 1] units."""
    with _exact():
        return genet(_to_tensor(noisy_uint8, genet)).item()


@torch.inference_mode()
def synthesize(
    networks: dict[str, nn.Module], clean_uint8: np.ndarray, z: Tensor, gain: float | None, noise_level: float
) -> Synthesis:
    """Put noise on a clean image, (H, W, 3) uint8: by NeCA-W with this gain, or without one by NeCA-S.

    z: (1, 3, H, W). Raises ValueError when the networks give numbers that are not finite.
    """
    ncnet = networks["G2"]
    clean = _to_tensor(clean_uint8, ncnet)
    with _exact():
        if gain is None:
            synthesis = synthesize_s(ncnet, clean, noise_level, z.to(clean.device))
        else:
            beta = clean.new_full((1, 1, 1, 1), gain)
            synthesis = synthesize_w(networks["G1"], ncnet, clean, beta, z.to(clean.device))
    if not torch.isfinite(synthesis.fake).all():
        raise ValueError("the networks give noise that is not finite; check their weights (--pretrain_dir)")
    return synthesis


def _exact():
    """Convolve in full float32 on CUDA too: with TF32, cuDNN's default, the noise would differ from the CPU's."""
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def _to_tensor(image_uint8: np.ndarray, network: nn.Module) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [0, 1], where the network is."""
    device = next(network.parameters()).device
    return torch.from_numpy(image_uint8).to(device).permute(2, 0, 1)[None].float().div_(255)


def output_images(synthesis: Synthesis, neca_type: str) -> dict[str, np.ndarray]:
    """What the quick test writes, by kind: -> {"fake_noisy": (H, W, 3) uint8, ...}; noises lie around mid-grey."""
    noises = {"sdnc": synthesis.sdnc, "sdnu": synthesis.sdnu} if neca_type == "W" else {"sinc": synthesis.sdnc}
    return {"fake_noisy": to_uint8(_to_hwc(synthesis.fake))} | {
        f"{name}_noise": to_uint8(_to_hwc(noise) + 0.5) for name, noise in noises.items()
    }


def _to_hwc(image: Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).cpu().numpy()


class NoiseStatistics(NamedTuple):
    """Standard deviation in grey levels, and lag-1 autocorrelation along rows (h) and columns (v), channels' mean."""

    std: float
    lag1_h: float
    lag1_v: float

    def __str__(self) -> str:
        return f"std {self.std:.2f}, lag-1 {self.lag1_h:.2f} h {self.lag1_v:.2f} v"


def noise_statistics(noise: np.ndarray) -> NoiseStatistics:
    """Measure noise in grey levels, (H, W, 3)."""
    correlation = autocorrelation(noise, max_lag=1).mean(axis=0)  # (3, 3), lag (0, 0) in the middle
    return NoiseStatistics(float(noise.std()), float(correlation[1, 2]), float(correlation[2, 1]))


def draw_panel(
    clean: np.ndarray, noisy: np.ndarray | None, fake: np.ndarray, uncorrelated: Tensor, title: str
) -> np.ndarray:
    """Draw the quick test's panel, each noise below its image, all magnified alike: -> (H', W', 3) uint8.

    clean, noisy, fake: (H, W, 3) uint8; uncorrelated: the noise before NCNet, (1, 3, H, W) in [0, 1] units; title:
    what made the fake image.
    """
    noises = {"fake": noise_of(fake, clean)} | ({} if noisy is None else {"real": noise_of(noisy, clean)})
    strongest = max(noise.std() for noise in noises.values())
    factor = max(2, round(PANEL_STD / max(strongest, 1)))

    def column(label: str, image: np.ndarray, noise_label: str, noise: np.ndarray, statistics: object):
        magnified = _tile(magnified_noise(noise, factor))
        return (label, _tile(image)), (f"{noise_label} noise x{factor}\n{statistics}", magnified)

    columns = [column("clean", clean, "uncorrelated", 255 * _to_hwc(uncorrelated), "before NCNet")]
    if noisy is not None:
        columns.append(column("real noisy", noisy, "real", noises["real"], noise_statistics(noises["real"])))
    columns.append(column(f"fake noisy, {title}", fake, "fake", noises["fake"], noise_statistics(noises["fake"])))
    return panel([list(row) for row in zip(*columns)])


def _tile(image: np.ndarray) -> np.ndarray:
    """Cut an image to its middle, or enlarge its pixels, to fill a tile."""
    height, width = image.shape[:2]
    top, left = max(0, height - TILE_SIDE) // 2, max(0, width - TILE_SIDE) // 2
    middle = image[top : top + TILE_SIDE, left : left + TILE_SIDE]
    factor = max(1, TILE_SIDE // max(middle.shape[:2]))
    return cv2.resize(middle, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
