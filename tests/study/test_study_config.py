import pytest

from skipweave.data import DataConfig
from skipweave.errors import SkipweaveError
from skipweave.study.study_config import NetworkConfig, StudyConfig, parse_count
from skipweave.training import ModelConfig, OptimConfig


@pytest.mark.parametrize(
    ("text", "count"), [(60_000, 60_000), ("60000", 60_000), ("60k", 60_000), ("1.5M", 1_500_000), ("2 G", 2 * 10**9)]
)
def test_counts(text, count):
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "many", "-5", "0", "60 kB", "1e6"])
def test_what_is_no_count_is_refused(text):
    with pytest.raises(SkipweaveError, match="expected a count"):
        parse_count(text)


def test_a_title_is_made_from_name_and_overrides():
    assert NetworkConfig("densenet40_12", {"units": 2}).title == "densenet40_12 (units=2)"
    assert NetworkConfig("densenet40_12").title == "densenet40_12"
    assert NetworkConfig("a", {}, "SparseNet[+], wide").slug == "sparsenet-+-wide"


def test_all_mistakes_are_told_at_once():
    same = [NetworkConfig("a", label="X y"), NetworkConfig("b", label="x-y")]
    with pytest.raises(SkipweaveError) as raised:
        StudyConfig(networks=same, seeds=[1, 1], match="flops", processes=0, timing_repeats=-1)
    for part in ("'x-y'", "seeds [1, 1]", "'flops'", "processes is 0", "timing_repeats is -1"):
        assert part in str(raised.value)


@pytest.mark.parametrize(("change", "said"), [
    ({"networks": []}, "networks is empty"),
    ({"seeds": []}, "seeds is empty"),
    ({"target": None}, "needs a target"),
    ({"target": "lots"}, "expected a count"),
])  # fmt: skip
def test_what_cannot_be_run_is_refused(change, said):
    with pytest.raises(SkipweaveError, match=said):
        StudyConfig(**change)


def test_a_run_has_the_study_s_recipe(tmp_path):
    study = StudyConfig(data=DataConfig(augment=False), optim=OptimConfig(lr=0.05), epochs=3, batch_size=32)
    run = study.fit_config(ModelConfig("densenet40_12", {"growth": 4}), 7, tmp_path)
    assert (run.data, run.optim, run.epochs, run.batch_size) == (study.data, study.optim, 3, 32)
    assert (run.model.args, run.seed, run.output) == ({"growth": 4}, 7, tmp_path)
