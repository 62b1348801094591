"""The speed benchmark: what it counts, how it compares, that it runs from end to end."""

import json

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import metrics
from benchmark import gpu, speed
from benchmark.data_path import make_crops, make_frames, noisy_pair
from benchmark.naive import crop_frames, published_test
from benchmark.timing import ratio, take_turns
from data.boxes import PUBLISHED_CROPS
from data.crop import CropJob, crop_pair
from data.sidd import find_crops, find_frames
from evaluation.costs import count_flops
from models.losses import gradient_penalty
from utils.image import read_image

KEYS = ["patch_ratio", "memcpy_ratio", "crop_ratio", "crop_plain_ratio"]
KEYS += ["raw_to_first_batch_ratio", "step_ratio", "gemm_fraction"]


def test_the_quick_benchmark_writes_report_and_chart_and_ends_in_json(tmp_path, capsys):
    threads = torch.get_num_threads()
    speed.main(["--quick", "--threads", "1", "--batch_size", "1", "--output_dir", str(tmp_path / "results")])
    assert torch.get_num_threads() == threads
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(found) == KEYS and all(value > 0 for value in found.values())
    report = (tmp_path / "results" / "speed.md").read_text()
    assert all(f"| {name} |" in report for name in KEYS)
    assert "not to be quoted" in report and "(speed.png)" in report
    chart = cv2.imread(str(tmp_path / "results" / "speed.png"))
    assert chart.shape[1] > 800 and chart.std() > 10


def test_the_benchmark_of_a_gpu_goes_on_after_a_row_that_fails_and_ends_in_a_table(monkeypatch, capsys):
    def broken(device, sizes):
        raise RuntimeError("no such kernel\nand its stack")

    monkeypatch.setitem(gpu.ROWS, "products, float32", broken)
    names = ["products, float32", "training step beside the CPU's, float32", "training, bf16", "denoising, DnCNN"]
    names += ["AddCameraNoise, S6's pipeline", "synthesis, S6's pipeline", "synthesis, NeCA-W"]
    gpu.main(["--device", "cpu", "--quick", "--rows", *names])
    title, made, table, *_ = capsys.readouterr().out.split("\n\n")
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()[2:]}
    assert title == "# GPU" and f"PyTorch {torch.__version__}" in made.replace("\\", "") and "not to be quoted" in made
    assert set(rows) == set(names)
    assert "| failed | RuntimeError: no such kernel |" in rows[names[0]]
    assert float(rows[names[1]].split(" | ")[1]) < 1e-3
    assert all(float(rows[name].split(" | ")[1].replace(",", "")) > 0 for name in names[2:])


def test_an_error_is_relative_to_the_largest_value_of_its_tensor():
    one, other = torch.tensor([1.0, 100.0]), torch.tensor([2.0, 4.0])
    assert gpu.relative_error([one, other], [torch.tensor([2.0, 100.0]), other]) == 0.01


# 2 images of 3 channels, 8x8 pixels; 4 filters of 3x3 whose border is padded: 2 * 3 * 9 FLOPs for each of 2 * 4 * 64
# outputs. Then a linear layer from 256 values to 5.
CONV, LINEAR = 2 * 3 * 9 * 2 * 4 * 64, 2 * 256 * 5 * 2


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(256, 5))


def test_a_forward_pass_counts_every_product_and_sum_of_convolution_and_linear_layer():
    network, images = net(), torch.rand(2, 3, 8, 8)
    assert count_flops(lambda: network(images)) == CONV + LINEAR


def test_a_backward_pass_counts_gradients_of_weights_and_of_inputs_that_want_one():
    network, images = net(), torch.rand(2, 3, 8, 8)
    # The linear layer's gradients of weights and inputs; of the first convolution only that of the weights.
    assert count_flops(lambda: network(images).sum().backward()) == (CONV + LINEAR) + 2 * LINEAR + CONV
    images.requires_grad_()
    assert count_flops(lambda: network(images).sum().backward()) == 3 * (CONV + LINEAR)


def test_a_gradient_penalty_counts_its_double_backward():
    network, real, fake = net(), torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    work = lambda: gradient_penalty(network, real, fake, torch.rand(2, 1, 1, 1)).backward()  # noqa: E731
    # Scores, their gradient by the images, and of this gradient that by the weights; through the convolution also that
    # by the gradient that came in, which for the last layer is constant. PyTorch also sends back zeros, the second
    # derivative of the activation, through the convolution of the scores, to its weights and to the images.
    assert count_flops(work) == 4 * CONV + 3 * LINEAR + 2 * CONV


def test_ratios_are_those_of_the_same_round():
    assert ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == (3.0, 2.0, 4.0)


def test_works_take_turns_backwards_every_other_round_and_are_tidied_up_after():
    done = []
    works = {"b": lambda: done.append("b"), "a": (lambda: done.append("a"), 2)}
    taken = take_turns(works, 2, after=lambda: done.append("."))
    assert "".join(done) == "b.aa.aa.b."
    assert {name: len(values) for name, values in taken.items()} == {"b": 2, "a": 2}


def test_the_published_cropper_cuts_what_ours_cuts(tmp_path):
    [scene] = make_frames(tmp_path / "parts", 1, (801, 1000))
    [pair], _ = find_frames(scene)
    crop_frames([pair], tmp_path / "published")
    crop_pair(CropJob(*pair, tmp_path / "ours" / scene.name), PUBLISHED_CROPS)
    ours, published = (
        {path.relative_to(folder): read_image(path).tobytes() for path in folder.rglob("*.png")}
        for folder in (tmp_path / "ours", tmp_path / "published")
    )
    assert len(ours) == 2 * 2 * 3 and ours == published


def test_the_published_test_measures_the_same_divergence_as_ours(tmp_path):
    make_crops(tmp_path, 2)
    fake = np.random.default_rng(0).normal(0, 9, (512, 512, 3))
    values = []
    for seed in (0, 1):
        clean, noisy = noisy_pair(512, 512, seed)
        made = np.clip(np.round(clean + fake), 0, 255).astype(np.uint8)
        values.append(metrics.kld(metrics.noise_of(noisy, clean), metrics.noise_of(made, clean)))
    pairs = find_crops(next(tmp_path.iterdir()))
    assert published_test(pairs, fake) == pytest.approx(np.mean(values), abs=1e-9)
