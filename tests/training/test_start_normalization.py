"""Normalization by the mean and std that starting weights expect, and that a run keeps it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from skipweave.data import DataConfig, load
from skipweave.inference import evaluate
from skipweave.training import Callback, FitConfig, ModelConfig, RunStart, fit, load_run
from skipweave.training.start_normalization import normalize_for_start

MODEL = "test_resnet.r160_in1k"
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


class Notes(Callback):
    """The notes printed before training."""

    def on_fit_start(self, start: RunStart) -> None:
        self.notes = start.notes


@pytest.fixture(autouse=True)
def local_weights(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretrained weights in a local file, whose images have their own mean and std."""
    path = tmp_path_factory.mktemp("hub") / "model.safetensors"
    save_file(timm.create_model(MODEL).state_dict(), path)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", lambda *_, **__: str(path))
    cfg = replace(timm.get_pretrained_cfg(MODEL), mean=MEAN, std=STD)
    monkeypatch.setitem(timm.models._registry._model_pretrained_cfgs, MODEL, cfg)
    return path


def photos(root: Path, dtype: type = np.uint8) -> DataConfig:
    rng = np.random.default_rng(0)
    for number in range(12):
        folder = root / "photos" / ("cat", "ape")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shape = (32, 32, 3) if dtype is np.uint8 else (32, 32)
        Image.fromarray(rng.integers(0, 255, shape).astype(dtype)).save(folder / f"{number}.png")
    return DataConfig("folder", root=root / "photos", validation=0.3, image_size=32)


def config_of(tmp_path: Path, **changes: Any) -> FitConfig:
    config = FitConfig(ModelConfig(MODEL, pretrained=True), photos(tmp_path), epochs=1, batch_size=4)
    return replace(config, output=tmp_path / "runs", accelerator="cpu", **changes)


def statistics(config: FitConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    data = normalize_for_start(config, load(config.data))[1]
    return data.preprocessing.mean, data.preprocessing.std


def test_a_pretrained_run_is_normalized_by_its_weights_statistics(tmp_path: Path):
    notes = Notes()
    run = fit(config_of(tmp_path), callbacks=[notes]).run_dir
    _, config, description = load_run(run)
    assert (config.data.mean, config.data.std) == (MEAN, STD)
    assert (description.preprocessing.mean, description.preprocessing.std) == (MEAN, STD)
    (note,) = (note for note in notes.notes if "0.1, 0.2, 0.3" in note)
    assert MODEL in note
    assert "0.4, 0.5, 0.6" in note
    evaluate(run, "validation")
    assert fit(replace(config_of(tmp_path), epochs=2), resume=run).epochs == 2


def test_data_is_as_loaded_by_the_changed_config(tmp_path: Path):
    config = config_of(tmp_path)
    changed, data, _ = normalize_for_start(config, load(config.data))
    again = load(changed)
    assert data.eval_transform == again.eval_transform
    images = [data.train[index][0] for index in range(2)]
    torch.manual_seed(0)
    ours = data.train_transform.per_batch(torch.stack(images), np.arange(2), seed=0, epoch=0)
    torch.manual_seed(0)
    assert torch.equal(ours, again.train_transform.per_batch(torch.stack(images), np.arange(2), seed=0, epoch=0))


def test_values_of_the_config_come_first(tmp_path: Path):
    config = config_of(tmp_path)
    own = (0.7, 0.7, 0.7)
    assert statistics(replace(config, data=replace(config.data, mean=own))) == (own, STD)
    assert statistics(replace(config, data=replace(config.data, mean=own, std=own))) == (own, own)


def test_random_weights_change_nothing(tmp_path: Path):
    config = config_of(tmp_path, model=ModelConfig(MODEL))
    data = load(config.data)
    assert normalize_for_start(config, data) == (config.data, data, "")


def test_other_channels_and_bit_depths_keep_the_statistics_of_the_data(tmp_path: Path):
    for data in (photos(tmp_path / "deep", np.uint16), DataConfig(), replace(photos(tmp_path), channels=1)):
        config = config_of(tmp_path, data=data)
        loaded = load(config.data)
        assert normalize_for_start(config, loaded) == (config.data, loaded, "")


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_other_files_of_weights_have_the_statistics_of_the_model(tmp_path: Path, local_weights: Path, ending: str):
    path = local_weights
    if ending == "pth":
        path = tmp_path / "weights.pth"
        torch.save(timm.create_model(MODEL).state_dict(), path)
    assert statistics(config_of(tmp_path, model=ModelConfig(MODEL), start=path)) == (MEAN, STD)


def test_a_run_hands_its_statistics_on(tmp_path: Path, make_tiny: Callable[..., FitConfig]):
    own = DataConfig("folder", root=photos(tmp_path).root, validation=0, image_size=8, mean=STD, std=MEAN)
    model = ModelConfig("densenet40_12", {"units": 1, "growth": 4})
    first = fit(FitConfig(model, own, epochs=1, batch_size=4, output=tmp_path / "runs", accelerator="cpu"))
    later = config_of(tmp_path, model=model, start=first.run_dir)
    assert statistics(later) == (STD, MEAN)
    gray = fit(make_tiny(tmp_path / "runs", epochs=1, batch_size=512))
    assert statistics(replace(later, start=gray.run_dir)) == statistics(replace(later, start=None))


def test_masks_are_normalized_too(tmp_path: Path):
    pytest.importorskip("segmentation_models_pytorch")
    for number in range(4):
        for folder, shape in (("images", (32, 32, 3)), ("masks", (32, 32))):
            (tmp_path / folder).mkdir(exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 2, shape).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    data = DataConfig("masks", root=tmp_path, validation=0)
    for encoder, expected in (
        (f"tu-{MODEL}", (MEAN, STD)),
        ("resnet18", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
    ):
        config = config_of(
            tmp_path, data=replace(data, mean=None), model=ModelConfig(f"smp:unet:{encoder}", pretrained=True)
        )
        changed, normalized, _ = normalize_for_start(config, load(config.data))
        assert (normalized.preprocessing.mean, normalized.preprocessing.std) == expected
        assert normalized.train_transform == load(changed).train_transform
