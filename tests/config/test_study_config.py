from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave.data import DataConfig
from skipweave.training import FitConfig, ModelConfig, OptimConfig
from skipweave_config.config_files import as_plain
from skipweave_config.errors import SkipweaveError
from skipweave_config.study_config import NetworkConfig, StudyConfig
from skipweave_config.validation import validate
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


def test_a_label_names_a_directory():
    (found,) = problems(networks=[NetworkConfig("a", label=".."), NetworkConfig("b")])
    assert_reports(found, "networks", "'..'")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("networks", []),
        ("seeds", []),
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


def test_a_run_has_the_devices_and_the_memory_of_its_network(tmp_path):
    own = {"devices": 2, "grad_checkpointing": True, "max_memory": "1GiB"}
    study = StudyConfig(networks=[{"name": "densenet40_12", **own}, "resnet18"])
    runs = [study.fit_config(ModelConfig(network.name), 0, tmp_path, network) for network in study.networks]
    assert [(run.devices, run.grad_checkpointing, run.max_memory) for run in runs] == [
        (2, True, 2**30),
        (1, False, None),
    ]
    wrong = {"devices": 0, "grad_checkpointing": "yes", "max_memory": "lots"}
    found = problems(networks=[{"name": "densenet40_12", **wrong}])
    assert_each_reports(found, *((f"networks[0].{name}",) for name in wrong))
    (problem,) = problems(networks=[{"name": "a", "devices": 3}, {"name": "b", "devices": 2}], batch_size=64)
    assert_reports(problem, "batch_size", 64, "3 (a)")


def test_a_run_has_the_study_s_recipe(tmp_path):
    study = StudyConfig(data=DataConfig(augment=False), optim=OptimConfig(lr=0.05), epochs=3, batch_size=32)
    run = study.fit_config(ModelConfig("densenet40_12", {"growth": 4}), 7, tmp_path)
    assert (run.data, run.optim, run.epochs, run.batch_size) == (study.data, study.optim, 3, 32)
    assert (run.model.args, run.seed, run.output) == ({"growth": 4}, 7, tmp_path)


def test_networks_may_be_names():
    by_name = StudyConfig(networks=["densenet40_12", "resnet18"])
    assert by_name.networks == [NetworkConfig("densenet40_12"), NetworkConfig("resnet18")]
    (problem,) = problems(networks=["resnet18", 5])
    assert_reports(problem, "networks[1]", 5)


def test_networks_are_matched_if_there_is_a_target():
    assert StudyConfig().match is StudyConfig(networks=["resnet18"]).match is None
    for asked in (StudyConfig(["densenet40_12"], target="5k"), StudyConfig(target=5000)):
        assert (asked.match, asked.target) == ("parameters", 5000)
    assert validate(StudyConfig, {"target": "5k"}).match == "parameters"
    assert StudyConfig(match="macs", target="5k").match == "macs"
    assert StudyConfig(match=None, target="5k").match is None
    (problem,) = problems(networks=["densenet40_12"], match="macs")
    assert_reports(problem, "target", None)


def test_a_recipe_is_a_config_with_its_model_as_the_only_network():
    """Its defaults are those of `fit`, and it does not go into the directory of the default study."""
    config = StudyConfig(model={"name": "sparsenet40_24", "args": {"units": 4}}, epochs=3)
    assert config.networks == [NetworkConfig("sparsenet40_24", {"units": 4})]
    assert (config.data, config.optim) == (FitConfig().data, FitConfig().optim)
    assert (config.epochs, config.output) == (3, Path("runs/study_sparsenet40_24"))
    assert StudyConfig(model={"name": "sparsenet40_24"}, networks=["resnet18"]).networks == [NetworkConfig("resnet18")]
    assert problems(model={"units": 4}, networks=["resnet18"]) == (
        "unknown name model.units: valid names: name, args, pretrained",
    )


def test_the_headline_asks_what_the_networks_answer():
    default, own = StudyConfig(), StudyConfig(networks=["resnet18"])
    assert len({default.headline, own.headline, own.data.title}) == 3
    assert own.data.title in own.headline
    assert "resnet18" in own.headline  # the only network
    grid = {"name": "sparsenet40_24", "grid": {"growth": [8, 12]}}
    for networks in (["resnet18", "resnet34"], [grid]):
        assert not any(network.title in StudyConfig(networks=networks).headline for network in own.networks)
    assert StudyConfig(epochs=3).headline == default.headline  # other options ask the same
    assert StudyConfig(title="Mine").headline == "Mine"


values = st.integers(1, 99) | st.sampled_from(["dense", "plain", None, [4, 8], [8, 4]])
value_lists = st.lists(values, min_size=1, max_size=3, unique_by=str)


@given(st.dictionaries(st.sampled_from(["growth", "topology", "units"]), value_lists))
def test_a_grid_is_the_product_of_its_values(grid):
    network = NetworkConfig("sparsenet40_24", {"stem_width": 8}, grid=grid)
    study = StudyConfig(networks=[network, "resnet18"])
    *varied, last = study.networks
    assert last == NetworkConfig("resnet18")
    args = [{"stem_width": 8, **dict(zip(grid, combination, strict=True))} for combination in product(*grid.values())]
    assert [single.args for single in varied] == args
    assert len({single.slug for single in varied}) == len(varied)
    assert validate(StudyConfig, as_plain(study)) == study  # as the study directory has it
    for single in varied:
        assert not single.grid
        assert all(f"{name}={single.args[name]}" in single.title for name in grid)
        assert "stem_width" not in single.title or not grid


def test_the_label_of_a_grid_is_that_of_its_networks():
    grid = {"growth": [4, 8]}
    titles = [single.title for single in NetworkConfig("densenet40_12", label="DenseNet", grid=grid).expanded()]
    assert titles == ["DenseNet (growth=4)", "DenseNet (growth=8)"]


def test_the_mistakes_of_a_grid_are_reported_at_once():
    grid = {"growth": [], "units": [1], "topolgy": ["dense"], "stem_width": [4, 4], "drop_rate": 3}
    found = problems(networks=[{"name": "sparsenet40_24", "args": {"units": 1}, "grid": grid}], epochs=0)
    of_grid = [("growth", []), ("units", "args"), ("stem_width", 4), ("drop_rate", 3), ("'topolgy'", "topology")]
    assert_each_reports(found, *(("networks[0].grid", *named) for named in of_grid), ("epochs", 0))
    (problem,) = problems(networks=[{"name": "sparsenet40_24", "grid": {"growth": list(range(1001))}}])
    assert_reports(problem, "1,001", "1,000")


def test_networks_of_a_grid_have_the_start_and_the_links_of_their_arguments():
    growing = {"name": "sparsenet40_24", "densify": {"every": 3}}
    assert len(StudyConfig(networks=[{**growing, "grid": {"sparsify": [0.1, 0.2]}}]).networks) == 2
    (problem,) = problems(networks=[{**growing, "grid": {"sparsify": [0.1, None]}}])
    assert_reports(problem, "networks[0].densify", "sparsify")
    (problem,) = problems(networks=[{"name": "sparsenet40_24", "grid": {"sparsify": [0.1]}, "pretrained": True}])
    assert_reports(problem, "networks[0].pretrained", "args.sparsify")
