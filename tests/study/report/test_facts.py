"""Facts of the report: the optimizers and the schedule of the recipe."""

from pathlib import Path
from typing import Any

from skipweave.data import DataConfig, load
from skipweave.study.report.facts import facts
from skipweave.training import EmaConfig, LossConfig, MixConfig, OptimConfig, ProgressiveConfig, ScheduleConfig
from skipweave_config.study_config import StudyConfig


def recipe(optim: OptimConfig, schedule: ScheduleConfig, **other: Any) -> dict[str, str]:
    config = StudyConfig(optim=optim, schedule=schedule, match=None, **other)
    sections = facts(config, load(config.data), [], [], "cpu")
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


def test_the_loss_is_named(tmp_path: Path) -> None:
    loss = LossConfig("dice+cross_entropy", class_weights="median_frequency")
    config = StudyConfig(data=DataConfig("camvid", tmp_path), loss=loss)
    found = dict(facts(config, load(DataConfig()), [], [], "cpu")["Recipe"])
    assert found["loss"].startswith("dice and cross-entropy, class weights: median frequency; heads before the last")
    assert recipe(OptimConfig(), ScheduleConfig())["loss"].startswith("cross-entropy; heads before the last")


def test_options_are_listed_if_they_are_used() -> None:
    names = {"averaged weights", "mixing", "smaller images", "test-time augmentation"}
    assert not names & recipe(OptimConfig(), ScheduleConfig()).keys()
    options = {
        "ema": EmaConfig(0.99),
        "mix": MixConfig(mixup=0.2, cutmix=1, probability=0.5, last_epochs=2),
        "progressive": ProgressiveConfig(scale=(0.5, 0.75), epochs=(2, 3)),
    }
    found = recipe(OptimConfig(), ScheduleConfig(), **options)
    assert found["averaged weights"] == "decay 0.99"
    assert found["mixing"] == "mixup 0.2 or CutMix 1 of 50% of the batches, none in the last 2 epochs"
    assert found["smaller images"] == "0.5 of the side until epoch 2, 0.75 of the side until epoch 5"
