from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from skipweave.data import Preprocessing
from skipweave.inference import evaluate
from skipweave.training import FitConfig, RunSummary, fit, load_run, load_weights
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.validation import validate_json
from tests.errors import raises


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., FitConfig]) -> RunSummary:
    return fit(make_tiny(tmp_path_factory.mktemp("runs"), epochs=2))


def test_errors_are_those_of_training(run: RunSummary):
    assert evaluate(run.run_dir, "test")[-1].value == run.test_value
    assert evaluate(run.run_dir, "validation")[-1].value == run.val_value
    assert evaluate(run.run_dir, "test")[-1].images == 359


def test_best_and_last_are_loaded(run: RunSummary):
    best, config, description = load_run(run.run_dir, "best")
    last, _, same = load_run(run.run_dir, "last")
    chosen, described = load_weights(run.run_dir / "model.safetensors")
    assert config == RunDirectory(run.run_dir).read_config()
    assert description == same == described
    assert description.classes == tuple("0123456789")
    assert description.args == {**config.model.args, "num_classes": 10, "in_chans": 1}
    assert validate_json(Preprocessing, description.preprocessing.to_dict()) == description.preprocessing
    assert not best.training
    assert best.state_dict().keys() == last.state_dict().keys()
    for name, tensor in best.state_dict().items():
        assert torch.equal(tensor, chosen.state_dict()[name])


def test_an_empty_split_raises(tmp_path: Path, make_tiny: Callable[..., FitConfig]):
    config = make_tiny(tmp_path, epochs=1, batch_size=512)
    run = fit(replace(config, data=replace(config.data, validation=0)))
    assert evaluate(run.run_dir, "test")[-1].value == run.test_value
    with raises("validation"):
        evaluate(run.run_dir, "validation")


def test_a_run_without_checkpoint_raises(tmp_path: Path, make_tiny: Callable[..., FitConfig]):
    folder = RunDirectory.create(make_tiny(tmp_path))
    with raises(folder.path, "skipweave fit --resume"):
        load_run(folder.path)
    with raises(tmp_path / "none"):
        load_run(tmp_path / "none")


def test_a_checkpoint_is_not_a_weights_file(run: RunSummary):
    checkpoint = RunDirectory(run.run_dir).last
    with raises(checkpoint):
        load_weights(checkpoint)
