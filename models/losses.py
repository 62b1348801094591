"""Training targets and losses of NeCA, as stateless functions. Noise is in [0, 1] units."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

GAN_MODES = ("wgangp", "lsgan", "vanilla")


def global_noise_level(noise: Tensor) -> Tensor:
    """Measure the unbiased standard deviation of each sample's noise: (N, C, H, W) -> (N, 1, 1, 1)."""
    return noise.std(dim=(1, 2, 3), keepdim=True)


def local_noise_level(noise: Tensor, window: int = 7) -> Tensor:
    """Measure the standard deviation around every pixel: (N, C, H, W) -> (N, C, H, W) (paper, noise level prediction).

    sqrt(E[n^2] - E[n]^2) by a mean filter; the zeros padded outside count, so borders are biased low (published).
    The variance is clamped at 0: rounding makes it slightly negative where the noise is flat, and its root NaN.
    """
    mean, mean_of_squares = (F.avg_pool2d(x, window, stride=1, padding=window // 2) for x in (noise, noise.square()))
    return (mean_of_squares - mean.square()).clamp_min(0).sqrt()


def pixel_shuffle_down(noise: Tensor, stride: int, phase: tuple[int, int]) -> Tensor:
    """Keep every `stride`-th pixel from `phase` on: (N, C, H, W) -> (N, C, H / stride, W / stride).

    Pixel-shuffle down-sampling (PD, Zhou et al. 2020) takes the correlation between neighbours out of real noise.
    """
    return noise[:, :, phase[0] :: stride, phase[1] :: stride]


def generator_adversarial_loss(fake_score: Tensor, gan_mode: str) -> Tensor:
    """Return the generator's loss on a critic's scores of its fakes: (N, 1) -> scalar."""
    if gan_mode == "wgangp":
        return -fake_score.mean()
    return _label_loss(fake_score, 1.0, gan_mode)


def critic_losses(real_score: Tensor, fake_score: Tensor, gan_mode: str) -> tuple[Tensor, Tensor]:
    """Return a critic's losses on its scores of real and of fake noise: (N, 1), (N, 1) -> scalar, scalar.

    wgangp: Wasserstein distance (Arjovsky et al. 2017); lsgan: squared error to the labels 1 and 0 (Mao et al. 2017);
    vanilla: cross-entropy to them (Goodfellow et al. 2014).
    """
    if gan_mode == "wgangp":
        return -real_score.mean(), fake_score.mean()
    return _label_loss(real_score, 1.0, gan_mode), _label_loss(fake_score, 0.0, gan_mode)


def _label_loss(score: Tensor, label: float, gan_mode: str) -> Tensor:
    compare: dict[str, Callable[..., Tensor]] = {"lsgan": F.mse_loss, "vanilla": F.binary_cross_entropy_with_logits}
    return compare[gan_mode](score, torch.full_like(score, label))


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mixing: Tensor) -> Tensor:
    """Penalise a critic's gradient norm on both sides of 1 between real and fake noise; return a scalar.

    Source: Gulrajani et al. 2017, Eq. 3. `mixing` (N, 1, 1, 1) in [0, 1] weighs real against fake. The norm is over the
    flattened sample, without an epsilon inside the root.
    """
    mixed = (real * mixing + fake * (1 - mixing)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    return (gradient.flatten(1).norm(2, dim=1) - 1).square().mean()
