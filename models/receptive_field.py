"""How far a network looks: the pixels around a tile that its output depends on."""

import math

from torch import nn

from models.network_genet import GENet
from models.network_ncnet import NCNet

HALVING = (nn.MaxPool2d, nn.AvgPool2d)
DOUBLING = (nn.Upsample, nn.ConvTranspose2d, nn.PixelShuffle)  # ConvTranspose2d: the 2x2 one with stride 2


def margin_before(layers: nn.Module, margin: int) -> int:
    """Pixels needed around a tile before some layers, to have `margin` pixels right around it after them.

    The tile itself lies on pixels that the layers' strides divide.
    """
    leaves = [layer for layer in layers.modules() if not any(layer.children())]
    for layer in reversed(leaves):
        if isinstance(layer, nn.Conv2d):
            margin = margin * layer.stride[0] + layer.padding[0]
        elif isinstance(layer, HALVING):
            margin *= 2
        elif isinstance(layer, DOUBLING):
            margin = math.ceil(margin / 2)
    return margin


def genet_margin(genet: GENet) -> int:
    """Pixels around a tile that GENet's features before the pooling depend on."""
    return margin_before(genet.model, 0)


def ncnet_margin(ncnet: NCNet) -> int:
    """Pixels around a tile, aligned to the U-Net's stride, that NCNet's output depends on."""
    margin = margin_before(ncnet.decoder_head, 0)
    skips = []  # margins of the encoders' outputs, finest first
    for up_sampler, decoder in zip(reversed(ncnet.up_samplers), reversed(ncnet.decoders)):
        margin = margin_before(decoder, margin)
        skips.append(margin)
        margin = margin_before(up_sampler, margin)
    margin = margin_before(ncnet.encoders[-1], margin)
    for encoder in reversed(ncnet.encoders[:-1]):
        margin = margin_before(encoder, max(margin, skips.pop()))
    return margin


def decoder_margin(up_sampler: nn.Module, decoder: nn.Module) -> int:
    """Pixels around a part of a decoder's output that it depends on, the upsampling before it included."""
    margin = margin_before(decoder, 0)
    return max(margin, 2 * margin_before(up_sampler, margin))


def needs_whole_image(network: nn.Module) -> bool:
    """Tell whether a network normalises over the whole image, so that no tile can be computed by itself."""
    return any(isinstance(layer, nn.InstanceNorm2d) for layer in network.modules())
