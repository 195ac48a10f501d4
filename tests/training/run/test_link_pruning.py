"""A run's network without its weakest links, and the folder to train it on from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from skipweave.data import load
from skipweave.inference import evaluate
from skipweave.training import FitConfig, fit, load_run
from skipweave.training.checkpoint.weights_file import Description, save_weights
from skipweave.training.model_building import arguments_for, build_network
from skipweave.training.run.link_pruning import prune_links
from skipweave.training.run.run_directory import RunDirectory
from tests.errors import raises

SILENT = [(0, 2, 0), (2, 2, 1)]  # stage, reader, source


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., FitConfig]) -> Path:
    """A folder as `fit` leaves it, of a network two of whose links weigh nothing."""
    config = make_tiny(tmp_path_factory.mktemp("runs"), epochs=1, batch_size=512)
    data = load(config.data)
    args = arguments_for(config.model.name, config.model.args, data)
    torch.manual_seed(0)
    network = build_network(config.model.name, args)
    for stage, reader, source in SILENT:
        unit = network.stages[stage].units[reader - 1]
        place = network.stages[stage].topology.sources(reader).index(source)
        unit.body.conv.weight.data.split(unit.read.widths, dim=1)[place].zero_()
    folder = RunDirectory.make(config.output / "given", config)
    save_weights(folder.weights, network.state_dict(), Description.of(config.model.name, args, data), epoch=1)
    return folder.path


def test_links_of_no_weight_go_and_errors_stay(run: Path, tmp_path: Path):
    output = tmp_path / "fewer"
    pruning = prune_links(run, 0.01, output)
    assert [tuple(entry.link) for entry in pruning.weak.removable] == SILENT
    assert pruning.before.links - pruning.after.links == 2
    assert pruning.after.parameters < pruning.before.parameters
    assert pruning.after.macs < pruning.before.macs
    (fewer,), (all_links,) = evaluate(output, "validation"), evaluate(run, "validation")
    assert fewer.value == all_links.value
    assert fewer.mean_loss == pytest.approx(all_links.mean_loss, rel=1e-5)
    network, config, description = load_run(output)
    assert network.stages[0].topology.reads == ((0,), (1,), (2, 1))
    assert config.model.args["topology"] == description.args["topology"] == pruning.removal.topology
    assert config.start == output / "model.safetensors"
    assert description.args == {**load_run(run)[2].args, "topology": pruning.removal.topology}


def test_what_is_left_is_trained_on(run: Path, tmp_path: Path):
    output = tmp_path / "fewer"
    after = prune_links(run, 0.01, output).after
    config = RunDirectory(output).read_config()
    tuned = fit(replace(config, optim=replace(config.optim, lr=1e-9, weight_decay=0.0)))  # so that weights stay
    assert tuned.parameters == after.parameters
    before, trained = load_run(output)[0], load_run(tuned.run_dir)[0]
    torch.testing.assert_close(dict(trained.named_parameters()), dict(before.named_parameters()), rtol=0, atol=1e-5)


def test_nothing_is_written_by_default_or_overwritten(run: Path, tmp_path: Path):
    files = sorted(run.rglob("*"))
    assert prune_links(run, 0.01).removal.removed
    assert sorted(run.rglob("*")) == files
    with raises(tmp_path):
        prune_links(run, 0.01, tmp_path)
    assert not prune_links(run, 1e-9).removal.model.training
    with raises("below", "0.0"):
        prune_links(run, 0.0, tmp_path / "new")
    fewer = tmp_path / "fewer"
    prune_links(run, 0.01, fewer)
    assert not prune_links(fewer, 0.01, tmp_path / "new").removal.removed
    assert not (tmp_path / "new").exists()
