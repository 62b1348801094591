"""The training loop. It knows nothing of the model but the handful of methods in `Trainable`."""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from utils import distributed
from utils.run import Best, Files, Run
from utils.runtime import StopSignal


class Tested(NamedTuple):
    """Result of a test: all values by name, pictures (H, W, 3) uint8 by name, and what the terminal shows of it."""

    values: dict[str, float]
    pictures: dict[str, np.ndarray]
    line: str


Test = Callable[[int], Tested]  # of an epoch


class Trainable(Protocol):
    """A model as the loop needs it."""

    def train_batch(self, batch: dict[str, Any], step: int, epoch: int) -> dict[str, Tensor]:
        """Learn from a batch and return its losses as scalars on the device."""

    def network_files(self, epoch: int) -> Files:
        """Return the contents of the networks' files, by their names below models/ without epoch and suffix."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs, tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` has returned."""


@dataclass(frozen=True)
class Schedule:
    """Steps at which to log, to test and to stop; steps and epochs count from 1, and 0 is a new run."""

    steps_per_epoch: int
    epochs: int
    steps: int | None  # may end the training before `epochs` do
    log_step: int
    test_epoch: int
    val_step: int
    keep_checkpoints: int = 0  # network files kept per letter; 0: all

    @property
    def last_step(self) -> int:
        """Return the step at which the training is complete."""
        steps = self.epochs * self.steps_per_epoch
        return steps if self.steps is None else min(steps, self.steps)

    def __str__(self) -> str:
        return f"{self.steps_per_epoch} steps per epoch, {self.last_step} steps in all"

    def epoch(self, step: int) -> int:
        """Return the epoch that a step belongs to."""
        return math.ceil(step / self.steps_per_epoch)

    def tests_at(self, step: int) -> bool:
        """Return whether a test is due: after every `test_epoch` epochs, every `val_step` steps, and at the end."""
        every = (self.steps_per_epoch * self.test_epoch, self.val_step)
        return step == self.last_step or any(step % steps == 0 for steps in every)


class LossWindow:
    """Losses of the steps since the last row of the log, left on the device until somebody asks."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, list[str], Tensor, list[str]]] = []

    def add(self, step: int, losses: dict[str, Tensor], files: list[str]) -> None:
        """Keep a step's losses and the names of its batch's files."""
        self.rows.append((step, list(losses), torch.stack(list(losses.values())), files))

    def means(self) -> dict[str, float]:
        """Empty the window and return the mean of each loss over the steps that had it.

        Raise ValueError for a loss that is not finite, with its step and the batch's files.
        """
        found: dict[str, list[float]] = {}
        for step, names, values, files in self.rows:
            for name, value in zip(names, values.tolist()):
                if not math.isfinite(value):
                    raise ValueError(
                        f"loss {name} is {value} at step {step}; the batch's files: {', '.join(files)}; "
                        "nothing was saved since the last checkpoint: look at these files, or lower the learning rate"
                    )
                found.setdefault(name, []).append(value)
        self.rows.clear()
        return {name: sum(values) / len(values) for name, values in found.items()}


def train(
    model: Trainable,
    make_batches: Callable[[int], AbstractContextManager[Iterable[dict[str, Any]]]],
    test: Test,
    schedule: Schedule,
    run: Run,
    best: Best | None = None,
    begin: int = 0,
    begin_with_test: bool = False,
) -> bool:
    """Train until `schedule.last_step`, or until Ctrl-C, SIGTERM or SIGHUP, and tell if the run is complete.

    Continues from the run's newest checkpoint. Of several ranks all learn; the main one alone writes and tests, while
    the others wait for its next step.

    Args:
        model: what learns.
        make_batches: opens the batches after a step, each with a list of file names under "name".
        test: measures the model in an epoch.
        schedule: when to log, to test and to stop.
        run: the folder that it all goes to.
        best: by which value of a test the best networks are kept, if they are.
        begin: step after which a new run begins, where the model's weights are those of an earlier training.
        begin_with_test: save and test a new run's model before its first step.
    """
    resumed = load_state(model, run)
    step = resumed or begin
    if resumed:
        run.log.info("resuming after step %d", step)
        run.remove_old(model.network_files(schedule.epoch(step)), schedule.keep_checkpoints)  # what a kill has spared
    run.begin(step)
    window = LossWindow()
    if resumed and schedule.tests_at(step) and not run.recorded("test", step):  # stopped before or in a test
        measure(model, test, schedule, run, step, best)
    if begin_with_test and step == begin:
        if distributed.is_main():
            epoch = schedule.epoch(step)
            run.save(model.network_files(epoch), model.state_dict(), step, epoch, schedule.keep_checkpoints)
        measure(model, test, schedule, run, step, best)
    if step >= schedule.last_step:
        run.log.info("complete: %d steps are done; ask for more epochs or steps to go on", step)
        return True
    with StopSignal() as stop, _Bars(schedule, step) as bars, make_batches(step) as batches:
        for batch in batches:
            step += 1
            epoch = schedule.epoch(step)
            # Learn.
            window.add(step, model.train_batch(batch, step, epoch), batch["name"])
            bars.advance(step)
            stopping = distributed.any_rank(bool(stop.received))
            due = schedule.tests_at(step)
            # Log.
            if step % schedule.log_step == 0 or due or stopping:
                losses = distributed.mean_over_ranks(window.means())
                run.metrics("train", step, epoch, losses)
                bars.show(losses)
            # Save.
            if (due or stopping) and distributed.is_main():
                run.save(model.network_files(epoch), model.state_dict(), step, epoch, schedule.keep_checkpoints)
            # Stop.
            if stopping:
                reason = stop.received or "stop of another process"
                run.log.info("%s: saved at step %d; run the same command again to continue", reason, step)
                return False
            # Test.
            if due:
                measure(model, test, schedule, run, step, best)
    run.log.info("complete: %d steps", step)
    return True


def measure(model: Trainable, test: Test, schedule: Schedule, run: Run, step: int, best: Best | None = None) -> None:
    """Test the model and record what is found, on the main rank alone."""
    if not distributed.is_main():
        return
    epoch = schedule.epoch(step)
    tested = test(epoch)
    run.pictures(step, tested.pictures)
    if best:
        run.keep_best(best, model.network_files(epoch), tested.values, step, epoch)
    run.metrics("test", step, epoch, tested.values, tested.line)


def test_only(model: Trainable, test: Test, schedule: Schedule, run: Run, begin: int = 0) -> None:
    """Test the run's newest checkpoint, or a model as it is: that of the step `begin`."""
    measure(model, test, schedule, run, load_state(model, run) or begin)


def load_state(model: Trainable, run: Run) -> int:
    """Load the run's newest training state into the model and return the step it was saved at, 0 for a new run.

    Raise ValueError for a state that does not fit the model.
    """
    found = distributed.broadcast(run.newest_state())
    if not found:
        return 0
    path, state = found
    try:
        model.load_state_dict(state["model"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path}: does not fit these networks ({reason}); delete it to resume from the one before"
        ) from None
    return state["step"]


class _Bars:
    """Two progress bars, epochs and the steps of this epoch; silent where the output is not a terminal."""

    def __init__(self, schedule: Schedule, step: int):
        self.schedule = schedule
        epochs, steps = schedule.epoch(schedule.last_step), schedule.steps_per_epoch
        bar = partial(tqdm, disable=None if distributed.is_main() else True)
        self.epochs = bar(total=epochs, initial=step // steps, desc="epochs", unit="epoch", position=0)
        self.steps = bar(total=steps, initial=step % steps, desc="steps", unit="step", position=1)

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

    def __exit__(self, *exception: object) -> None:
        self.steps.close()
        self.epochs.close()
