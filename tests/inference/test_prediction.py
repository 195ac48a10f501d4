from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from skipweave.data import open_image
from skipweave.inference import predict
from skipweave.training import Description, FitConfig, ModelConfig, fit, load_weights
from skipweave.training.tasks.test_time_augmentation import TestTimeAugmentation
from tests.errors import assert_reports


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
    predictions = list(predict(*trained, scans, batch_size=16))
    assert [prediction.path for prediction in predictions] == scans
    truth = [str(label) for label in load_digits().target[:40]]
    right = sum(prediction.classes[0] == label for prediction, label in zip(predictions, truth, strict=True))
    assert right >= 30
    for prediction in predictions:
        assert list(prediction.probabilities) == [*"0123456789"]
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.top(1) == ((prediction.classes[0], max(prediction.probabilities.values())),)


@pytest.mark.parametrize(
    ("values", "clip", "warned"),
    [((900, 2200), False, False), ((0, 3400), False, False), ((900, 60000), False, True), ((0, 60000), True, False)],
)
def test_values_far_outside_the_training_range_are_warned_of(
    trained: tuple[torch.nn.Module, Description], tmp_path: Path, values: tuple[int, int], clip: bool, warned: bool
):
    network, description = trained
    pixels = np.full((8, 8), values[0], dtype=np.uint16)
    pixels[0] = values[1]
    Image.fromarray(pixels).save(tmp_path / "scan.png")
    preprocessing = replace(description.preprocessing, range=(900.0, 2200.0), clip=clip)
    (found,) = predict(network, replace(description, preprocessing=preprocessing), [tmp_path / "scan.png"])
    assert len(found.classes) == 1
    assert bool(found.warning) == warned
    if warned:
        assert_reports(found.warning, tmp_path / "scan.png", 60000, 900, 2200)


@pytest.mark.parametrize("tta", ["none", "flip", "flip_shift"])
def test_batches_do_not_change_predictions(
    trained: tuple[torch.nn.Module, Description], scans: list[Path], tta: TestTimeAugmentation
):
    together, single = (list(predict(*trained, scans[:9], batch_size=size, tta=tta)) for size in (9, 1))
    for one, other in zip(together, single, strict=True):
        assert one.classes == other.classes
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_augmented_predictions_are_those_of_mean_logits(
    trained: tuple[torch.nn.Module, Description], scans: list[Path]
):
    network, description = trained
    image = description.preprocessing(open_image(scans[0], 1))[None]
    with torch.inference_mode():
        logits = (network(image) + network(image.flip(-1))) / 2
    (found,) = predict(network, description, scans[:1], tta="flip")
    assert list(found.probabilities.values()) == pytest.approx(logits.softmax(1)[0].tolist(), abs=1e-6)


def test_a_color_photograph_of_any_size_is_classified(trained: tuple[torch.nn.Module, Description], tmp_path: Path):
    Image.new("RGB", (50, 30), "red").save(tmp_path / "photo.jpg")
    (prediction,) = predict(*trained, [tmp_path / "photo.jpg"])
    assert len(prediction.top(99)) == 10
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_non_finite_outputs_are_a_problem_of_their_image(
    trained: tuple[torch.nn.Module, Description], scans: list[Path]
):
    network, description = trained

    def half(images: torch.Tensor) -> torch.Tensor:
        logits = network(images)
        logits[1:] = torch.nan
        return logits

    made = torch.nn.Module()
    made.forward = half
    first, *others = predict(made, description, scans)
    assert first.classes
    assert not first.problem
    for prediction in others:
        assert_reports(prediction.problem, prediction.path, "finite")
        assert (prediction.classes, prediction.probabilities) == ((), {})


def test_an_unreadable_image_does_not_stop_the_others(trained: tuple[torch.nn.Module, Description], scans: list[Path]):
    scans[1].write_bytes(b"no image")
    first, second, *_ = predict(*trained, scans)
    assert first.classes
    assert not second.classes
    assert str(scans[1]) in second.problem
