from dataclasses import replace
from pathlib import Path

import pytest

from skipweave_config.config_files import as_plain
from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig, ModelConfig, differences
from skipweave_config.recipe import DensifyConfig, LossConfig, OptimConfig, ScheduleConfig
from skipweave_config.study_config import NetworkConfig
from tests.errors import assert_each_reports, assert_reports


def test_learning_rate_falls_at_half_and_three_quarters_by_default():
    factors = [ScheduleConfig().factor(step, 300, 0) for step in (0, 149, 150, 224, 225, 299)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(("steps", "falls"), [(1, []), (2, [1]), (3, [2]), (4, [2, 3]), (5, [3, 4]), (937, [469, 703])])
def test_milestones_fall_within_a_short_run_but_never_before_its_first_step(steps: int, falls: list[int]):
    factors = [ScheduleConfig().factor(step, steps, 0) for step in range(steps)]
    assert factors[0] == 1
    assert [step for step in range(1, steps) if factors[step] < factors[step - 1]] == falls


def test_a_milestone_on_a_whole_step_begins_there():
    assert 0.29 * 100 < 29  # as computers multiply
    assert ScheduleConfig(milestones=(0.29,)).factor(29, 100, 0) == 0.1
    assert ScheduleConfig(milestones=(0.57,)).factor(56, 100, 0) == 1
    assert ScheduleConfig(milestones=(0.57,)).factor(57, 100, 0) == 0.1


def test_a_schedule_without_milestones_is_constant():
    assert ScheduleConfig(milestones=()).factor(99, 100, 9) == 1


def test_a_decay_falls_after_every_epoch():
    schedule = ScheduleConfig(milestones=(), decay=0.995)
    assert [schedule.factor(step, 40, step // 20) for step in (0, 19, 20)] == [1, 1, 0.995]


CAMVID = DataConfig("camvid", root=".")


def sparse(sparsify):
    return ModelConfig("sparsenet40_12", {"sparsify": sparsify})


def problems(make):
    with pytest.raises(SkipweaveError) as caught:
        make()
    return caught.value.problems


def test_all_mistakes_are_reported_at_once():
    found = problems(lambda: FitConfig(epochs=0, batch_size=63, devices=2, precision="32-ture", checkpoint_every=-1))
    devices, precision = ("devices", 2, "batch_size", 63), ("precision", "'32-ture'", "32-true")
    assert_each_reports(found, ("epochs", 0), devices, precision, ("checkpoint_every", -1))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: OptimConfig(lr=0), ("lr", "0")),
        (lambda: FitConfig(monitor="mean_iou"), ("monitor", "'mean_iou'", "macro_f1")),
        (lambda: FitConfig(monitor="macro_f2"), ("monitor", "'macro_f2'", "did you mean macro_f1?")),
        (lambda: FitConfig(data=CAMVID, monitor="macro_f1"), ("monitor", "mean_dice")),
        (lambda: OptimConfig("rmsprob", lr=0.1), ("name", "'rmsprob'", "rmsprop")),
        (lambda: OptimConfig("rmsprop", lr=0.1, nesterov=True), ("nesterov", "True")),
        (lambda: OptimConfig(lr=float("nan")), ("lr", "nan")),
        (lambda: OptimConfig(momentum=1), ("momentum", "1")),
        (lambda: OptimConfig(momentum=0, nesterov=True), ("nesterov", "True")),
        (lambda: OptimConfig(weight_decay=-1), ("weight_decay", "-1")),
        (lambda: ScheduleConfig(decay=1.1), ("decay", "1.1")),
        (lambda: ScheduleConfig(milestones=(0.75, 0.5)), ("milestones", "(0.75, 0.5)")),
        (lambda: ScheduleConfig(milestones=(0.5, 1.0)), ("milestones[1]", "1.0")),
        (lambda: ScheduleConfig(gamma=0), ("gamma", "0")),
        (lambda: LossConfig("dize"), ("name", "'dize'", "dice")),
        (lambda: FitConfig(loss=LossConfig("dice")), ("loss", "dice", "digits")),
        (lambda: LossConfig(heads="half"), ("heads", "'half'", "halves")),
        (lambda: LossConfig(last_epochs=-1), ("last_epochs", "-1")),
        (lambda: LossConfig(class_weights="median"), ("class_weights", "'median'", "median_frequency")),
        (lambda: DensifyConfig(every=-1), ("every", "-1")),
        (lambda: DensifyConfig(every=1, densities=(0.5, 2.0)), ("densities[1]", "2.0")),
        (lambda: DensifyConfig(new="ones"), ("new", "'ones'")),
        (lambda: DensifyConfig(densities=(0.5,)), ("densities", "(0.5,)")),
        (lambda: DensifyConfig(every=1, densities=(0.5, 0.2)), ("densities", "(0.5, 0.2)")),
        (
            lambda: FitConfig(epochs=1, loss=LossConfig(last_epochs=2)),
            ("epochs", "1"),
        ),
        (lambda: FitConfig(densify=DensifyConfig(every=1)), ("densify", "every", "model.args.sparsify")),
        (lambda: FitConfig(sparse({"rule": "ceil"}), densify=DensifyConfig(every=1)), ("model.args.sparsify",)),
        (lambda: NetworkConfig("sparsenet40_12", densify=DensifyConfig(every=1)), ("model.args.sparsify",)),
        (
            lambda: FitConfig(sparse(0.3), densify=DensifyConfig(every=1, densities=(0.2, 0.5))),
            ("densities", "0.2", "0.3"),
        ),
        (lambda: FitConfig(sparse(0.3), densify=DensifyConfig(every=1, densities=(0.3,))), ("densities", "0.3")),
        (
            lambda: FitConfig(sparse(1.0), densify=DensifyConfig(every=1)),
            ("densify", "every", "model.args.sparsify", "1"),
        ),
        (lambda: FitConfig(loss=LossConfig(class_weights="median_frequency")), ("class_weights", "digits", "balanced")),
        (lambda: FitConfig(data=CAMVID, loss=LossConfig(class_weights="balanced")), ("class_weights", "camvid")),
        (lambda: FitConfig(monitor="mean_average_precision"), ("monitor", "'mean_average_precision'", "top1_error")),
        (lambda: FitConfig(max_memory="8 bananas"), ("max_memory", "'8 bananas'")),
    ],
)
def test_an_invalid_value_is_one_problem_that_names_it(make, named):
    (problem,) = problems(make)
    assert_reports(problem, *named)


def test_the_plain_form_has_plain_values_only():
    plain = as_plain(FitConfig(output=Path("there"), data=DataConfig(name="cifar10", root=Path("here"))))
    assert plain["output"] == "there"
    assert plain["data"]["root"] == "here"
    assert plain["schedule"]["milestones"] == [0.5, 0.75]


def test_differences_are_values_that_change_the_result():
    ours = FitConfig()
    moved = replace(ours, output=Path("elsewhere"), data=DataConfig(workers=2), checkpoint_every=5)
    assert differences(moved, ours) == {}
    other = replace(ours, epochs=3, model=ModelConfig(args={"growth": 12}))
    assert_each_reports(differences(other, ours).values(), ("epochs", 3, 10), ("model.args.growth", 12, None))
