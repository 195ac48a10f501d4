"""A run's network without its weakest links, and the folder to train it on from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from skipweave.data import DataConfig, load
from skipweave.inference import evaluate
from skipweave.training import FitConfig, ModelConfig, fit, load_run
from skipweave.training.checkpoint.weights_file import Description, save_weights
from skipweave.training.model_building import arguments_for, build_network
from skipweave.training.run.link_pruning import prune_links
from skipweave.training.run.run_directory import RunDirectory
from skipweave.transforms.node_readers import readers
from tests.errors import raises

SILENT = [(0, 2, 0), (2, 2, 1)]  # stage, reader, source


def saved_run(config: FitConfig, silent: list[tuple[int, int, int]] = SILENT) -> Path:
    """A folder as `fit` leaves it, of a network some of whose links weigh nothing."""
    data = load(config.data)
    args = arguments_for(config.model.name, config.model.args, data)
    torch.manual_seed(0)
    network = build_network(config.model.name, args)
    for reader in readers(network):
        for place, source in enumerate(reader.sources):
            if (reader.stage, reader.node, source) in silent:
                reader.convolution[1].weight.data.split(reader.concat.widths, dim=1)[place].zero_()
    folder = RunDirectory.make(config.output / "given", config)
    save_weights(folder.weights, network.state_dict(), Description.of(config.model.name, args, data), epoch=1)
    return folder.path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., FitConfig]) -> Path:
    """A run two of whose links weigh nothing."""
    return saved_run(make_tiny(tmp_path_factory.mktemp("runs"), epochs=1, batch_size=512))


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


@pytest.mark.parametrize(("crop", "size"), [(8, (3, 8, 8)), (None, (3, 224, 224))])
def test_links_of_a_segmentation_run_are_removed(tmp_path: Path, make_pairs, class_list, crop, size):
    make_pairs(tmp_path / "pictures", [f"picture{number}" for number in range(6)])
    class_list(tmp_path / "pictures")
    data = DataConfig(name="masks", root=tmp_path / "pictures", crop=crop, validation=2)
    model = ModelConfig("fc_logdensenet103", {"units": [2, 2, 2], "growth": 2})
    given = saved_run(FitConfig(model=model, data=data, output=tmp_path / "runs"), silent=[(0, 3, 1), (0, 5, 2)])
    output = tmp_path / "fewer"
    pruning = prune_links(given, 0.01, output)
    assert [tuple(entry.link) for entry in pruning.weak.removable] == [(0, 3, 1), (0, 5, 2)]
    assert pruning.before.input_size == pruning.after.input_size == size
    assert pruning.after.macs < pruning.before.macs
    for fewer, all_links in zip(evaluate(output, "validation"), evaluate(given, "validation"), strict=True):
        assert fewer.mean_loss == pytest.approx(all_links.mean_loss, rel=1e-5)


def test_a_run_with_sparse_convolutions_is_rejected_before_anything_is_written(
    tmp_path: Path, make_tiny: Callable[..., FitConfig]
):
    config = make_tiny(tmp_path, epochs=1)
    args = {**config.model.args, "sparsify": {"density": 0.5, "seed": 1}}
    given = saved_run(replace(config, model=replace(config.model, args=args)), silent=[])
    output = tmp_path / "fewer"
    with raises("node 2", "stages.0.units.1.body.conv", "channel-sparse"):
        prune_links(given, 0.999, output)
    assert not output.exists()
