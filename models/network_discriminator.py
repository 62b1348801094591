"""The two critics (letters D1 and D2)."""

from torch import Tensor, nn

from models.blocks import MAX_CHANNELS, activation, conv


class Discriminator(nn.Module):
    """Score how real noise looks: (N, 3, P, P) -> (N, 1), no final activation.

    A 7x7 convolution without activation, then `halvings` pairs of a stride-2 4x4 and a channel-doubling 3x3
    convolution (the last pair lacks its 3x3), then two linear layers. The paper's critics: 5 halvings on the 96x96
    patches of correlated noise (D1), 3 on the 32x32 ones of uncorrelated, pixel-shuffled noise (D2).
    Raises ValueError when the patch is too small to be halved that often.
    """

    def __init__(self, patch_size: int, halvings: int, in_nc: int = 3, nc: int = 64, act_mode: str = "L"):
        super().__init__()
        last_size = patch_size // 2**halvings
        if last_size < 1:
            raise ValueError(
                f"a critic that halves its input {halvings} times cannot take {patch_size} pixels, expected at least "
                f"{2**halvings}"
            )
        self.config = {"patch_size": patch_size, "halvings": halvings, "in_nc": in_nc, "nc": nc, "act_mode": act_mode}
        layers = [nn.Sequential(conv(in_nc, nc, 7))]
        width = nc
        for pair in range(halvings):
            layers.append(nn.Sequential(conv(width, width, 4, stride=2), *activation(act_mode, width)))
            if pair < halvings - 1:
                wider = min(2 * width, MAX_CHANNELS)
                layers.append(nn.Sequential(conv(width, wider, 3), *activation(act_mode, wider)))
                width = wider
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(width * last_size**2, 100), nn.LeakyReLU(0.2, inplace=True), nn.Linear(100, 1)
        )

    def forward(self, noise: Tensor) -> Tensor:
        """Score noise, higher for what looks real: (N, 3, P, P) -> (N, 1)."""
        return self.classifier(self.features(noise).flatten(1))  # (N, 1)
