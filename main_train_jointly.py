"""Train a camera's noise generator jointly with its critics and a denoiser (NeCA)."""

from pathlib import Path

from data.dataset import StepBatches, TrainingPatches, check_pairs, fingerprint, steps_per_epoch
from data.loading import batches_of, training_loader, whole_image_loader
from data.sidd import find_crops, find_scenes
from data.splits import resolve_split
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

    # Data: the camera's scenes, split by the lists, as pairs of crops.
    scenes = {folder.name: folder for folder in find_scenes(args.train_img_dir, args.cam_name, "--train_img_dir")}
    split = resolve_split(args.cam_name, list(scenes), args.data_prep_dir, args.generate_data_lists, args.seed, log)
    train_pairs, test_pairs = ([pair for name in names for pair in find_crops(scenes[name])] for names in split)
    check_pairs(train_pairs, args.patch_size, "--patch_size")
    check_pairs(test_pairs, STRIDE, "a test image")
    per_epoch = steps_per_epoch(len(train_pairs), args.batch_size)

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
    recorded = vars(args) | {"training images": fingerprint(train_pairs)}
    fixed = fixed_options(parser) | {"training images": ("crops and lists", None)}
    run = RunLog(folder, recorded, fixed, log, args.use_tb)
    last_step = min(args.epochs * per_epoch, args.steps or args.epochs * per_epoch)
    schedule = Schedule(per_epoch, last_step, args.log_step, args.test_epoch, args.val_step, args.keep_checkpoints)
    if device.type == "cuda" and len(args.gpu_ids) > 1:
        log.warning("--gpu_ids: one GPU trains, %d; the others are not used", args.gpu_ids[0])
    log.info(
        "camera %s on %s: %d training and %d test crops, %d steps an epoch, %d steps in all; %s",
        *(args.cam_name, device, len(train_pairs), len(test_pairs), per_epoch, last_step, run.folder),
    )
    test_images = whole_image_loader(test_pairs, args.num_workers)
    patches = TrainingPatches(train_pairs, args.patch_size, args.augment, args.seed)

    def batches_after(step: int):
        order = StepBatches(len(patches), args.batch_size, args.shuffle, args.seed, step, last_step)
        return batches_of(training_loader(patches, order, args.num_workers, pin_memory=device.type == "cuda"))

    def test(step: int) -> dict[str, float]:
        metrics, pictures = measure_joint(model, test_images, args.seed, with_plots=args.use_tb)
        for name, picture in pictures.items():
            run.picture(f"test_{step:08d}" + (f"_{name}" if name != "panel" else ""), name, step, picture)
        if args.keep_best and args.train:
            keep_best(model, run.models / "best", metrics, step, schedule.epoch(step))
        return metrics

    try:
        if args.train:
            train(model, batches_after, test, schedule, run)
        else:
            step = load_state(model, run)
            run.metrics("test", step, schedule.epoch(step), test(step))
    finally:
        run.close()


if __name__ == "__main__":
    run_command(main)
