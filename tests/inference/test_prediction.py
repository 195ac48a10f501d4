from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from skipweave.inference import predict
from skipweave.training import Description, FitConfig, ModelConfig, fit, load_weights
from tests.errors import raises


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., FitConfig]):
    model = ModelConfig("sparsenet40_24", {"units": 2, "growth": 12})
    run = fit(make_tiny(tmp_path_factory.mktemp("runs"), model=model, epochs=6))
    return load_weights(run.run_dir / "model.safetensors")


@pytest.fixture
def scans(tmp_path: Path) -> list[Path]:
    images = (load_digits().images[:40] * 255 / 16).astype(np.uint8)
    paths = [tmp_path / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def test_digits_are_recognized(trained: tuple[torch.nn.Module, Description], scans: list[Path]):
    predictions = list(predict(*trained, scans, top=3, batch_size=16))
    assert [prediction.path for prediction in predictions] == scans
    truth = [str(label) for label in load_digits().target[:40]]
    right = sum(prediction.classes[0] == label for prediction, label in zip(predictions, truth, strict=True))
    assert right >= 30
    for prediction in predictions:
        assert len(prediction.classes) == 3
        assert list(prediction.probabilities) == sorted(prediction.probabilities, reverse=True)
        assert 0 <= sum(prediction.probabilities) <= 1 + 1e-6


def test_a_color_photograph_of_any_size_is_classified(trained: tuple[torch.nn.Module, Description], tmp_path: Path):
    Image.new("RGB", (50, 30), "red").save(tmp_path / "photo.jpg")
    (prediction,) = predict(*trained, [tmp_path / "photo.jpg"], top=99)
    assert len(prediction.classes) == 10
    assert sum(prediction.probabilities) == pytest.approx(1)


def test_an_unreadable_image_does_not_stop_the_others(trained: tuple[torch.nn.Module, Description], scans: list[Path]):
    scans[1].write_bytes(b"no image")
    first, second, *_ = predict(*trained, scans)
    assert first.classes
    assert not second.classes
    assert str(scans[1]) in second.problem


def test_an_invalid_top_raises(trained: tuple[torch.nn.Module, Description]):
    with raises("top", "0"):
        list(predict(*trained, [], top=0))
