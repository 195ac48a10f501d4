"""The learning-rate range test (Smith 2017, "Cyclical Learning Rates"): the loss at rising learning rates."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from skipweave.data import epoch_loader, load, mix_seed
from skipweave.training.checkpoint.weights_file import Description
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.initial_state import first_state
from skipweave.training.learner import Learner
from skipweave.training.model_building import arguments_for
from skipweave.training.preflight import check_before, check_config
from skipweave.training.start_normalization import normalize_for_start
from skipweave.training.tasks.metrics import mean_loss
from skipweave.training.tasks.task import Data, task_for
from skipweave_config.fit_config import FitConfig

_SMOOTHING = 0.9
_DIVERGED = 4  # times the lowest smoothed loss


@dataclass(frozen=True)
class LrRangeTest:
    """Losses by learning rate, until they diverged.

    Attributes:
        rates: Learning rate of each step, rising.
        losses: Loss of each step's batch.
        smoothed: Exponential moving average of the losses, without the bias towards its start.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def suggestion(self) -> float | None:
        """A tenth of the learning rate of the lowest smoothed loss; None if the loss never fell."""
        lowest = min(range(len(self.rates)), key=lambda step: self.smoothed[step])
        return self.rates[lowest] / 10 if lowest else None


def lr_range_test(
    config: FitConfig,
    *,
    start: float,
    end: float,
    steps: int,
    progress: Callable[[int], None] = lambda done: None,
) -> LrRangeTest:
    """Train from the run's first step on, while the learning rate rises exponentially, and record the loss.

    Batches, initial weights and randomness are those of the run's first steps; nothing is written. It ends early once
    the smoothed loss is four times its lowest, or a loss is non-finite. One process.

    Args:
        config: The config; its learning rate and schedule are not used.
        start: First learning rate.
        end: Last learning rate.
        steps: Number of steps.
        progress: Called after each step with the number of steps done.

    Raises:
        SkipweaveError: The config or the data do not allow it.
    """
    config = replace(config, devices=1, max_memory=None)
    check_config(config)
    fabric = make_fabric(config.accelerator, precision=config.precision)
    data = load(config.data)
    _, data, _ = normalize_for_start(config, data)
    args = arguments_for(config.model.name, config.model.args, data)
    check_before(config, args, data)
    learner = Learner(fabric, config, args, task_for(data, config.loss))
    first_state(config, None, learner, Description.of(config.model.name, args, data), data)
    learner.start_epoch()
    batches, weights = _batches(config, data), learner.loss_weights(0)
    rates: list[float] = []
    losses: list[float] = []
    for step in range(steps):
        rates.append(start * (end / start) ** (step / max(steps - 1, 1)))
        learner.start_step(step)
        torch.manual_seed(mix_seed(config.seed, 0, step, 0))
        parts = list(islice(batches, config.optim.accumulate))
        sums = [learner.backward(*part, weights, number == len(parts)) for number, part in enumerate(parts, start=1)]
        learner.optimizer_step(rates[-1])
        losses.append(mean_loss(torch.stack(sums).sum(0)))
        progress(step + 1)
        smoothed = _smoothed(losses)
        if not math.isfinite(losses[-1]) or smoothed[-1] > _DIVERGED * min(smoothed):
            break
    kept = len(losses) - (not math.isfinite(losses[-1]))
    return LrRangeTest(tuple(rates[:kept]), tuple(losses[:kept]), tuple(_smoothed(losses[:kept])))


def _batches(config: FitConfig, data: Data) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches, epoch after epoch."""
    epoch = 0
    while True:
        yield from epoch_loader(
            data.train,
            data.train_transform,
            batch_size=config.batch_size,
            seed=config.seed,
            epoch=epoch,
            shuffle=True,
            balance=data.balance,
            workers=config.data.workers,
            drop_last=True,
        )
        epoch += 1


def _smoothed(losses: Sequence[float]) -> list[float]:
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses, start=1):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        smoothed.append(average / (1 - _SMOOTHING**step))
    return smoothed
