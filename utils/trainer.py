"""The training loop. It knows nothing of the model but the handful of methods in `Trainable`."""

import argparse
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from utils import distributed
from utils.checkpoints import STATE_PREFIX, load_newest_state, remove_all_but_newest, save_checkpoint
from utils.run import RunLog
from utils.runtime import StopSignal

KEPT_STATES = 2  # the newest training state and the one before it, in case the disk damages a file


class Trainable(Protocol):
    """What the loop asks of a model."""

    def train_batch(self, batch: dict[str, Any], step: int, epoch: int) -> dict[str, Tensor]:
        """Learn from a batch and return its losses as scalars on the device."""

    def network_files(self, epoch: int) -> dict[str, dict]:
        """Contents of the networks' files, by their names below models/ without epoch and suffix."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Schedule:
    """When to log, to test and to stop; steps and epochs count from 1."""

    steps_per_epoch: int
    last_step: int
    log_step: int
    test_epoch: int
    val_step: int
    keep_checkpoints: int = 0  # network files kept per letter; 0: all

    @classmethod
    def of(cls, args: argparse.Namespace, steps_per_epoch: int) -> "Schedule":
        """Plan what the options of a training ask for; `--steps` may end it before `--epochs` do."""
        steps = args.epochs * steps_per_epoch
        last_step = min(steps, args.steps or steps)
        return cls(steps_per_epoch, last_step, args.log_step, args.test_epoch, args.val_step, args.keep_checkpoints)

    def __str__(self) -> str:
        return f"{self.steps_per_epoch} steps an epoch, {self.last_step} steps in all"

    def epoch(self, step: int) -> int:
        return math.ceil(step / self.steps_per_epoch)

    def tests_at(self, step: int) -> bool:
        """After every `test_epoch` epochs, every `val_step` steps, and at the end."""
        every = (self.steps_per_epoch * self.test_epoch, self.val_step)
        return step == self.last_step or any(step % steps == 0 for steps in every)


class LossWindow:
    """Losses of the steps since the last row of the log, left on the device until somebody asks."""

    def __init__(self):
        self.rows: list[tuple[int, list[str], Tensor, list[str]]] = []

    def add(self, step: int, losses: dict[str, Tensor], files: list[str]) -> None:
        self.rows.append((step, list(losses), torch.stack(list(losses.values())), files))

    def means(self) -> dict[str, float]:
        """Empty the window: -> the mean of each loss over the steps that had it.

        Raises ValueError for a loss that is not finite, with its step and the batch's files.
        """
        found: dict[str, list[float]] = {}
        for step, names, values, files in self.rows:
            for name, value in zip(names, values.tolist()):
                if not math.isfinite(value):
                    raise ValueError(
                        f"loss {name} is {value} at step {step}; the batch's files: {', '.join(files)}; "
                        "nothing was saved since the last checkpoint: look at these files, or lower the learning rate "
                        "(--lr...)"
                    )
                found.setdefault(name, []).append(value)
        self.rows.clear()
        return {name: sum(values) / len(values) for name, values in found.items()}


def train(
    model: Trainable,
    make_batches: Callable[[int], AbstractContextManager[Iterable[dict[str, Any]]]],
    test: Callable[[int], dict[str, float]],
    schedule: Schedule,
    run: RunLog,
) -> bool:
    """Train until `schedule.last_step`, or until Ctrl-C, SIGTERM or SIGHUP -> whether the run is complete.

    Continues from the run's newest checkpoint. `make_batches(step)` opens the batches after `step`, each with a
    list of file names under "name"; `test(step)` measures the model. Of several processes all learn; the first one
    alone writes and tests, while the others wait for its next step.
    """
    first = distributed.is_first()

    def measure(step: int) -> None:
        if first:
            run.metrics("test", step, schedule.epoch(step), test(step))

    step = load_state(model, run)
    if step:
        run.log.info("resuming after step %d", step)
    run.begin(step)
    window = LossWindow()
    if step and schedule.tests_at(step) and not run.recorded("test", step):  # stopped before or in a test
        measure(step)
    if step >= schedule.last_step:
        run.log.info("complete: %d steps are done; raise --epochs or --steps to go on", step)
        return True
    with StopSignal() as stop, _Bars(schedule, step) as bars, make_batches(step) as batches:
        for batch in batches:
            step += 1
            epoch = schedule.epoch(step)
            # Learn.
            window.add(step, model.train_batch(batch, step, epoch), batch["name"])
            bars.advance(step)
            stopping = distributed.any_process(bool(stop.received))
            due = schedule.tests_at(step)
            # Log.
            if step % schedule.log_step == 0 or due or stopping:
                losses = distributed.mean_over_processes(window.means())
                run.metrics("train", step, epoch, losses)
                bars.show(losses)
            # Save.
            if first and (due or stopping):
                save(model, run, schedule, step)
            # Stop.
            if stopping:
                reason = stop.received or "stop of another process"
                run.log.info("%s: saved at step %d; run the same command again to continue", reason, step)
                return False
            # Test.
            if due:
                measure(step)
    run.log.info("complete: %d steps", step)
    return True


def test_only(model: Trainable, test: Callable[[int], dict[str, float]], schedule: Schedule, run: RunLog) -> None:
    """Measure the run's newest checkpoint, in the first process alone."""
    step = load_state(model, run)
    if distributed.is_first():
        run.metrics("test", step, schedule.epoch(step), test(step))


def load_state(model: Trainable, run: RunLog) -> int:
    """Load the run's newest training state into the model -> the step it was saved at, 0 for a new run.

    Raises ValueError for a state that does not fit the model.
    """
    state = distributed.from_first(load_newest_state(run.models, run.log) if distributed.is_first() else None)
    if not state:
        return 0
    try:
        model.load_state_dict(state["model"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{_state_file(run, state['step'])}: does not fit these networks ({reason}); delete it to resume from the "
            f"one before, or choose another --dir_save"
        ) from None
    return state["step"]


def save(model: Trainable, run: RunLog, schedule: Schedule, step: int) -> None:
    """Write the networks' files and then, in one file of its own, all that a resumed run needs.

    Weights that are not finite stop the run before anything is written.
    """
    epoch = schedule.epoch(step)
    files = model.network_files(epoch)
    for name, content in files.items():
        for key, tensor in content["model_state_dict"].items():
            if not torch.isfinite(tensor).all():
                raise ValueError(f"weights {key} of {name} are not finite at step {step}; nothing was saved")
    for name, content in files.items():
        save_checkpoint(run.models / f"{name}_{epoch:08d}.pth", content | {"step": step})
    save_checkpoint(_state_file(run, step), {"step": step, "model": model.state_dict()})
    # Only now, so that a kill in between leaves a whole set of files.
    for name in files:
        remove_all_but_newest((run.models / name).parent, f"{Path(name).name}_", schedule.keep_checkpoints)
    remove_all_but_newest(run.models, STATE_PREFIX, KEPT_STATES)


def _state_file(run: RunLog, step: int) -> Path:
    return run.models / f"{STATE_PREFIX}{step:010d}.pth"


class _Bars:
    """Two progress bars, epochs and the steps of this epoch; silent where the output is not a terminal."""

    def __init__(self, schedule: Schedule, step: int):
        self.schedule = schedule
        epochs, steps = schedule.epoch(schedule.last_step), schedule.steps_per_epoch
        kind = {"disable": None if distributed.is_first() else True}
        self.epochs = tqdm(total=epochs, initial=step // steps, desc="epochs", unit="epoch", position=0, **kind)
        self.steps = tqdm(total=steps, initial=step % steps, desc="steps", unit="step", position=1, **kind)

    def advance(self, step: int) -> None:
        self.steps.update()
        if step % self.schedule.steps_per_epoch == 0:
            self.epochs.update()
            if step < self.schedule.last_step:
                self.steps.reset()

    def show(self, losses: dict[str, float]) -> None:
        self.steps.set_postfix({name: f"{value:.3g}" for name, value in losses.items()}, refresh=False)

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *exception) -> None:
        self.steps.close()
        self.epochs.close()
