"""The published protocol a second time, written plainly: training step, data path and test.

It is the truth in tests, and the slow side of the speed comparisons. The training step follows the paper's description
and deliberately shares nothing with models/model_joint.py and models/losses.py.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Files = tuple[Path, Path]  # clean, noisy
CROP_SIZE, CROP_STEP, CROP_THRESHOLD = 512, 384, 800
NETWORKS = ("E", "G1", "G2", "G3", "D1", "D2")
WEIGHTS = {"reg": 1, "std1": 50, "std2": 10, "rec": 1, "adv1": 0.1, "adv2": 0.1}


class NaiveTraining:
    """Six networks, six Adam optimisers, all terms computed with full gradients every step."""

    def __init__(self, networks: dict[str, nn.Module], gan_mode: str = "wgangp", separate: bool = False):
        self.E, self.G1, self.G2, self.G3, self.D1, self.D2 = (networks[name] for name in NETWORKS)
        self.gan_mode, self.separate = gan_mode, separate

        def adam(network: nn.Module, lr: float = 1e-4) -> torch.optim.Adam:
            return torch.optim.Adam(network.parameters(), lr=lr, betas=(0.5, 0.9))

        self.generator_optimizers = [adam(self.E), adam(self.G1), adam(self.G2), adam(self.G3, 1e-3)]
        self.critic_optimizers = [adam(self.D1), adam(self.D2)]

    def step(
        self,
        clean: Tensor,
        noisy: Tensor,
        z: Tensor,
        phase: tuple[int, int],
        eps1: Tensor,
        eps2: Tensor,
        step: int,
        joint: bool,
    ) -> dict[str, Tensor]:
        """Do one step and return its losses."""
        for network in (self.E, self.G1, self.G2, self.G3, self.D1, self.D2):
            network.train()
        n = noisy - clean
        h, w = phase
        gain = self.E(noisy)
        m = self.G1(clean, gain)
        v = m * z
        fake_noise = self.G2(v) + v

        batch = n.shape[0]
        global_level = torch.stack([n[i].std() for i in range(batch)]).reshape(batch, 1, 1, 1)
        kernel = torch.full((3, 1, 7, 7), 1 / 49, dtype=n.dtype, device=n.device)
        mean = F.conv2d(n, kernel, padding=3, groups=3)
        mean2 = F.conv2d(n * n, kernel, padding=3, groups=3)
        local_level = torch.sqrt(torch.clamp(mean2 - mean * mean, min=0))
        losses = {
            "reg": ((m - gain) ** 2).mean(),
            "std1": ((gain - global_level) ** 2).mean(),
            "std2": ((m - local_level) ** 2).mean(),
        }
        if joint:
            restored = self.G3(clean + (fake_noise.detach() if self.separate else fake_noise))
            losses["rec"] = ((restored - clean) ** 2).mean()
        if self.gan_mode != "wgangp" or step % 5 == 0:
            losses["adv1"] = self.opinion(self.D1(fake_noise), True)
            losses["adv2"] = self.opinion(self.D2(v[:, :, h::3, w::3]), True)
        for optimizer in self.generator_optimizers:
            optimizer.zero_grad(set_to_none=False)
        sum(WEIGHTS[name] * value for name, value in losses.items()).backward()
        for optimizer in self.generator_optimizers:
            optimizer.step()

        for optimizer in self.critic_optimizers:
            optimizer.zero_grad(set_to_none=False)
        pairs = [(self.D1, n, fake_noise.detach(), eps1)]
        pairs += [(self.D2, n[:, :, h::3, w::3], v.detach()[:, :, h::3, w::3], eps2)]
        losses["D_real"] = sum(self.opinion(critic(real), True) for critic, real, _, _ in pairs)
        losses["D_fake"] = sum(self.opinion(critic(fake), False) for critic, _, fake, _ in pairs)
        total = losses["D_real"] + losses["D_fake"]
        if self.gan_mode == "wgangp":
            losses["gp"] = sum(self.penalty(*pair) for pair in pairs)
            total = total + 10 * losses["gp"]
        else:
            total = total / 2
        total.backward()
        for optimizer in self.critic_optimizers:
            optimizer.step()
        return {name: value.detach() for name, value in losses.items()}

    def opinion(self, score: Tensor, wanted_real: bool) -> Tensor:
        """Return the adversarial loss of a critic's scores."""
        if self.gan_mode == "wgangp":
            return -score.mean() if wanted_real else score.mean()
        label = torch.ones_like(score) if wanted_real else torch.zeros_like(score)
        if self.gan_mode == "lsgan":
            return ((score - label) ** 2).mean()
        probability = torch.sigmoid(score)
        return -(label * torch.log(probability) + (1 - label) * torch.log(1 - probability)).mean()

    def penalty(self, critic: nn.Module, real: Tensor, fake: Tensor, eps: Tensor) -> Tensor:
        """Return the gradient penalty (Gulrajani et al. 2017, Eq. 3)."""
        mixed = (eps * real + (1 - eps) * fake).requires_grad_(True)
        score = critic(mixed)
        gradient = torch.autograd.grad(score, mixed, torch.ones_like(score), create_graph=True)[0]
        return ((gradient.reshape(len(gradient), -1).norm(dim=1) - 1) ** 2).mean()


def read(path: Path) -> np.ndarray:
    """Decode an 8-bit file, (H, W, 3) BGR."""
    image = cv2.imread(str(path))
    assert image is not None, path
    return image


def crop_frames(pairs: list[Files], target: Path) -> list[Files]:
    """Cut whole frames into overlapping crops, one PNG each; return the pairs of crops."""
    crops: list[Files] = []
    for pair in pairs:
        sides = []
        for path, side in zip(pair, ("clean", "noisy")):
            folder = target / path.parent.name / side
            folder.mkdir(parents=True, exist_ok=True)
            image = read(path)
            names: list[Path] = []
            for top, left in corners(*image.shape[:2]):
                names.append(folder / f"{path.stem}_{len(names) + 1:05d}.png")
                cv2.imwrite(str(names[-1]), np.ascontiguousarray(image[top : top + CROP_SIZE, left : left + CROP_SIZE]))
            sides.append(names)
        crops += zip(*sides)
    return crops


def corners(height: int, width: int) -> list[tuple[int, int]]:
    """Return the upper left corners of a frame's crops."""
    if height <= CROP_THRESHOLD or width <= CROP_THRESHOLD:
        raise ValueError(f"a frame of {height}x{width}, expected sides above {CROP_THRESHOLD}")
    rows, columns = ([*range(0, side - CROP_SIZE, CROP_STEP), side - CROP_SIZE] for side in (height, width))
    return [(top, left) for top in rows for left in columns]


def published_batch(pairs: list[Files], random: np.random.Generator, batch: int, patch: int) -> torch.Tensor:
    """Make a batch as the published loop does, both images decoded for every patch: (2, N, 3, P, P)."""
    samples = []
    for index in random.integers(0, len(pairs), batch):
        clean, noisy = (cv2.cvtColor(read(path), cv2.COLOR_BGR2RGB) for path in pairs[index])
        top, left = (random.integers(0, side - patch + 1) for side in clean.shape[:2])
        patches = (image[top : top + patch, left : left + patch].transpose(2, 0, 1) for image in (clean, noisy))
        samples.append([torch.from_numpy(np.ascontiguousarray(patch)) for patch in patches])
    return torch.stack([torch.stack(images) for images in zip(*samples)])


def published_test(pairs: list[Files], fake_noise: np.ndarray) -> float:
    """Return the published figure of a test: the mean divergence of the fake noise's histogram from the real one's."""
    edges = np.array([-1000, *(0.2 / 64 * np.arange(65) - 0.1), 1000])
    divergences = []
    for pair in pairs:
        clean, noisy = (cv2.cvtColor(read(path), cv2.COLOR_BGR2RGB).astype(np.float64) for path in pair)
        fake = np.clip(np.round(clean + fake_noise), 0, 255) - clean
        counts = [np.histogram(noise / 255, bins=edges)[0] / noise.size for noise in (noisy - clean, fake)]
        real, made = (shares[(counts[0] > 0) & (counts[1] > 0)] for shares in counts)
        divergences.append(float((real * np.log(real / made)).sum()))
    return float(np.mean(divergences))
