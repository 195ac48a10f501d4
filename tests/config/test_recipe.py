"""Comparisons of the recipe's fields with each other, all reported before data is read."""

from pathlib import Path

import pytest

from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig, ModelConfig
from skipweave_config.recipe import (
    DensifyConfig,
    EmaConfig,
    LossConfig,
    MixConfig,
    OptimConfig,
    ProgressiveConfig,
    ScheduleConfig,
)
from skipweave_config.study_config import StudyConfig


@pytest.mark.parametrize("kind", [FitConfig, StudyConfig])
@pytest.mark.parametrize(
    ("values", "begin"),
    [
        (
            {"epochs": 3, "schedule": ScheduleConfig(warmup_epochs=3)},
            "epochs is 3: should be more than schedule.warmup_epochs",
        ),
        ({"epochs": 3, "mix": MixConfig(last_epochs=4)}, "epochs is 3: should be at least mix.last_epochs"),
        (
            {"epochs": 5, "progressive": ProgressiveConfig(scale=(0.5, 0.75), epochs=(2, 3))},
            "epochs is 5: should be more than progressive.epochs, which is 5",
        ),
        ({"ema": EmaConfig(0.9), "precision": "bf16-true"}, "precision is 'bf16-true': should be bf16-mixed"),
        ({"data": DataConfig("camvid", Path()), "tta": "flip_shift"}, "tta is 'flip_shift': should be none or flip"),
    ],
)
def test_fields_that_do_not_go_together(kind: type, values: dict[str, object], begin: str):
    with pytest.raises(SkipweaveError) as caught:
        kind(**values)
    (problem,) = caught.value.problems
    assert problem.startswith(begin)


@pytest.mark.parametrize(
    ("values", "name"),
    [({"ema": EmaConfig(0.9)}, "ema.decay"), ({"optim": OptimConfig("lamb", lr=0.1)}, "lamb")],
)
def test_links_are_added_to_one_network_and_to_moments_of_its_shape(values: dict[str, object], name: str):
    with pytest.raises(SkipweaveError) as caught:
        FitConfig(ModelConfig(args={"sparsify": 0.1}), densify=DensifyConfig(every=5), **values)
    (problem,) = caught.value.problems
    assert problem.startswith("densify: every cannot be set with")
    assert name in problem


def test_a_run_of_a_study_has_its_recipe(tmp_path):
    study = StudyConfig(
        ema=EmaConfig(0.9),
        mix=MixConfig(mixup=0.2),
        progressive=ProgressiveConfig(epochs=(2,)),
        loss=LossConfig(label_smoothing=0.1),
    )
    run = study.fit_config(FitConfig().model, 0, tmp_path)
    assert (run.ema, run.mix, run.loss, run.optim) == (study.ema, study.mix, study.loss, study.optim)
    assert run.progressive == study.progressive
    assert run.optim.decay_norms_and_biases
