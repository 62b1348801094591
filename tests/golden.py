"""How the golden vectors were recorded: weights by formula, float64, images as uint8. See shared/golden/README.md."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models import synthesize_w
from models.losses import global_noise_level, local_noise_level

FIGURES = Path(__file__).with_name("golden_figures.npz")

RTOL = 1e-6


def formula(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of every tensor, from its state-dict key."""
    count = int(np.prod(shape)) if shape else 1
    normal = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(count).reshape(shape)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        return 1 + 0.1 * np.abs(normal)
    if leaf in ("running_mean", "bias"):
        return 0.05 * normal
    if len(shape) == 1:
        return 1 + 0.1 * normal
    return normal * np.sqrt(1.5 / np.prod(shape[1:]))


def fill(network: nn.Module, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> nn.Module:
    """Fill a network by the formula, in eval mode."""
    weights = {key: torch.as_tensor(formula(key, tuple(value.shape))) for key, value in network.state_dict().items()}
    network.to(dtype).load_state_dict(weights)
    return network.eval().to(device)


def image(array: np.ndarray, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 NCHW -> float in [0, 1]."""
    return torch.as_tensor(array).to(device, dtype) / 255


def fingerprint(tensor: torch.Tensor) -> np.ndarray:
    """Mean, sum of absolute values, first and last element."""
    flat = tensor.cpu().double().flatten()
    return np.array([flat.mean(), flat.abs().sum(), flat[0], flat[-1]])


def compute_figures(
    figures: dict[str, np.ndarray], networks: dict[str, nn.Module], dtype: torch.dtype, device: torch.device | str
) -> dict[str, np.ndarray]:
    """Compute the figures of filled networks, and of losses, that golden_figures.npz has of one sample."""
    clean, noisy = (image(figures[name], dtype, device) for name in ("clean", "noisy"))
    noise, z = noisy - clean, torch.as_tensor(figures["z"]).to(device, dtype)
    with torch.no_grad():
        gain = networks["E"](noisy)
        made = synthesize_w(networks["G1"], networks["G2"], clean, gain, z)
        return {
            "gain": gain.cpu().numpy(),
            "noise_level": fingerprint(made.noise_level),
            "sdnu": fingerprint(made.sdnu),
            "sdnc": fingerprint(made.sdnc),
            "d1": networks["D1"](noise).cpu().numpy(),
            "d2": networks["D2"](noise[:, :, 0:96:3, 1::3]).cpu().numpy(),
            "denoised": fingerprint(networks["G3"](noisy)),
            "global_noise_level": global_noise_level(noise).cpu().numpy(),
            "local_noise_level": fingerprint(local_noise_level(noise)),
        }


def assert_close(actual: Any, expected: Any, name: str, rtol: float = RTOL, atol: float = 0.0) -> None:
    """Compare shape and values; the message names what differs. NaN equals nothing."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{name}: shape {actual.shape}, expected {expected.shape}"
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, equal_nan=False, err_msg=name)
