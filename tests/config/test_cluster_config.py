from typing import Any

import pytest

from skipweave_config.errors import SkipweaveError
from skipweave_config.study_config import StudyConfig
from skipweave_config.validation import validate


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"resources": {"gpus": 1}}, "resources"),
        ({"resources": {"memory": "8GB"}}, "resources"),
        ({"on": "slurm", "resources": {"gpus": 0.5}}, "resources"),
        ({"on": "ray", "resources": {"gpus": 1.5}}, "resources"),
        ({"on": "slurm", "resources": {"accelerator_type": "A100"}}, "resources"),
        ({"on": "slurm", "resources": {"custom": {"tpu": 1}}}, "resources"),
        ({"on": "ray", "resources": {"gpus": 0.5}, "networks": [{"name": "resnet18", "devices": 2}]}, "resources"),
        ({"ray": {"address": "auto"}}, "ray"),
        ({"slurm": {"partition": "gpu"}}, "slurm"),
        ({"on": "ray", "slurm": {"minutes": 10}}, "slurm"),
        ({"on": "slurm", "ray": {"retries": 1}}, "ray"),
        ({"on": "kubernetes"}, "on"),
    ],
)
def test_options_of_another_cluster_are_errors(values: dict[str, Any], named: str):
    with pytest.raises(SkipweaveError) as error:
        validate(StudyConfig, values)
    assert len(error.value.problems) == 1
    assert error.value.problems[0].startswith(named)


@pytest.mark.parametrize(
    "values",
    [
        {"resources": {"cpus": 2}},
        {"on": "ray", "ray": {"address": "auto"}, "resources": {"gpus": 0.25, "custom": {"tpu": 1}}},
        {"on": "slurm", "slurm": {"partition": "gpu", "options": {"constraint": "a100"}}, "resources": {"gpus": 2}},
    ],
)
def test_options_of_the_own_cluster_are_taken(values: dict[str, Any]):
    assert validate(StudyConfig, values).on == values.get("on", "local")
