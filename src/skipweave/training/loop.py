"""The step loop: every random choice follows from (seed, epoch, step), so a resumed run is the uninterrupted one."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor

from skipweave.data import ImageSet, LabelledImages, epoch_loader, mix_seed, steps_per_epoch
from skipweave.errors import SkipweaveError
from skipweave.training.config import FitConfig
from skipweave.training.heads import count_heads
from skipweave.training.learner import Learner
from skipweave.training.progress import Progress
from skipweave.training.records import Records
from skipweave.training.scores import Scores
from skipweave.training.state import RunState
from skipweave.training.summary import EpochRow, further_scores
from skipweave.training.task import Data, score

Batch = tuple[Tensor, Tensor]


@dataclass
class Loop:
    """A run, from where its state says to its last epoch.

    Every process takes its share of each batch and normalises by the statistics of that share; gradients are averaged.
    So W processes compute what one process computes that runs the W shares of a batch one after the other and averages
    their gradients. Running statistics are those of the first share.

    Attributes:
        learner: the network and its optimiser.
        data: the images.
        config: the settings.
        state: where the run stands.
        records: what is written down.
        progress: told of every step.
        lr: learning rate of the present step, or of the last one.
    """

    learner: Learner
    data: Data
    config: FitConfig
    state: RunState
    records: Records
    progress: Progress
    lr: float = field(default=0.0, init=False)
    _step_seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Count the steps of an epoch."""
        self.fabric = self.learner.fabric
        self.steps = steps_per_epoch(len(self.data.train), self.config.batch_size, drop_last=True)

    def run(self) -> None:
        """Train to the last epoch."""
        while self.state.epoch < self.config.epochs:
            self.train_epoch()
            self.end_epoch()

    def train_epoch(self) -> None:
        """Take the steps of the present epoch that are still to do."""
        config, state = self.config, self.state
        self.learner.start_epoch()
        shares = self.learner.shares(state.epoch)
        batches = self.batches(
            self.data.train,
            self.data.train_transform,
            batch_size=config.batch_size,
            seed=config.seed,
            epoch=state.epoch,
            start_step=state.step,
            shuffle=True,
            drop_last=True,
        )
        clock = time.perf_counter()
        for images, labels in batches:
            self.learner.start_step(self.steps_done)
            torch.manual_seed(mix_seed(config.seed, state.epoch, state.step, self.fabric.global_rank))
            self.lr = config.optim.lr * self.factor
            sums = self.learner.gradients(images, labels, shares)
            state.scores.add(sums)
            if not state.scores.finite:
                raise self.diverged("the loss is not a number")
            self.learner.descend(self.lr)
            seconds = time.perf_counter() - clock
            state.count_step(seconds, self.learner.density)
            self._step_seconds.append(seconds)
            self.progress.stepped(state.epoch, state.step, state.scores.mean_loss)
            if self.checkpoint_is_due():
                self.check_weights()
                self.records.save(self.learner, state)
            clock = time.perf_counter()

    def end_epoch(self) -> None:
        """Validate, write the epoch down, and go to the start of the next."""
        self.check_weights()
        state, train, clock = self.state, self.state.scores, time.perf_counter()
        val = self.evaluate(self.data.val) if self.data.val else []
        if val and not val[-1].finite:
            raise self.diverged("the validation loss is not a number")
        row = EpochRow(
            epoch=state.epoch + 1,
            step=self.steps_done,
            lr=self.lr,
            train_loss=train.mean_loss,
            train_error=train.error,
            val_loss=val[-1].mean_loss if val else None,
            val_error=val[-1].error if val else None,
            val_scores=further_scores(val),
            seconds=state.seconds + time.perf_counter() - clock,
            step_seconds=median(self._step_seconds),
        )
        self._step_seconds.clear()
        state.finish_epoch(row)
        self.records.end_epoch(self.learner, state)
        self.progress.epoch_done(row)

    def evaluate(self, images: ImageSet | LabelledImages) -> list[Scores]:
        """Score every head on a split, every image once whatever the number of processes; the network's own is last."""
        self.learner.start_evaluation()
        task = self.learner.task
        batches = self.batches(
            images,
            self.data.eval_transform,
            batch_size=task.evaluation_batch(self.config.batch_size),
            seed=0,
            epoch=0,
            shuffle=False,
        )
        scores = score(self.fabric, self.learner.heads, count_heads(self.learner.network), batches, task)
        return [self.over_processes(own) for own in scores] if self.fabric.world_size > 1 else scores

    def over_processes(self, own: Scores) -> Scores:
        """The scores of all processes together."""
        total = self.learner.task.scores()
        total.add(self.learner.sum_over_processes(own.sums))
        return total

    def batches(
        self, images: ImageSet | LabelledImages, transform: Callable[..., Any], *, batch_size: int, **order: Any
    ) -> Iterator[Batch]:
        """This process's share of an epoch."""
        return epoch_loader(
            images,
            transform,
            batch_size=max(batch_size // self.fabric.world_size, 1),
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            workers=self.config.data.workers,
            pin_memory=self.fabric.device.type == "cuda",
            **order,
        )

    @property
    def factor(self) -> float:
        """Of the learning rate at the present step."""
        return self.config.schedule.factor(self.steps_done, self.steps * self.config.epochs, self.state.epoch)

    @property
    def steps_done(self) -> int:
        """Steps since the start of the run."""
        return self.state.epoch * self.steps + self.state.step

    def checkpoint_is_due(self) -> bool:
        """Whether to save after this step; after the last of an epoch its end does."""
        every = self.config.checkpoint_every
        return every > 0 and self.steps_done % every == 0 and self.state.step < self.steps

    def check_weights(self) -> None:
        """Refuse to save what a finite loss may have left unseen."""
        if not self.learner.is_finite():
            raise self.diverged("a weight is not a number")

    def diverged(self, what: str) -> SkipweaveError:
        """What to tell when training cannot go on."""
        return SkipweaveError(
            f"stopped in epoch {self.state.epoch + 1} after {self.state.step} steps: {what} "
            f"(learning rate {self.lr:g}); nothing was overwritten: {self.records.folder.path} keeps its checkpoints; "
            f"try a smaller optim.lr"
        )
