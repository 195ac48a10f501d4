"""Facts of the report: the optimizers and the schedule of the recipe."""

from pathlib import Path

from skipweave.data import load
from skipweave.study.report.facts import facts
from skipweave.training import OptimConfig, ScheduleConfig
from skipweave_config.study_config import StudyConfig


def recipe(optim: OptimConfig, schedule: ScheduleConfig) -> dict[str, str]:
    config = StudyConfig(optim=optim, schedule=schedule, match=None)
    sections = facts(config, load(config.data), [], Path("nowhere"), "cpu")
    return {title: text for lines in sections.values() for title, text in lines}


def test_the_papers_recipe() -> None:
    found = recipe(OptimConfig(), ScheduleConfig(decay=0.9))
    assert found["optimizer"] == "SGD, Nesterov momentum 0.9, weight decay 0.0001"
    assert found["learning rate"] == "0.1, times 0.1 after 50%, 75% of the steps, times 0.9 an epoch"


def test_groups_of_parameters_and_other_schedules() -> None:
    groups = [dict(parameters=["*.bias"], name="adamw", lr=0.01)]
    optim = OptimConfig("muon", lr=0.2, momentum=0.6, groups=groups)
    found = recipe(optim, ScheduleConfig("cosine", warmup_epochs=1, min_lr=0.001))
    assert found["optimizer"] == "muon, momentum 0.6, weight decay 0.0001"
    assert found["optimizer of *.bias"] == "adamw, weight decay 0.0001, learning rate 0.01"
    assert found["learning rate"] == "0.2, warm-up of 1 epoch, cosine to 0.001"
