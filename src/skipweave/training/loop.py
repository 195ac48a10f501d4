"""The training loop. Every random choice is a function of (seed, epoch, step), so that a resumed run is exact."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from statistics import median
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from skipweave.data import (
    ImageDataset,
    SegmentationDataset,
    batch_indices,
    epoch_loader,
    evaluated_indices,
    mix_seed,
    steps_per_epoch,
)
from skipweave.data.epoch_loader import LoaderTransform
from skipweave.models.heads import count_heads
from skipweave.training.callbacks import Callback
from skipweave.training.checkpoint.run_state import RunState, last_improvement
from skipweave.training.compilation import eager
from skipweave.training.distributed.synchronization import StepBuffer, sum_over_processes
from skipweave.training.energy import Energy, EnergyMeter
from skipweave.training.learner import Learner
from skipweave.training.optimization.schedules import Schedule
from skipweave.training.run.records import Records
from skipweave.training.run.summary import EpochRow
from skipweave.training.signals import StopRequest
from skipweave.training.tasks.metrics import Metrics, mean_loss, of_heads, of_variant
from skipweave.training.tasks.predictions import PredictionCollector, Predictions
from skipweave.training.tasks.task import Data, OnBatch, evaluate_heads
from skipweave.training.tasks.test_time_augmentation import augmented
from skipweave_config.errors import SkipweaveError, Stopped
from skipweave_config.fit_config import FitConfig
from skipweave_config.recipe import TestTimeAugmentation

Batch = tuple[Tensor, Tensor]


@dataclass
class Loop:
    """The training loop of a run, from its present state to its last epoch.

    Every process takes an equal part of each batch and normalizes by the statistics of that part; gradients are
    averaged. So W processes compute what one process computes that runs the W parts of a batch in turn and averages
    their gradients. Running statistics are those of the first part.

    Attributes:
        learner: The network and its optimizer.
        data: The images.
        config: The config.
        state: Where the run stands.
        records: What is written down.
        callbacks: Called at the end of steps and epochs.
        request: Whether this process was asked to stop.
    """

    learner: Learner
    data: Data
    config: FitConfig
    state: RunState
    records: Records
    callbacks: Sequence[Callback]
    request: StopRequest
    _step_seconds: list[float] = field(default_factory=list)
    _loss: float | None = None  # of the last batch that is known to the host

    def __post_init__(self) -> None:
        """Count the steps of an epoch, and bring the schedule to the present one."""
        self.fabric = self.learner.fabric
        self.step_images = self.config.batch_size * self.config.optim.accumulate
        self.steps = steps_per_epoch(len(self.data.train), self.step_images, drop_last=True)
        make = partial(
            Schedule, self.config.schedule, self.config.optim.lr, steps=self.steps, metric=self.state.metrics.metric
        )
        self.schedule = make(epochs=self.config.epochs)
        self.ending = {group.epochs: make(epochs=group.epochs) for group in self.config.optim.groups if group.epochs}
        for row in self.state.rows:
            self._end_epoch_of_schedules(row)
        self.meter = EnergyMeter(self.fabric.device)
        self.buffer = StepBuffer(self.fabric, self.request)

    def run(self, stop_after: int | None = None) -> None:
        """Train to the last epoch, or until the metric has not improved for as long as the config allows.

        Args:
            stop_after: Number of epochs after which to stop before that.

        Raises:
            SkipweaveError: Training diverged, or something cannot be written.
            Stopped: A signal asked for it; all that was done is saved.
        """
        while not self.finished and (stop_after is None or self.state.epoch < stop_after):
            self.train_epoch()
            self.end_epoch()

    @property
    def stops_early(self) -> bool:
        """Whether the metric improved last as many epochs ago as the config allows."""
        patience, rows = self.config.early_stopping.patience, self.state.rows
        improved = last_improvement(rows, self.state.metrics.metric)
        return bool(patience and improved and len(rows) - improved.epoch >= patience)

    @property
    def finished(self) -> bool:
        """Whether no epoch is left to train."""
        return self.state.epoch >= self.config.epochs or self.stops_early

    def train_epoch(self) -> None:
        """Take the remaining steps of the present epoch."""
        config, state = self.config, self.state
        self.learner.start_epoch(state.epoch)
        head_weights = self.learner.loss_weights(state.epoch)
        batches = self.batches(
            self.data.train,
            self.data.train_transform,
            batch_size=config.batch_size,
            seed=config.seed,
            epoch=state.epoch,
            start_step=state.step * config.optim.accumulate,
            shuffle=True,
            balance=self.data.balance,
            drop_last=True,
        )
        self.meter.start()
        clock = time.perf_counter()
        for _ in range(state.step, self.steps):
            self.learner.start_step(self.steps_done)
            torch.manual_seed(mix_seed(config.seed, state.epoch, state.step, self.fabric.global_rank))
            self.buffer.add(self.backward(batches, head_weights))
            self.learner.optimizer_step(self.learning_rate(state.step), self.ending_rates(state.step))
            state.count_step(self.learner.density)
            for callback in self.callbacks:
                callback.on_step_end(state.epoch, state.step)
            to_save = self.checkpoint_is_due()
            if to_save or self.ends_interval() or self.learner.overflows:
                asked = self.synchronize(clock)
                if asked or to_save:
                    self.save()
                if asked:
                    raise self.stopped(asked)
                self.meter.start()
                clock = time.perf_counter()

    def ends_interval(self) -> bool:
        """Whether to synchronize now: the epoch or the time at a density ends, or enough steps were taken."""
        return self.state.step == self.steps or self.learner.adds_links(self.steps_done) or self.buffer.is_due()

    def backward(self, batches: Iterator[Batch], head_weights: Sequence[float]) -> Tensor:
        """Compute the gradients of a step, from one batch or several; return the sums of its images."""
        parts = self.config.optim.accumulate
        step = enumerate(islice(batches, parts), start=1)
        sums = [self.learner.backward(images, labels, head_weights, part == parts) for part, (images, labels) in step]
        return torch.stack(sums).sum(0) if parts > 1 else sums[0]

    def synchronize(self, since: float) -> signal.Signals | None:
        """Read the sums of the steps since the last synchronization; return the signal that asked to stop, if any.

        Args:
            since: Time of the last synchronization, by `time.perf_counter`.

        Raises:
            SkipweaveError: A loss of these steps is non-finite; the first such step is named.
        """
        state, first = self.state, self.state.step - len(self.buffer)
        steps, asked = self.buffer.synchronize()
        for step, sums in enumerate(steps, start=first):
            state.metrics.add(sums)
            self._loss = mean_loss(sums)
            if not state.metrics.finite:
                raise self.diverged("the loss is non-finite", step)
        if self.learner.overflows:
            raise self.diverged("the gradients are non-finite at every loss scale", state.step - 1)
        seconds = time.perf_counter() - since
        state.add_seconds(seconds)
        state.add_energy(self.meter.read())
        self._step_seconds += [seconds / len(steps)] * len(steps)
        for callback in self.callbacks:
            callback.on_log(state.epoch, state.step, state.metrics.mean_loss)
        return asked

    def end_epoch(self) -> None:
        """Validate, record the epoch, and go to the start of the next."""
        self.check_weights()
        state, train, clock = self.state, self.state.metrics, time.perf_counter()
        self.meter.start()
        val = self.evaluate(self.data.val, self.save) if self.data.val else []
        raw = self.evaluate(self.data.val, self.save, raw=True) if self.data.val and self.learner.ema else []
        if not all(metrics.finite for metrics in (*val, *raw)):
            raise self.diverged("the validation loss is non-finite", state.step - 1)
        row = EpochRow(
            epoch=state.epoch + 1,
            step=self.steps_done,
            lr=self.learning_rate(state.step - 1),
            train_loss=train.mean_loss,
            train_metrics=train.compute(),
            val_loss=val[-1].mean_loss if val else None,
            val_metrics={**of_heads(val), **(of_variant("raw", raw[-1]) if raw else {})},
            seconds=state.seconds + time.perf_counter() - clock,
            step_seconds=median(self._step_seconds or [state.seconds / state.step]),
            energy_wh=self.energy(),
        )
        self._step_seconds.clear()
        state.finish_epoch(row)
        self._end_epoch_of_schedules(row)
        self.records.end_epoch(self.learner, state)
        for callback in self.callbacks:
            callback.on_epoch_end(row)

    def energy(self) -> Energy:
        """Energy of the present epoch, as far as it was this process's alone; nothing with several processes."""
        self.state.add_energy(self.meter.read())
        alone = self.meter.alone() if self.fabric.world_size == 1 else ()
        return {part: used for part, used in (self.state.energy or {}).items() if part in alone}

    def test(self) -> tuple[list[Metrics], Predictions | None]:
        """Evaluate every head on the test split, if there is one.

        Returns:
            The metrics of each head, and where images have one label the predictions of the last head.
        """
        images, task = self.data.test, self.learner.task
        if not images or not task.single_label:
            return self.evaluate(images) if images else [], None
        collector = PredictionCollector()
        metrics = self.evaluate(images, on_batch=collector.add)
        batch_size = self.process_batch_size(task.evaluation_batch(self.config.batch_size))
        rank, world_size = self.fabric.global_rank, self.fabric.world_size
        indices = evaluated_indices(len(images), batch_size, rank=rank, world_size=world_size)
        return metrics, collector.gather(indices, len(images), self.fabric)

    def test_augmented(self) -> dict[str, float]:
        """Metrics on the test split with the config's test-time augmentation; empty without one of the two."""
        images, tta = self.data.test, self.config.tta
        return of_variant("tta", self.evaluate(images, tta=tta)[-1]) if images and tta != "none" else {}

    def evaluate(
        self,
        images: ImageDataset | SegmentationDataset,
        on_stop: Callable[[], None] = lambda: None,
        *,
        raw: bool = False,
        tta: TestTimeAugmentation = "none",
        on_batch: OnBatch | None = None,
    ) -> list[Metrics]:
        """Evaluate every head on a split, every image once whatever the number of processes; the last head is last.

        Args:
            images: The split.
            on_stop: What to do before stopping when a signal asks for it.
            raw: Evaluate the network in training, not its average.
            tta: Test-time augmentation, as for `augmented`.
            on_batch: As for `evaluate_heads`.
        """
        self.learner.start_evaluation()
        task = self.learner.task
        batch_size = task.evaluation_batch(self.config.batch_size)
        batches = self.batches(images, self.data.eval_transform, batch_size=batch_size, seed=0, epoch=0, shuffle=False)
        steps = steps_per_epoch(len(images), self.process_batch_size(batch_size), world_size=self.fabric.world_size)
        batches = self.stoppable(batches, steps, on_stop)
        heads = augmented(self.learner.heads if raw else self.learner.evaluated_heads, tta, pixels=task.labels_pixels)
        with eager(self.learner.compile):
            own = evaluate_heads(self.fabric, heads, count_heads(self.learner.network), batches, task, on_batch)
        return over_processes(own, self.fabric)

    def stoppable(self, batches: Iterator[Batch], steps: int, on_stop: Callable[[], None]) -> Iterator[Batch]:
        """Pass batches on, and synchronize stop requests of all processes once per interval."""
        for step in range(steps):
            if step % self.buffer.interval == 0 and (asked := self.buffer.synchronize()[1]):
                on_stop()
                raise self.stopped(asked)
            yield from (batch for batch in [next(batches, None)] if batch)  # a process may have none

    def batches(
        self,
        images: ImageDataset | SegmentationDataset,
        transform: LoaderTransform,
        *,
        batch_size: int,
        **order: Any,
    ) -> Iterator[Batch]:
        """This process's batches of an epoch."""
        return epoch_loader(
            images,
            transform,
            batch_size=self.process_batch_size(batch_size),
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            workers=self.config.data.workers,
            pin_memory=self.fabric.device.type == "cuda",
            **order,
        )

    def process_batch_size(self, batch_size: int) -> int:
        """Images of a batch per process."""
        return max(batch_size // self.fabric.world_size, 1)

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step of the present epoch."""
        return self.schedule(self.state.epoch * self.steps + step)

    def ending_rates(self, step: int) -> dict[int, float]:
        """Learning rates of parameters that are not trained to the end, by the number of their epochs."""
        epoch, done = self.state.epoch, self.state.epoch * self.steps + step
        return {epochs: schedule(done) if epoch < epochs else 0.0 for epochs, schedule in self.ending.items()}

    def _end_epoch_of_schedules(self, row: EpochRow) -> None:
        for schedule in (self.schedule, *self.ending.values()):
            schedule.end_epoch(row)

    @property
    def steps_done(self) -> int:
        """Steps since the start of the run."""
        return self.state.epoch * self.steps + self.state.step

    def stopped(self, number: signal.Signals) -> Stopped:
        """The exception to raise for a signal, once the run is saved."""
        self.fabric.barrier()  # the launcher may end all processes when one ends: wait until the first has saved
        command = self.records.folder.resume_command
        return Stopped(number, f"stopped by {number.name} {self.place}; to resume: {command}")

    @property
    def place(self) -> str:
        """Epoch and step, for messages."""
        if self.finished:
            return "after the last epoch"
        return f"in epoch {self.state.epoch + 1} after {self.state.step} of {self.steps} steps"

    def checkpoint_is_due(self) -> bool:
        """Whether to save after this step; after the last of an epoch its end does."""
        every = self.config.checkpoint_every
        return every > 0 and self.steps_done % every == 0 and self.state.step < self.steps

    def save(self) -> None:
        """Write a checkpoint, unless training has diverged."""
        self.check_weights()
        self.records.save(self.learner, self.state)

    def check_weights(self) -> None:
        """Check that all weights are finite, which a finite loss does not imply."""
        if not self.learner.is_finite():
            raise self.diverged("a weight is non-finite", self.state.step - 1)

    def diverged(self, what: str, step: int) -> SkipweaveError:
        """Write the divergence report, and return the exception to raise.

        Args:
            what: Was found.
            step: Of the present epoch, whose batch was the last.
        """
        folder, lr, state = self.records.folder, self.learning_rate(step), self.state
        indices = batch_indices(
            len(self.data.train),
            self.step_images,
            seed=self.config.seed,
            epoch=state.epoch,
            step=step,
            balance=self.data.balance,
        )
        files = [self.data.train.file(index) for index in indices]
        self.records.write_divergence(
            {
                "what": what,
                "epoch": state.epoch + 1,
                "step": step + 1,
                "learning_rate": lr,
                "loss": None if self._loss is None else str(self._loss),
                "training_images": indices,
                "files": files if all(files) else [],
                "kept": folder.describe_kept(),
            }
        )
        self.fabric.barrier()  # as in `stopped`
        loss = "" if self._loss is None else f", loss {self._loss:g}"
        return SkipweaveError(
            f"stopped in epoch {state.epoch + 1} at step {step + 1}: {what} (learning rate {lr:g}{loss}); "
            f"{folder.divergence} names the images of that batch; nothing was overwritten: {folder.describe_kept()}; "
            f"try a smaller optim.lr"
        )


def over_processes(own: Sequence[Metrics], fabric: Fabric) -> list[Metrics]:
    """The metrics of all processes together, by one all-reduce."""
    if fabric.world_size > 1:
        sums = sum_over_processes(torch.stack([metrics.sums for metrics in own]).to(fabric.device), fabric).cpu()
        for metrics, total in zip(own, sums, strict=True):
            metrics.sums = total
    return list(own)
