"""Each schedule against its closed formula."""

from collections.abc import Callable, Sequence
from math import cos, pi

import pytest

from skipweave.training import ScheduleConfig
from skipweave.training.optimization.schedules import Schedule
from skipweave.training.run.summary import EpochRow
from skipweave.training.tasks.metrics import MEAN_IOU, TOP1_ERROR, Metric

STEPS, EPOCHS, LR = 7, 6, 0.5
TOTAL = STEPS * EPOCHS
CURVES: dict[str, Callable[[float], float]] = {
    "cosine": lambda x: (1 + cos(pi * x)) / 2,
    "linear": lambda x: 1 - x,
    "poly": lambda x: (1 - x) ** 1.7,
}


def make(config: ScheduleConfig, metric: Metric = TOP1_ERROR) -> Schedule:
    return Schedule(config, LR, steps=STEPS, epochs=EPOCHS, metric=metric)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(("warmup", "min_lr"), [(0, 0), (0, 0.1), (1.5, 0), (2, 0.01)])
def test_a_curve_after_a_warm_up(name: str, warmup: float, min_lr: float):
    schedule = make(ScheduleConfig(name, warmup_epochs=warmup, warmup_lr=0.02, min_lr=min_lr, power=1.7))
    first = round(warmup * STEPS)
    expected = [0.02 + (LR - 0.02) * step / first for step in range(first)]
    left = TOTAL - first
    expected += [min_lr + (LR - min_lr) * CURVES[name](step / left) for step in range(left)]
    assert [schedule(step) for step in range(TOTAL)] == pytest.approx(expected, rel=1e-9)


def test_steps_are_those_of_the_config():
    config = ScheduleConfig(milestones=(0.5, 0.75), decay=0.9, warmup_epochs=1, warmup_lr=0)
    schedule = make(config)
    expected = [LR * step / STEPS for step in range(STEPS)]
    expected += [LR * config.factor(step, TOTAL, step // STEPS) for step in range(STEPS, TOTAL)]
    assert [schedule(step) for step in range(TOTAL)] == expected
    assert schedule(21) == LR * 0.1 * 0.9**3


def test_a_rate_does_not_depend_on_those_asked_for_before():
    for name in (*CURVES, "step"):
        forward, backward = make(ScheduleConfig(name, warmup_epochs=1)), make(ScheduleConfig(name, warmup_epochs=1))
        rates = [forward(step) for step in range(TOTAL)]
        assert [backward(step) for step in reversed(range(TOTAL))] == rates[::-1]


def rows(values: Sequence[float], metric: Metric) -> list[EpochRow]:
    return [
        EpochRow(epoch, STEPS * epoch, LR, 1.0, {}, 1.0, {metric.name: value}, 1.0, 1.0)
        for epoch, value in enumerate(values, start=1)
    ]


def plateau(values: Sequence[float], metric: Metric, **changes: float) -> list[float]:
    """The learning rate of the epoch after each row."""
    schedule = make(ScheduleConfig("plateau", gamma=0.5, patience=1, **changes), metric)
    rates = []
    for row in rows(values, metric):
        schedule.end_epoch(row)
        rates.append(schedule(row.step))
    return rates


@pytest.mark.parametrize(("metric", "sign"), [(TOP1_ERROR, 1), (MEAN_IOU, -1)])
def test_a_plateau_halves_the_rate_after_two_epochs_without_a_better_one(metric: Metric, sign: int):
    values = [50 + sign * value for value in (0, -1, 0, 0, 0, -2, -3)]
    assert plateau(values, metric) == [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]


def test_a_plateau_is_a_function_of_the_rows():
    values = [9.0, 8.0, 8.0, 8.0, 8.0, 8.0]
    whole = plateau(values, TOP1_ERROR)
    assert [plateau(values[:number], TOP1_ERROR)[-1] for number in range(1, 7)] == whole
    assert whole[-1] == LR / 4


def test_a_plateau_has_a_lowest_rate_and_no_opinion_of_the_warm_up():
    assert plateau([9.0] * 6, TOP1_ERROR, min_lr=0.2)[-1] == 0.2
    rates = plateau([1.0, 9.0, 8.0, 8.0, 8.0, 8.0], TOP1_ERROR, warmup_epochs=1)
    assert rates == [0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
