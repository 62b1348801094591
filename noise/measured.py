"""A start from measurements: networks that make nearly the right noise before any training.

GENet becomes a meter of noise, NPNet the fitted noise level of each intensity at each gain, NCNet the filter of the
measured correlation. Only weights are set, the last layers of the first two by least squares: the networks, their
forward passes and their files are the published ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.likeness import is_blank
from data.pairs import Reader
from models.losses import global_noise_level
from models.network_genet import GENet
from models.network_ncnet import NCNet
from models.network_npnet import NPNet
from noise.fitting import Fit, fit_noise, read_from
from utils.randomness import evenly_spaced

FIT_ONLY = (
    "fitted, not trained: can make noise of the measured level by intensity, at gains near the images' own, and of the "
    "measured correlation; cannot make its skew, nor vouch for colours that the images lack"
)
IMAGES = 100  # to fit the noise to, evenly spaced over the training images
SET_BY = 20  # of them set GENet's and NPNet's weights,
MIDDLE = 256  # by as many pixels a side
LEAST_LEVEL = 0.3 / 255  # about what rounding to 8 bit makes alone, sqrt(1 / 12) grey levels

KERNEL = 7  # pixels a side, of NCNet's first convolution
CONTRAST = 8  # of GENet's first filters: they see the noise in the first place, not the shift of a bias
NCNET_HEAD = 0.02  # what is left of the random weights of NCNet's last layer
NEIGHBOURS = 0.02  # and of NPNet's first filters beside their middle: a pixel's noise follows its own colour
FACTORS = (0.5, 0.7, 1, 1.4, 2)  # by which the images' noise is scaled, for gains that none of them has
PATCH = 48  # pixels a side, of patches for GENet
CHART = 48  # pixels a side to which images are thinned out for NPNet
# Darker, brighter, in other colours, and without: what a few images do not show, the fitted levels know.
OTHER_CONTENTS = (
    lambda clean: 0.4 * clean,
    lambda clean: 0.5 + 0.5 * clean,
    lambda clean: clean.flip(1),
    lambda clean: clean.mean(1, keepdim=True).expand_as(clean),
)
# Of least squares, of the features' mean square. A GENet that is to train gets smaller weights than the nearest fit's,
# which are differences of large ones, so that the first steps at a rate of 1e-3 would spoil it.
METER_RIDGE, RIDGE_TO_TRAIN = 1e-4, 1e-2
LEVELS_RIDGE = 1e-5

Pair = tuple[Tensor, Tensor]  # clean and noisy image, (1, C, H, W) in [0, 1]


def measured_start(reader: Reader, networks: Mapping[str, nn.Module], num_workers: int, to_train: bool) -> None:
    """Fit the noise of training images, whatever their ISO, and let networks begin from it, in place.

    Args:
        reader: the training images.
        networks: E, G1 and G2, for `start_from_measurements`.
        num_workers: threads.
        to_train: training follows.

    Raises:
        ValueError: as `noise.fitting.fit_noise` and `start_from_measurements`.
    """
    chosen = evenly_spaced(range(len(reader)), IMAGES)
    fit = fit_noise({"all": chosen}, read_from(reader), num_workers)["all"]
    varied = [index for index in chosen if not is_blank(_middle(reader.pair(index)[1]))] or chosen
    pairs = [map(_middle, reader.pair(index)) for index in evenly_spaced(varied, SET_BY)]
    start_from_measurements(networks, fit, [(_to_tensor(clean), _to_tensor(noisy)) for clean, noisy in pairs], to_train)


@torch.no_grad()
def start_from_measurements(networks: Mapping[str, Any], fit: Fit, pairs: Sequence[Pair], to_train: bool) -> None:
    """Set the weights of E, G1 and G2, which were initialised at random, in place.

    Args:
        networks: the networks by letter.
        fit: the noise of the training images.
        pairs: some of these, of any size, for their gains and colours.
        to_train: training follows; without it GENet comes nearer to the gains at once.

    Raises:
        ValueError: the NCNet cannot carry the filter.
    """
    _set_filter(networks["G2"], fit.kernel)
    _set_meter(networks["E"], pairs, RIDGE_TO_TRAIN if to_train else METER_RIDGE)
    _set_levels(networks["G1"], fit, pairs)


def _set_meter(genet: GENet, pairs: Sequence[Pair], ridge: float) -> None:
    """Let GENet add up what high-pass filters see, so that it comes nearest to the noise's standard deviation.

    In patches, from which it will go on learning, and in whole images, which count as much and end up unbiased: their
    std, a root of mean squares, is more than the mean of their patches'.
    """
    first, head = _conv(genet, "model.0.0"), _conv(genet, "linear.0.0")
    first.weight.sub_(first.weight.mean((2, 3), keepdim=True)).mul_(CONTRAST)  # blind to brightness
    head.weight.abs_()
    scaled = [(clean, _to_8_bit(clean + factor * (noisy - clean))) for clean, noisy in pairs for factor in FACTORS]
    scaled += [(_patches(clean), _patches(noisy)) for clean, noisy in scaled]
    levels = [global_noise_level(noisy - clean).clamp_min(LEAST_LEVEL).view(1, -1) for clean, noisy in scaled]
    seen = [_input_of(head, genet, noisy).flatten(1).T for _, noisy in scaled]  # (nc, 1) each, or (nc, patches)
    head.weight.mul_(torch.cat(levels, 1).mean() / (head.weight.flatten(1) @ torch.cat(seen, 1)).mean())
    samples = ((features, level, level**-2 / level.numel()) for features, level in zip(seen, levels))
    _fit_head(head, samples, ridge)
    ratios = torch.stack([global_noise_level(noisy - clean) / genet(noisy).mean() for clean, noisy in pairs])
    for weight in (head.weight, _bias(head)):
        weight.mul_(ratios.median())


def _set_levels(npnet: NPNet, fit: Fit, pairs: Sequence[Pair]) -> None:
    """Let NPNet's last layer make the fitted levels, whose root it gives, of random features.

    The features are kinks at random colours, and at gains about the images' own.
    """
    draw = torch.Generator().manual_seed(0)
    usual = torch.cat([global_noise_level(noisy - clean) for clean, noisy in pairs]).log().mean().exp()
    colours = torch.randn(npnet.conv1.weight.shape[:2], generator=draw)
    npnet.conv1.weight.mul_(NEIGHBOURS)[:, :, 3, 3] = colours
    for layer, size in ((npnet.conv2, 0.5), (npnet.conv3, 2 * usual), (npnet.conv4, 2 * usual)):
        _bias(layer).copy_(size * torch.randn(layer.out_channels, generator=draw))
    _bias(npnet.conv1).copy_(-(colours * torch.rand(colours.shape, generator=draw)).sum(1))
    npnet.conv5.weight.zero_()
    _fit_head(npnet.conv5, _level_samples(npnet, fit, pairs, draw), LEVELS_RIDGE)


def _level_samples(
    npnet: NPNet, fit: Fit, pairs: Sequence[Pair], draw: torch.Generator
) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
    """Yield features, root of the level, and weights for `_fit_head`: errors count relative to the level."""
    for clean, noisy in pairs:
        thinned = clean[..., :: -(-clean.shape[2] // CHART), :: -(-clean.shape[3] // CHART)]
        strength = global_noise_level(noisy - clean) / _gain(thinned, *_levels(fit, thinned), draw)
        for factor in FACTORS:
            for content in (thinned, *(change(thinned) for change in OTHER_CONTENTS)):
                level, mean = (strength * factor * table for table in _levels(fit, content))
                features = _input_of(npnet.conv5, npnet, content, _gain(content, level, mean, draw))
                level = level.clamp_min(LEAST_LEVEL)[0].flatten(1)
                yield features[0].flatten(1), level.sqrt(), 1 / level


def _levels(fit: Fit, clean: Tensor) -> Pair:
    """Look up fitted level and mean, (1, C, H, W)."""
    index = (255 * clean[0]).round().long().flatten(1)
    return fit.level_std.gather(1, index).view_as(clean), fit.level_mean.gather(1, index).view_as(clean)


def _gain(clean: Tensor, level: Tensor, mean: Tensor, draw: torch.Generator) -> Tensor:
    """Measure the gain that noise of a level has on an image: (1, 1, 1, 1)."""
    noisy = _to_8_bit(clean + mean + level * torch.randn(clean.shape, generator=draw))
    return global_noise_level(noisy - clean).clamp_min(LEAST_LEVEL)


def _set_filter(ncnet: NCNet, kernel: Tensor) -> None:
    """Let NCNet filter noise: NCNet(v) + v = kernel * v, but for its last Tanh and a little of the random weights.

    The first convolution makes kernel * v - v, both halves of which pass its ReLU in channels of their own; centre taps
    carry them along the first skip connection to the head, which joins them.
    """
    config = ncnet.config
    lanes = 2 * len(kernel)  # NCNet's channels that carry the filtered noise: half for its positive part
    if config["nc"] < lanes or config["act_mode"] != "R" or config["final_act"] not in ("Tanh", "linear"):
        raise ValueError(
            f"NCNet of {config['nc']} channels, activation {config['act_mode']} and {config['final_act']} at the end: "
            f"expected at least {lanes} channels, R and Tanh or linear to begin with the measured correlation"
        )
    first, second, head = (_conv(ncnet, name) for name in ("encoders.0.0", "encoders.0.2", "decoder_head.0"))
    decoder = [layer for layer in ncnet.decoders[-1].modules() if isinstance(layer, nn.Conv2d)]
    added = _added(kernel)
    first.weight[:lanes] = torch.cat([added, -added])
    skipped = decoder[0].in_channels - config["nc"]  # the up-sampled features come before those of the skip connection
    for layer, begin in ((second, 0), (decoder[0], skipped), (decoder[1], 0)):
        layer.weight[:lanes] = 0
        layer.weight[range(lanes), range(begin, begin + lanes), 1, 1] = 1
    head.weight.mul_(NCNET_HEAD)
    identity = torch.eye(len(kernel))
    head.weight[:, :lanes] = torch.cat([identity, -identity], 1)[..., None, None]


def _added(kernel: Tensor) -> Tensor:
    """Cut what a kernel adds to its input to its middle, at the same variance of each channel: (C, C, 7, 7)."""
    border, channels = (kernel.shape[-1] - KERNEL) // 2, range(len(kernel))
    middle = kernel[..., border : border + KERNEL, border : border + KERNEL]
    energy, left = (taps.square().sum((1, 2, 3), keepdim=True) for taps in (kernel, middle))
    added = middle * (energy / left).sqrt()
    added[channels, channels, KERNEL // 2, KERNEL // 2] -= 1  # NCNet's output is added to its input
    return added


def _fit_head(head: nn.Conv2d, samples: Iterable[tuple[Tensor, Tensor, Tensor]], ridge: float) -> None:
    """Set a 1x1 convolution by least squares, not farther from its present weights than the samples ask.

    samples: features (nc, M), and wanted outputs and their weights, (out, M) each. ridge: of the features' mean square.
    """
    bias = _bias(head)
    begun = torch.cat([head.weight.flatten(1), bias[:, None]], 1).double()  # (out, nc + 1)
    gram = torch.zeros(len(begun), begun.shape[1], begun.shape[1], dtype=torch.float64)
    error = torch.zeros_like(begun)
    for features, wanted, weights in samples:
        inputs = torch.cat([features, torch.ones_like(features[:1])]).double()
        weighted = inputs * weights.double()[:, None]  # (out, nc + 1, M)
        gram += weighted @ inputs.T
        error += (weighted @ (wanted - begun @ inputs)[..., None])[..., 0]
    ridges = ridge * gram.diagonal(dim1=1, dim2=2).mean(1)
    solved = begun + torch.linalg.solve(gram + ridges[:, None, None] * torch.eye(begun.shape[1]), error)
    head.weight.copy_(solved[:, :-1].view_as(head.weight))
    bias.copy_(solved[:, -1])


def _input_of(layer: nn.Module, network: nn.Module, *inputs: Tensor) -> Tensor:
    """Run a network and return what one of its layers gets."""
    received: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, arguments: received.append(arguments[0]))
    network(*inputs)
    handle.remove()
    return received[0]


def _conv(network: nn.Module, name: str) -> nn.Conv2d:
    """Return a layer of a network."""
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    return layer


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _patches(image: Tensor) -> Tensor:
    """Cut an image: (1, C, H, W) -> (patches, C, P, P)."""
    side = min(PATCH, *image.shape[2:])
    return image.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def _to_8_bit(image: Tensor) -> Tensor:
    return (255 * image.clamp(0, 1)).round() / 255


def _middle(image_uint8: np.ndarray) -> np.ndarray:
    """Cut an image to its middle: (H, W, C) -> (H', W', C)."""
    height, width = image_uint8.shape[:2]
    top, left = max(height - MIDDLE, 0) // 2, max(width - MIDDLE, 0) // 2
    return image_uint8[top : top + MIDDLE, left : left + MIDDLE]


def _to_tensor(image_uint8: np.ndarray) -> Tensor:
    """Turn (H, W, C) uint8 into (1, C, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image_uint8)).permute(2, 0, 1)[None].float() / 255
