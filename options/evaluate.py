"""Options of main_eval.py: its commands noise, denoise and submit."""

import argparse

from inference.tiled import DENOISER_TILE
from noise.kinds import KINDS
from options.common import (
    Group,
    Parser,
    add_channels_option,
    add_device_options,
    add_path_option,
    add_pretrain_option,
    add_scene_options,
    add_seed_option,
    given_path,
    natural_int,
    non_negative_float,
    positive_int,
    thread_count,
)

DATA_DIR = "./Datasets/SIDD_Medium_Crop/"
NEEDED_FILES = {"kaggle": ("blocks", "output"), "sidd-mat": ("blocks", "output"), "dnd": ("dnd_dir", "output_dir")}
DENOISER_FORM = (
    "WHAT is a checkpoint of main_train_denoiser.py or of another network (pip install spandrel); the folder of a "
    "denoiser's or joint training, whose newest checkpoint is taken; noisy, the image as it is; nlm, non-local means "
    "(1 s for 512x512 pixels); or bm3d (25 s for 512x512 pixels on one core; pip install bm3d, not for commercial "
    "use). NAME is what the results call it"
)


def evaluate_parser(model_names: tuple[str, ...]) -> Parser:
    """Build the parser; `model_names` are the noise models there are."""
    parser = Parser(
        "Compare noise models or denoisers, or make a submission. `main_eval.py <command> --help` lists the options."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    noise = commands.add_parser(
        "noise",
        help="noise models against the real noise of the same images",
        description="Compare noise models, or your own fakes (--fake_dir), with the real noise of the same images: by "
        "the published metrics, and by autocorrelation, spectrum, channel correlation and noise level function, which "
        "those do not see. Writes report.md, results.csv (one row per image, model and draw), results.json and plots.",
    )
    _add_image_options(noise, "judge on")
    _add_model_options(noise, model_names)
    _add_result_options(noise, "<cam_name>", "read and measure")
    add_seed_option(noise)
    add_device_options(noise)
    _add_denoise_command(commands)
    _add_submit_command(commands)
    return parser


def _add_model_options(parser: argparse.ArgumentParser, model_names: tuple[str, ...]) -> None:
    group = parser.add_argument_group("models")
    group.add_argument(
        "--models",
        nargs="+",
        type=lambda word: KINDS[word].name if word in KINDS else word,
        choices=model_names,
        metavar="MODEL",
        help=f"noise models to compare: {', '.join(model_names)}, or as other commands call them, such as awgn-x-std "
        "(default: all for which there are weights, a fit, or training scenes in --data_dir to fit to; real is the "
        "other frame of a scene)",
    )
    add_pretrain_option(group)
    group.add_argument(
        "--noise_level",
        type=non_negative_float,
        help="NeCA-S: std of the noise before NCNet, in grey levels (default: that of each image's real noise)",
    )
    group.add_argument(
        "--fake_dir",
        nargs="+",
        default=[],
        metavar="[NAME=]DIR",
        help="folders of fake noisy images made elsewhere, named as the real ones, flat or below <scene>/",
    )
    group.add_argument(
        "--c2st",
        action="store_true",
        help="classifier two-sample tests: the AUC (.5 chance, 1 certainty) with which a small network tells each "
        "model's noise from real noise, on patches of 8 and of 32 pixels; a minute or two per model on two cores",
    )
    group.add_argument("--draws", type=positive_int, default=1, help="independent fakes of each image and model")
    group.add_argument(
        "--fit_images",
        type=natural_int,
        default=100,
        help="crops per ISO that Gaussian models and copulas are fitted to, evenly spaced over the training scenes; 0: "
        "all",
    )


def check_image_options(args: argparse.Namespace) -> None:
    """Raise ValueError unless there are either scenes or both files of blocks."""
    for name, other in (("noisy_blocks", "gt_blocks"), ("gt_blocks", "noisy_blocks")):
        if getattr(args, other) is not None and getattr(args, name) is None:
            raise ValueError(f"--{other} {getattr(args, other)}: expected --{name} too, the same blocks")
    if args.noisy_blocks and (args.data_dir != DATA_DIR or args.scene_list or args.img_channels != 3):
        others = "--data_dir, --scene_list nor --img_channels"
        raise ValueError(f"--noisy_blocks: in place of scenes, and of 3 channels; expected neither {others} with it")


def _add_denoise_command(commands: argparse._SubParsersAction) -> None:
    """Add the command that judges denoisers to main_eval.py's."""
    parser = commands.add_parser(
        "denoise",
        help="denoisers on real noisy images whose clean ones are known",
        description="Denoise real noisy images and compare with the clean ones: PSNR and SSIM of the outputs rounded "
        "to 8 bit, as the benchmarks measure them, and PGap, the PSNR that training on a synthesiser's noise instead "
        "of real noise costs. Writes report.md, results.csv (one row per image, denoiser, seed), results.json and "
        "pictures.",
    )
    _add_block_options(_add_image_options(parser, "denoise", several=True))
    _add_choice_options(parser.add_argument_group("denoisers"))
    threads = "read, measure and run the classic methods, and processes of bm3d"
    _add_result_options(parser, "denoise_<cameras>", threads)
    _add_denoiser_options(parser)


def _add_denoiser_options(parser: argparse.ArgumentParser) -> None:
    """Add the options on how a denoiser works, those of `evaluation.denoisers.make_denoiser`."""
    group = parser.add_argument_group("how to denoise")
    group.add_argument(
        "--tile",
        type=natural_int,
        default=DENOISER_TILE,
        help="side of a tile in pixels, 0: whole images; smaller tiles take less memory and change no result of our "
        "networks; those that see the whole image (instance norm, NAFNet) take it at once",
    )
    group.add_argument(
        "--self_ensemble",
        action="store_true",
        help="networks: average over the eight flips and rotations of the image, eight times the work",
    )
    group.add_argument(
        "--sigma",
        type=non_negative_float,
        help="nlm and bm3d: std of the noise in grey levels (default: estimated on each image by the median of wavelet "
        "coefficients of every third row and column, about 0.85 times the true one)",
    )
    add_device_options(group)


def _add_image_options(parser: argparse.ArgumentParser, verb: str, several: bool = False) -> Group:
    """Add the images that a command works on, and return their group; verb: what it does to them."""
    group = parser.add_argument_group("images")
    most = f"{verb} this many images, evenly spaced over all; 0: all"
    add_scene_options(group, split="test", purpose=verb, max_images=0, max_images_help=most, several=several)
    add_channels_option(group)
    return group


def _add_block_options(group: Group) -> None:
    add_path_option(
        group, "--noisy_blocks", "FILE", "ValidationNoisyBlocksSrgb.mat of SIDD, instead of scenes; needs --gt_blocks"
    )
    add_path_option(group, "--gt_blocks", "FILE", "ValidationGtBlocksSrgb.mat of SIDD; needs --noisy_blocks")


def _add_choice_options(group: Group) -> None:
    group.add_argument(
        "--denoisers",
        type=given_path,
        nargs="+",
        default=["noisy", "nlm"],
        metavar="[NAME=]WHAT",
        help=DENOISER_FORM + ". The noisy image is always among them",
    )
    group.add_argument(
        "--seeds",
        type=natural_int,
        nargs="+",
        default=[],
        help="seeds of runs with the same recipe; {seed} in a path stands for each of them, as in "
        "real=saves/denoising/real_{seed}",
    )
    group.add_argument(
        "--pgap_of",
        metavar="NAME",
        help="name of the denoiser trained on real noise: PGap is its PSNR minus that of each other one, seed by seed "
        "(default: real, if there is one)",
    )
    group.add_argument(
        "--skip_missing", action="store_true", help="print which checkpoints are missing, and go on with the others"
    )


def _add_result_options(parser: argparse.ArgumentParser, folder: str, threads: str) -> None:
    """Add where the results go, by default to ./saves/evaluation/<folder>/, and what the `threads` do."""
    group = parser.add_argument_group("results")
    words = f"folder for the results (default: ./saves/evaluation/{folder}/)"
    group.add_argument("--output_dir", type=given_path, help=words)
    group.add_argument("--html", action="store_true", help="also write report.html: one file, the verdict first")
    words = f"threads that {threads}; 0: no threads"
    group.add_argument("--num_workers", type=thread_count, default=2, help=words)


def check_submission_files(args: argparse.Namespace) -> None:
    """Raise ValueError unless exactly the files and folders of the chosen benchmark are given."""
    for name in ("blocks", "output", "dnd_dir", "output_dir"):
        is_needed = name in NEEDED_FILES[args.benchmark]
        if is_needed != (getattr(args, name) is not None):
            verb = "needs" if is_needed else "does not take"
            raise ValueError(f"--benchmark {args.benchmark}: {verb} --{name}; see main_eval.py submit --help")


def _add_submit_command(commands: argparse._SubParsersAction) -> None:
    """Add the command that makes submissions to main_eval.py's."""
    parser = commands.add_parser(
        "submit",
        help="denoise a public benchmark and write what its server takes",
        description="Denoise a benchmark whose clean images only its server has, and write what it takes. SIDD: "
        "download BenchmarkNoisyBlocksSrgb.mat from https://www.eecs.yorku.ca/~kamel/sidd/benchmark.php; it also links "
        "the Kaggle competitions, where you upload SubmitSrgb.csv. DND: get the data set from "
        "https://noise.visinf.tu-darmstadt.de/, and upload the files of bundled/ there. The command reads its files "
        "back and compares them. Run again to continue an interrupted run.",
    )
    parser.add_argument(
        "--benchmark",
        choices=NEEDED_FILES,
        required=True,
        help="kaggle: SIDD, a CSV of 1280 lines ID,BLOCK with the blocks' bytes in base64, 335 MB; sidd-mat: SIDD for "
        "its older server, a cell array DenoisedBlocksSrgb, 252 MB; the server may want fields on method and time, "
        "which you add by hand; dnd: the Darmstadt Noise Dataset, sRGB, 1000 crops of 512x512, 6.3 GB",
    )
    parser.add_argument("--denoiser", type=given_path, required=True, metavar="[NAME=]WHAT", help=DENOISER_FORM)
    _add_file_options(parser)
    _add_denoiser_options(parser)
    parser.add_argument(
        "--num_workers",
        type=thread_count,
        default=2,
        help="nlm and bm3d: blocks or crops to denoise at once; 0: one",
    )


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    sidd = parser.add_argument_group("files of kaggle and sidd-mat")
    add_path_option(sidd, "--blocks", "FILE", "BenchmarkNoisyBlocksSrgb.mat, as downloaded")
    add_path_option(
        sidd,
        "--output",
        "FILE",
        "submission to write, such as SubmitSrgb.csv, or SubmitSrgb.mat for sidd-mat; FILE.json beside it says "
        "what it was made with, FILE.work/ holds denoised images until it is complete",
    )
    dnd = parser.add_argument_group("folders of dnd")
    add_path_option(dnd, "--dnd_dir", "DIR", "folder of info.mat and images_srgb/0001.mat to 0050.mat")
    add_path_option(
        dnd,
        "--output_dir",
        "DIR",
        "folder for the denoised crops 0001_01.mat to 0050_20.mat and, to upload, bundled/0001.mat to 0050.mat",
    )
