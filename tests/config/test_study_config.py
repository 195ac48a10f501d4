import pytest

from skipweave.data import DataConfig
from skipweave.training import ModelConfig, OptimConfig
from skipweave_config.errors import SkipweaveError
from skipweave_config.study_config import NetworkConfig, StudyConfig
from tests.errors import assert_each_reports, assert_reports


def test_a_title_is_made_from_name_and_overrides():
    assert NetworkConfig("densenet40_12", {"units": 2}).title == "densenet40_12 (units=2)"
    assert NetworkConfig("densenet40_12").title == "densenet40_12"
    assert NetworkConfig("a", {}, "SparseNet[+], wide").slug == "sparsenet-+-wide"


def problems(**values):
    with pytest.raises(SkipweaveError) as caught:
        StudyConfig(**values)
    return caught.value.problems


def test_all_mistakes_are_reported_at_once():
    same = [NetworkConfig("a", label="X y"), NetworkConfig("b", label="x-y")]
    found = problems(networks=same, seeds=[1, 1], match="flops", processes=0, timing_repeats=-1)
    values = [("networks", "'x-y'"), ("seeds", [1, 1]), ("match", "'flops'"), ("processes", 0), ("timing_repeats", -1)]
    assert_each_reports(found, *values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("networks", []),
        ("seeds", []),
        ("target", None),
        ("target", "lots"),
        ("epochs", 0),
        ("networks", [{"args": {}}]),
    ],
)
def test_one_mistake_is_one_problem_that_names_the_field(field, value):
    (problem,) = problems(**{field: value})
    assert problem.startswith(field)


def test_last_epochs_are_compared_with_epochs():
    (problem,) = problems(epochs=1, loss={"last_epochs": 2})
    assert_reports(problem, "epochs", 1, "loss.last_epochs")


def test_a_run_has_the_study_s_recipe(tmp_path):
    study = StudyConfig(data=DataConfig(augment=False), optim=OptimConfig(lr=0.05), epochs=3, batch_size=32)
    run = study.fit_config(ModelConfig("densenet40_12", {"growth": 4}), 7, tmp_path)
    assert (run.data, run.optim, run.epochs, run.batch_size) == (study.data, study.optim, 3, 32)
    assert (run.model.args, run.seed, run.output) == ({"growth": 4}, 7, tmp_path)
