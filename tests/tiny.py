"""Tiny networks and batches for fast tests."""

import torch

from models import build_networks
from models.networks import HALVINGS

PATCH = 96
CONFIGS = {
    "E": {"nc": 4, "nb": 3},
    "G1": {"nc": 4},
    "G2": {"nc": 4},
    "G3": {"nc": 4, "nb": 4},
    "D1": {"nc": 2, "patch_size": PATCH, "halvings": HALVINGS["D1"]},
    "D2": {"nc": 2, "patch_size": PATCH // 3, "halvings": HALVINGS["D2"]},
}


def tiny_networks(seed: int = 0, dtype: torch.dtype = torch.float64, init_type: str = "kaiming") -> dict:
    """All six networks, a few channels wide."""
    return {letter: network.to(dtype) for letter, network in build_networks(CONFIGS, init_type, seed).items()}


def tiny_batch(
    seed: int, batch: int = 2, patch: int = PATCH, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A clean and a noisy batch in [0, 1], and white noise, (N, 3, P, P) each."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(batch, 3, patch, patch, generator=generator, dtype=dtype)
    noisy = (clean + 0.1 * torch.randn(clean.shape, generator=generator, dtype=dtype)).clamp(0, 1)
    return clean, noisy, torch.randn(clean.shape, generator=generator, dtype=dtype)
