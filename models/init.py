"""Weight initialisation by name."""

from torch import nn

INIT_TYPES = ("normal", "xavier", "kaiming", "orthogonal")


def initialise(network: nn.Module, init_type: str = "normal") -> nn.Module:
    """Fill a network's weights in place and return it.

    Convolution and linear weights: `normal` N(0, 0.02) (published), `xavier` normal with gain 0.02, `kaiming` normal
    over fan_in, `orthogonal` with gain 0.02; biases 0. Norm layers: weight N(1, 0.02), bias 0.
    Raises ValueError for another name.
    """
    fill = {
        "normal": lambda weight: nn.init.normal_(weight, 0.0, 0.02),
        "xavier": lambda weight: nn.init.xavier_normal_(weight, gain=0.02),
        "kaiming": lambda weight: nn.init.kaiming_normal_(weight, mode="fan_in"),
        "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain=0.02),
    }
    if init_type not in fill:
        raise ValueError(f"--init_type {init_type!r}, expected one of {', '.join(INIT_TYPES)}")
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            fill[init_type](module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d)):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
    return network
