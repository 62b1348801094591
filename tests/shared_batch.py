"""Run by several processes: train tiny networks on shares of common batches and let the first one save the weights.

shared_batch.py FILE DEVICE [fail]

On several GPUs each has its own and NCCL takes the gradients; two processes on one GPU, which NCCL refuses, use Gloo.
"""

import sys

import torch

from models import LETTERS, JointModel, JointOptions, StepRandomness, build_networks
from tests.tiny import CONFIGS, tiny_batch
from utils.command import run_command
from utils.distributed import is_main, local_rank, process_group, rank, share_of, world_size

BATCH, STEPS = 4, 6


def train(share: slice, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Train in float64 on all losses -> all weights. The denoiser has no BatchNorm, whose batch would be the share."""
    configs = CONFIGS | {"G3": CONFIGS["G3"] | {"act_mode": "R"}}
    networks = {letter: network.double() for letter, network in build_networks(configs, "kaiming", 0).items()}
    model = JointModel(networks, JointOptions(joint_start_epoch=1, adv_every=2), device=device, world_size=world_size())
    for step in range(1, STEPS + 1):
        clean, noisy, z = tiny_batch(step, BATCH)
        generator = torch.Generator().manual_seed(step)
        mixing = {name: torch.rand(BATCH, 1, 1, 1, generator=generator).double() for name in ("D1", "D2")}
        mixing = {name: weights.to(device) for name, weights in mixing.items()}
        drawn = StepRandomness(z.to(device), (step % 3, 1), mixing)
        model.training_step(clean[share].to(device), noisy[share].to(device), drawn.part(share), step, 1)
    return {f"{x}.{key}": value.cpu() for x in LETTERS for key, value in model.networks[x].state_dict().items()}


def main() -> None:
    path, name, *fail = sys.argv[1:]
    several = name == "cuda" and torch.cuda.device_count() > 1
    device = torch.device("cuda", local_rank()) if several else torch.device(name)
    with process_group(device if several else torch.device("cpu")):
        if fail and rank() == 1:
            raise ValueError("the second process has its reasons")
        weights = train(share_of(BATCH), device)
        if is_main():
            torch.save(weights, path)


if __name__ == "__main__":
    run_command(main)
