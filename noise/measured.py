"""A start from measurements: networks that make nearly the right noise before any training.

GENet becomes a meter of noise, NPNet the fitted noise level (and mean) of each intensity at each gain, NCNet the filter
of the measured correlation. Only weights are set, the last layers of the first two by least squares: the networks,
their forward passes and their files are the published ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.losses import LEAST_LEVEL, global_noise_level
from models.network_genet import GENet
from models.network_ncnet import NCNet
from models.network_npnet import NPNet
from noise.fitting import Fit

KERNEL = 7  # pixels a side, of NCNet's first convolution
CONTRAST = 8  # of GENet's first filters: they see the noise in the first place, not the shift of a bias
MIXING = 0.3  # what is left of the random weights between GENet's features if channels have gains of their own
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
Measured = tuple[Fit, Sequence[Pair]]  # of a camera


@torch.no_grad()
def start_from_measurements(networks: Mapping[str, Any], cameras: Sequence[Measured], to_train: bool) -> None:
    """Set the weights of E, G1 and G2, which were initialised at random, in place.

    cameras: of one or several, in the networks' order, the noise of the training images, and some of these, of any
    size, for their gains and colours; to_train: training follows, else GENet comes nearer to the gains at once. An
    NCNet with `mosaic` gets the filter by position in the mosaic. Raises ValueError for an NCNet that cannot be set so.
    """
    if networks["G2"].mosaic is None:
        _set_filter(networks["G2"], cameras[0][0].kernel)
    else:
        _set_mosaic(networks["G2"], [fit.phase_kernel for fit, _ in cameras])
    _set_meter(networks["E"], cameras, RIDGE_TO_TRAIN if to_train else METER_RIDGE)
    _set_levels(networks["G1"], cameras)


def _set_meter(genet: GENet, cameras: Sequence[Measured], ridge: float) -> None:
    """Let GENet add up what high-pass filters see, so that it comes nearest to the noise's standard deviation.

    In patches, from which it will go on learning, and in whole images, which count as much and end up unbiased: their
    std, a root of mean squares, is more than the mean of their patches'. Channels' gains are as much above the image's
    as their noise is above the fitted levels, compared with the others'.
    """
    first, head = _conv(genet, "model.0.0"), _conv(genet, "linear.0.0")
    pairs = [pair for _, taught in cameras for pair in taught]
    by_channel = len(head.weight) > 1
    first.weight.sub_(first.weight.mean((2, 3), keepdim=True)).mul_(CONTRAST)  # blind to brightness
    if by_channel:
        _keep_channels_apart(genet)
    head.weight.abs_()
    scaled = [(clean, _to_8_bit(clean + factor * (noisy - clean))) for clean, noisy in pairs for factor in FACTORS]
    scaled += [(_patches(clean), _patches(noisy)) for clean, noisy in scaled]
    levels = [global_noise_level(noisy - clean).clamp_min(LEAST_LEVEL).view(1, -1) for clean, noisy in scaled]
    seen = [_input_of(head, genet, noisy).flatten(1).T for _, noisy in scaled]  # (nc, 1) each, or (nc, patches)
    head.weight.mul_(torch.cat(levels, 1).mean() / (head.weight.flatten(1) @ torch.cat(seen, 1)).mean())
    shares = [
        _shares(fit, *pair) if by_channel else torch.ones(1, 1)
        for fit, taught in cameras
        for pair in taught
        for _ in FACTORS
    ] * 2
    samples = (
        (features, share * level, (level**-2 / level.numel()).expand(len(share), -1))
        for features, share, level in zip(seen, shares, levels)
    )
    _fit_head(head, samples, ridge)
    ratios = torch.stack([global_noise_level(noisy - clean) / genet(noisy).mean() for clean, noisy in pairs])
    for weight in (head.weight, _bias(head)):
        weight.mul_(ratios.median())


def _keep_channels_apart(genet: GENet) -> None:
    """Let each of GENet's features see one channel in the first place, which the sum of many would hide."""
    first, *others = (layer for layer in genet.model.modules() if isinstance(layer, nn.Conv2d))
    features, channels = first.weight.shape[:2]
    sees = torch.eye(channels).repeat(-(-features // channels), 1)[:features]
    first.weight.mul_(channels**0.5 * sees[..., None, None])
    for layer in others:
        layer.weight.mul_(MIXING)[range(features), range(features), 1, 1] += 1


def _shares(fit: Fit, clean: Tensor, noisy: Tensor) -> Tensor:
    """Compare the channels' noise with that of the fitted levels: (C, 1), 1 on average."""
    level, mean = _levels(fit, clean)
    fitted = _to_8_bit(clean + mean + level * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)))
    stds = [(image - clean).transpose(0, 1).flatten(1).std(1, keepdim=True) for image in (noisy, fitted)]
    ratio = stds[0] / stds[1].clamp_min(LEAST_LEVEL)
    return ratio / ratio.mean()


def _set_levels(npnet: NPNet, cameras: Sequence[Measured]) -> None:
    """Let NPNet's last layer make the fitted levels, whose root it gives, and means of random features.

    The features are kinks at random colours, each camera's own, and at gains about the images' own.
    """
    draw = torch.Generator().manual_seed(0)
    pairs = [pair for _, taught in cameras for pair in taught]
    usual = torch.cat([global_noise_level(noisy - clean) for clean, noisy in pairs]).log().mean().exp()
    colours = torch.randn(npnet.conv1.weight.shape[:2], generator=draw)
    npnet.conv1.weight.mul_(NEIGHBOURS)[:, :, 3, 3] = colours
    for layer, size in ((npnet.conv2, 0.5), (npnet.conv3, 2 * usual), (npnet.conv4, 2 * usual)):
        _bias(layer).copy_(size * torch.randn(layer.out_channels, generator=draw))
    biases, numbers = [_bias(npnet.conv1)], [None]
    if len(cameras) > 1:
        biases, numbers = list(npnet.camera_bias), list(torch.arange(len(cameras)).split(1))
    for bias in biases:
        bias.copy_(-(colours * torch.rand(colours.shape, generator=draw)).sum(1))
    npnet.conv5.weight.zero_()
    samples = (
        sample
        for number, (fit, taught) in zip(numbers, cameras)
        for sample in _level_samples(npnet, number, fit, taught, draw)
    )
    _fit_head(npnet.conv5, samples, LEVELS_RIDGE)


def _level_samples(
    npnet: NPNet, camera: Tensor | None, fit: Fit, pairs: Sequence[Pair], draw: torch.Generator
) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
    """Yield features, root of the level, mean, no skew and no tail, and weights for `_fit_head`.

    Errors of level and mean count relative to the level.
    """
    for clean, noisy in pairs:
        thinned = clean[..., :: -(-clean.shape[2] // CHART), :: -(-clean.shape[3] // CHART)]
        strength = global_noise_level(noisy - clean) / _gain(thinned, *_levels(fit, thinned), draw)
        for factor in FACTORS:
            for content in (thinned, *(change(thinned) for change in OTHER_CONTENTS)):
                level, mean = (strength * factor * table for table in _levels(fit, content))
                features = _input_of(npnet.conv5, npnet, content, _gain(content, level, mean, draw), camera)
                level, mean = level.clamp_min(LEAST_LEVEL)[0].flatten(1), mean[0].flatten(1)
                wanted = torch.cat([level.sqrt(), mean, torch.zeros_like(level), torch.zeros_like(level)])
                weights = torch.cat([1 / level, level**-2, torch.ones_like(level), torch.ones_like(level)])
                rows = slice(npnet.conv5.out_channels)
                yield features[0].flatten(1), wanted[rows], weights[rows]


def _levels(fit: Fit, clean: Tensor) -> Pair:
    """Look up fitted level and mean, (1, C, H, W)."""
    index = (255 * clean[0]).round().long().flatten(1)
    return fit.level_std.gather(1, index).view_as(clean), fit.level_mean.gather(1, index).view_as(clean)


def _gain(clean: Tensor, level: Tensor, mean: Tensor, draw: torch.Generator) -> Tensor:
    """Measure the gain that noise of a level has on an image: (1, 1, 1, 1)."""
    noisy = _to_8_bit(clean + mean + level * torch.randn(clean.shape, generator=draw))
    return global_noise_level(noisy - clean).clamp_min(LEAST_LEVEL)


def _patches(image: Tensor) -> Tensor:
    """Cut an image: (1, C, H, W) -> (patches, C, P, P)."""
    side = min(PATCH, *image.shape[2:])
    return image.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def _to_8_bit(image: Tensor) -> Tensor:
    return (255 * image.clamp(0, 1)).round() / 255


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


def _input_of(layer: nn.Module, network: nn.Module, *inputs: Tensor | None) -> Tensor:
    """Run a network and return what one of its layers gets."""
    found: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    network(*inputs)
    handle.remove()
    return found[0]


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


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
    added = _added(kernel, KERNEL)
    first.weight[:lanes] = torch.cat([added, -added])
    skipped = decoder[0].in_channels - config["nc"]  # the up-sampled features come before those of the skip connection
    for layer, begin in ((second, 0), (decoder[0], skipped), (decoder[1], 0)):
        layer.weight[:lanes] = 0
        layer.weight[range(lanes), range(begin, begin + lanes), 1, 1] = 1
    head.weight.mul_(NCNET_HEAD)
    identity = torch.eye(len(kernel))
    head.weight[:, :lanes] = torch.cat([identity, -identity], 1)[..., None, None]


def _set_mosaic(ncnet: NCNet, kernels: list[Tensor]) -> None:
    """Let NCNet's filter of cells make the noise alone: NCNet(v) + v = kernel * v; the U-Net's head begins at 0."""
    cells = _conv(ncnet, "mosaic.1")
    cells.weight.copy_(torch.cat([_added(kernel, cells.kernel_size[0]) for kernel in kernels]))
    _conv(ncnet, "decoder_head.0").weight.zero_()


def _conv(network: nn.Module, name: str) -> nn.Conv2d:
    """Return a layer of a network."""
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    return layer


def _added(kernel: Tensor, size: int) -> Tensor:
    """Cut what a kernel adds to its input to its middle, at the same variance of each channel: -> (..., size, size)."""
    border, channels = (kernel.shape[-1] - size) // 2, range(len(kernel))
    middle = kernel[..., border : border + size, border : border + size]
    energy, left = (taps.square().sum((1, 2, 3), keepdim=True) for taps in (kernel, middle))
    added = middle * (energy / left).sqrt()
    added[channels, channels, size // 2, size // 2] -= 1  # NCNet's output is added to its input
    return added
