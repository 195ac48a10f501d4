"""Networks of a study that start from pretrained weights, beside those that start from random ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from skipweave.data import DataConfig
from skipweave.study.runner import run_study
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.study_config import NetworkConfig, StudyConfig
from tests.errors import raises

MODEL = "test_resnet.r160_in1k"
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


@pytest.fixture(autouse=True)
def local_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(timm.create_model(MODEL).state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr("timm.models._hub.hf_hub_download", lambda *_, **__: str(tmp_path / "model.safetensors"))
    cfg = replace(timm.get_pretrained_cfg(MODEL), mean=MEAN, std=STD)
    monkeypatch.setitem(timm.models._registry._model_pretrained_cfgs, MODEL, cfg)


def photos(root: Path) -> DataConfig:
    rng = np.random.default_rng(0)
    for number in range(12):
        folder = root / "photos" / ("cat", "ape")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(folder / f"{number}.png")
    return DataConfig("folder", root=root / "photos", validation=0, image_size=32)


def test_networks_start_from_pretrained_weights_and_the_study_resumes(tmp_path: Path):
    networks = [NetworkConfig(MODEL, pretrained=True), NetworkConfig(MODEL)]
    assert [network.title for network in networks] == [f"{MODEL} (pretrained)", MODEL]
    study = StudyConfig(
        networks,
        [0],
        photos(tmp_path),
        epochs=1,
        batch_size=4,
        accelerator="cpu",
        processes=1,
        match=None,
        timing_repeats=0,
        output=tmp_path / "study",
    )
    results = run_study(study)
    assert not results.failures
    configs = [RunDirectory(study.output / run.run_dir).read_config() for run in results.runs]
    assert [config.model.pretrained for config in configs] == [True, False]
    assert (configs[0].data.mean, configs[0].data.std) == (MEAN, STD)
    assert configs[1].data.mean is None
    assert run_study(study).runs == results.runs


def test_networks_with_pretrained_weights_are_not_matched():
    with raises("match", MODEL):
        StudyConfig([NetworkConfig(MODEL, pretrained=True)], match="parameters", target=10_000)
