"""Runs of encoders with decoders of segmentation_models_pytorch: train, resume, evaluate, predict, export."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

import skipweave
from skipweave.data import DataConfig
from skipweave.export import hub_config, to_onnx
from skipweave.inference import evaluate, segment
from skipweave.study import run_study
from skipweave.training import FitConfig, ModelConfig, fit, load_weights
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.recipe import LossConfig, OptimConfig
from skipweave_config.study_config import NetworkConfig, StudyConfig
from tests.errors import raises
from tests.training.end_to_end.interruption import Interruption

SMALL = {"units": [1, 1, 1, 1], "growth": 4, "decoder_channels": [8, 8, 4, 4, 4]}
SPARSE = ModelConfig("smp:unet:tu-sparsenet121_32", SMALL)


@pytest.fixture
def config(tmp_path: Path, make_pairs, class_list) -> FitConfig:
    """A run of 2 epochs of 3 steps on images that are no multiples of 32."""
    make_pairs(tmp_path / "pictures", [f"picture{number}" for number in range(12)], size=(40, 50))
    class_list(tmp_path / "pictures")
    return FitConfig(
        model=SPARSE,
        data=DataConfig(name="masks", root=tmp_path / "pictures", crop=36, validation=2),
        optim=OptimConfig(lr=0.01),
        loss=LossConfig("dice+cross_entropy", class_weights="median_frequency"),
        epochs=2,
        batch_size=2,
        output=tmp_path / "runs",
        accelerator="cpu",
    )


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return open_saved(RunDirectory(run).last).tensors()


@pytest.mark.slow
def test_trained_evaluated_predicted_and_exported(config: FitConfig):
    summary = fit(config)
    assert evaluate(summary.run_dir, "test")[-1].value == summary.test_value
    network, description = load_weights(summary.run_dir / "model.safetensors")
    assert description.model == SPARSE.name
    (mask,) = segment(network, description, [config.data.root / "images" / "picture0.png"])
    assert mask.labels.shape == (40, 50)
    with raises(SPARSE.name):
        hub_config(network, description)
    session = onnxruntime.InferenceSession(to_onnx(network, description).content, providers=["CPUExecutionProvider"])
    images = torch.randn(3, 3, 41, 70)
    (found,) = session.run(["logits"], {"images": images.numpy()})
    np.testing.assert_allclose(found, network(images).detach().numpy(), rtol=1e-3, atol=1e-4)


def test_a_run_resumed_within_an_epoch_equals_the_uninterrupted_one(config: FitConfig):
    uninterrupted = tensors(fit(config).run_dir)
    config = replace(config, output=config.output.with_name("stopped"), checkpoint_every=2)
    with pytest.raises(KeyboardInterrupt):
        fit(config, callbacks=[Interruption(after=5)])
    (run,) = config.output.iterdir()
    resumed = tensors(fit(config, resume=run).run_dir)
    assert [name for name in uninterrupted if not torch.equal(uninterrupted[name], resumed[name])] == []


def test_a_pretrained_encoder_that_is_frozen(config: FitConfig, tmp_path: Path, monkeypatch):
    theirs = skipweave.create_model("smp:unet:tu-resnet10t").network.encoder.model.state_dict()
    path = tmp_path / "encoder.safetensors"
    save_file(theirs, path)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", lambda *_, **__: str(path))
    model = ModelConfig("smp:unet:tu-resnet10t", {"decoder_channels": [8, 8, 4, 4, 4]}, pretrained=True)
    network, _ = load_weights(fit(replace(config, model=model, freeze="stem", epochs=1)).run_dir / "model.safetensors")
    ours = network.network.encoder.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_the_encoder_is_suggested_for_masks(config: FitConfig):
    with raises("sparsenet121_32", "smp:unet:tu-sparsenet121_32"):
        fit(replace(config, model=ModelConfig("sparsenet121_32")))


@pytest.mark.slow
def test_two_backbones_in_a_study(config: FitConfig, tmp_path: Path):
    networks = [NetworkConfig(SPARSE.name, SMALL, "sparse"), NetworkConfig("smp:unet:resnet18", {}, "resnet18")]
    study = StudyConfig(
        networks=networks,
        seeds=[0],
        data=config.data,
        optim=config.optim,
        epochs=1,
        batch_size=2,
        match=None,
        target=None,
        output=tmp_path / "study",
        accelerator="cpu",
        processes=1,
        timing_repeats=1,
        time_engines=False,
    )
    results = run_study(study)
    assert [run.failure for run in results.runs] == ["", ""]
    assert all(network.cost.macs > 0 for network in results.networks)
    assert all(network.cost.training_bytes > network.cost.inference_bytes > 0 for network in results.networks)
    for run, summary in zip(results.runs, results.summaries, strict=True):
        known = [value for value in run.class_values if value is not None]
        assert sum(known) / len(known) == pytest.approx(run.value)
        assert summary.confusion.sum(1).tolist() == list(results.class_counts["test"])
