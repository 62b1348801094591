"""Train a camera's noise generator jointly with its critics and a denoiser (NeCA)."""

from pathlib import Path

from data.cache import open_images
from data.dataset import SAMPLING, StepBatches, TrainingPatches, steps_per_epoch
from data.image_list import are_cropped, list_images
from data.loading import training_batches, whole_image_loader
from data.sidd import find_scenes
from data.splits import resolve_split
from evaluation.gains import write_run_banks
from evaluation.joint_test import keep_best, measure_joint
from models.model_joint import JointModel
from models.network_ncnet import STRIDE
from models.networks import build_networks, describe
from models.pretrained import begin_from
from options.train_jointly import fixed_options, joint_options, network_configs, train_jointly_parser
from utils.run_log import RunLog, has_state, terminal_log
from utils.runtime import choose_device, run_command
from utils.trainer import Schedule, load_state, train


def main(arguments: list[str] | None = None) -> None:
    parser = train_jointly_parser()
    args = parser.parse_args(arguments)
    log = terminal_log()
    device = choose_device(args.device, args.gpu_ids)
    configs, options = network_configs(args), joint_options(args)

    # Data: the camera's scenes, split by the lists, as pairs of crops (or what would be crops).
    scenes = {folder.name: folder for folder in find_scenes(args.train_img_dir, args.cam_name, "--train_img_dir")}
    split = resolve_split(args.cam_name, list(scenes), args.data_prep_dir, args.generate_data_lists, args.seed, log)
    cropped = are_cropped(scenes.values())
    train_list, test_list = (
        list_images([scenes[name] for name in names], cropped, *smallest)
        for names, smallest in zip(split, [(args.patch_size, "--patch_size"), (STRIDE, "a test image")])
    )
    per_epoch = steps_per_epoch(len(train_list), args.batch_size)

    # Model.
    networks = build_networks(configs, args.init_type, args.seed)
    folder = Path(args.dir_save) / args.cam_name
    if not args.train and not args.use_pretrained and not has_state(folder):
        raise ValueError(f"--not_train: {folder} has no checkpoint to test; train first or use --use_pretrained")
    if args.use_pretrained and not has_state(folder):
        names = {letter: getattr(args, f"checkpoint_{letter}_name") for letter in networks}
        begin_from(networks, names, Path("pretrain") / args.cam_name, log)
    if args.verbose:
        log.info(describe(networks))
    model = JointModel(networks, options, args.seed, device)

    # Run.
    recorded = vars(args) | {"training images": train_list.fingerprint(), "sampling": SAMPLING}
    fixed = fixed_options(parser) | {
        "training images": ("crops and lists", None),
        "sampling": ("version of this code", "by patch"),
    }
    run = RunLog(folder, recorded, fixed, log, args.use_tb)
    last_step = min(args.epochs * per_epoch, args.steps or args.epochs * per_epoch)
    schedule = Schedule(per_epoch, last_step, args.log_step, args.test_epoch, args.val_step, args.keep_checkpoints)
    if device.type == "cuda" and len(args.gpu_ids) > 1:
        log.warning("--gpu_ids: one GPU trains, %d; the others are not used", args.gpu_ids[0])
    log.info(
        "camera %s on %s: %d training and %d test crops, %d steps an epoch, %d steps in all; %s",
        *(args.cam_name, device, len(train_list), len(test_list), per_epoch, last_step, run.folder),
    )
    cache = (args.cache_dir or Path(args.dir_save).parent / "cache") if args.cache else None
    lists = [train_list, test_list] if args.train else [test_list]
    *train_reader, test_reader = open_images(lists, args.train_img_dir, cache, args.num_workers, log)
    test_images = whole_image_loader(test_reader, 0 if args.cache else args.num_workers)

    def batches_after(step: int):
        patches = TrainingPatches(*train_reader, args.patch_size, args.augment, args.seed)
        order = StepBatches(len(patches), args.batch_size, args.shuffle, args.seed, step, last_step)
        return training_batches(patches, order, args.num_workers, device)

    def test(step: int) -> dict[str, float]:
        metrics, pictures = measure_joint(model, test_images, args.seed, with_plots=args.use_tb)
        for name, picture in pictures.items():
            run.picture(f"test_{step:08d}" + (f"_{name}" if name != "panel" else ""), name, step, picture)
        if args.keep_best and args.train:
            keep_best(model, run.models / "best", metrics, step, schedule.epoch(step))
        return metrics

    try:
        if args.train and train(model, batches_after, test, schedule, run):
            training = [scenes[name] for name in split[0]]
            write_run_banks(run.models, training, args.cam_name, device, args.num_workers, log)
        elif not args.train:
            step = load_state(model, run)
            run.metrics("test", step, schedule.epoch(step), test(step))
    finally:
        run.close()


if __name__ == "__main__":
    run_command(main)
