"""Training targets and losses of NeCA, as stateless functions. Noise is in [0, 1] units."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.network_npnet import NoiseMaps

GAN_MODES = ("wgangp", "lsgan", "vanilla")
LEAST_LEVEL = 0.3 / 255  # about what rounding to 8 bit makes alone, sqrt(1 / 12) grey levels
HALF_LEVEL = 0.5 / 255
FARTHEST = 4  # of sinh(4) = 27 standard deviations


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


def clipped_nll(clean: Tensor, noisy: Tensor, maps: NoiseMaps) -> Tensor:
    """Return a noisy image's negative log-likelihood, in nats a value: (N, C, H, W) each -> scalar.

    Its noise is Gaussian noise as `models.neca.with_level` shapes it, *before* it is clipped to [0, 1] (Tobin 1958): a
    value at an end says only that the noise led there or beyond. So dark and bright places, whose visible noise has
    lost a half, get the level that gives this half when it is clipped again. Levels below that of rounding count as it.
    """
    level, shape = maps[0].clamp_min(LEAST_LEVEL), maps[2:]
    middle = clean + maps[1] if len(maps) > 1 else clean

    def gaussian(value: Tensor | float) -> tuple[Tensor, Tensor]:
        """Undo `with_level`, and return the logarithm of its derivative, too."""
        noise = (value - middle) / level
        if not shape:
            return noise, torch.zeros_like(noise)
        skew, tail = shape
        angle = (torch.asinh(noise) * (-tail).exp() - skew).clamp(-FARTHEST, FARTHEST)
        return torch.sinh(angle), torch.cosh(angle).log() - tail - torch.log1p(noise.square()) / 2

    z, slope = gaussian(noisy)
    inside = z.square() / 2 - slope + (level * 255).log() + math.log(2 * math.pi) / 2
    at_zero, at_one = (-torch.special.log_ndtr(of) for of in (gaussian(HALF_LEVEL)[0], -gaussian(1 - HALF_LEVEL)[0]))
    return torch.where(noisy < HALF_LEVEL, at_zero, torch.where(noisy > 1 - HALF_LEVEL, at_one, inside)).mean()


def gain_error(gain: Tensor, noise: Tensor) -> Tensor:
    """Return the mean squared error of the gain's logarithm: (N, 1, 1, 1), (N, C, H, W) -> scalar.

    So an error of 10 % costs the same at every ISO, where `std1` of the published losses sees little but the highest.
    Below rounding's level the logarithm goes on as a line, so that a gain below 0 has a finite loss and a way back.
    """

    def logarithm(strength: Tensor) -> Tensor:
        ratio = strength / LEAST_LEVEL
        return torch.where(ratio > 1, ratio.clamp_min(1).log(), ratio - 1)

    return (logarithm(gain) - logarithm(global_noise_level(noise))).square().mean()


def pixel_shuffle_down(noise: Tensor, stride: int, phase: tuple[int, int]) -> Tensor:
    """Keep every `stride`-th pixel from `phase` on: (N, C, H, W) -> (N, C, H / stride, W / stride).

    Pixel-shuffle down-sampling (PD, Zhou et al. 2020) takes the correlation between neighbours out of real noise.
    """
    return noise[:, :, phase[0] :: stride, phase[1] :: stride]


def generator_adversarial_loss(fake_score: Tensor, gan_mode: str) -> Tensor:
    """Return what a critic's opinion of the fakes costs the generator: (N, 1) -> scalar."""
    if gan_mode == "wgangp":
        return -fake_score.mean()
    return _label_loss(fake_score, 1.0, gan_mode)


def critic_losses(real_score: Tensor, fake_score: Tensor, gan_mode: str) -> tuple[Tensor, Tensor]:
    """Return what a critic pays on real and on fake noise: (N, 1), (N, 1) -> scalar, scalar.

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
