"""The learning rate of every step."""

from typing import Any, Literal

import torch
from timm.scheduler import CosineLRScheduler, PolyLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skipweave.training.run.summary import EpochRow
from skipweave.training.tasks.metrics import Metric
from skipweave_config.recipe import ScheduleConfig


class Schedule:
    """The learning rate as a function of the step and, for `plateau`, of the rows of the finished epochs.

    In the warm-up of W = warmup_epochs * steps steps it is warmup_lr + (lr - warmup_lr) t / W at step t; afterwards,
    with x = (t - W) / (T - W) of all T steps, min_lr + (lr - min_lr) f(x), where f is (1 + cos(pi x)) / 2 for `cosine`,
    1 - x for `linear` and (1 - x)^power for `poly`. Milestones and decay of `step` are counted from the first step of
    the run.

    Args:
        config: The config.
        lr: Highest learning rate.
        steps: Steps per epoch.
        epochs: Epochs of the run.
        metric: The metric that `plateau` watches.
    """

    def __init__(self, config: ScheduleConfig, lr: float, *, steps: int, epochs: int, metric: Metric) -> None:
        self._config = config
        self._lr = lr
        self._steps = steps
        self._total = steps * epochs
        self._metric = metric
        self._warmup = round(config.warmup_epochs * steps)
        holder = SGD([nn.Parameter(torch.empty(0))], lr)  # schedulers set the learning rate of an optimizer
        self._group = holder.param_groups[0]
        self._curve = _curve(config, holder, self._total - self._warmup)
        mode: Literal["min", "max"] = "max" if metric.higher_is_better else "min"
        self._plateau = ReduceLROnPlateau(holder, mode, config.gamma, config.patience, min_lr=config.min_lr)

    def __call__(self, step: int) -> float:
        """The learning rate of a step of the run, counted from 0; for `plateau`, of the epoch after the last row."""
        if step < self._warmup:
            return self._config.warmup_lr + (self._lr - self._config.warmup_lr) * step / self._warmup
        if self._config.name == "step":
            return self._lr * self._config.factor(step, self._total, step // self._steps)
        if self._curve:
            self._curve.step_update(step - self._warmup)
        return self._group["lr"]

    def end_epoch(self, row: EpochRow) -> None:
        """Take note of a finished epoch; those of the warm-up do not count."""
        if self._config.name == "plateau" and row.epoch > self._config.warmup_epochs:
            self._plateau.step(row.val_metrics[self._metric.name])


def _curve(config: ScheduleConfig, holder: SGD, steps: int) -> Scheduler | None:
    """The curve after the warm-up, for a number of steps; None for `step` and `plateau`."""
    options: dict[str, Any] = dict(t_initial=max(steps, 1), lr_min=config.min_lr, t_in_epochs=False)
    if config.name == "cosine":
        return CosineLRScheduler(holder, **options)
    powers = {"linear": 1.0, "poly": config.power}
    return PolyLRScheduler(holder, power=powers[config.name], **options) if config.name in powers else None
