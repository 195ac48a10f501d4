"""The report of an evaluation against scikit-learn, whatever the batches, with absent classes."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    multilabel_confusion_matrix,
    roc_auc_score,
    top_k_accuracy_score,
)

from skipweave.inference import evaluate
from skipweave.inference.evaluation_report import EvaluationReport, report, report_of_images
from skipweave.training import EmaConfig, FitConfig, fit, load_run_images
from skipweave.training.tasks.task import Classification, MultiLabel, Task
from tests.errors import raises

NAMES = ("a", "b", "c", "d", "e")


def made(task: Task, logits: torch.Tensor, labels: torch.Tensor, batch: int = 7, top: int | None = None):
    metrics = task.metrics()
    for part, truth in zip(logits.split(batch), labels.split(batch), strict=True):
        metrics.add(task.batch_sums(part, truth, task.head_loss(part, truth)))
    return report_of_images([metrics], NAMES, logits, labels, top)


def one_against_others(score: Callable[..., float], truth: np.ndarray, probabilities: np.ndarray) -> list[float]:
    return [100 * score(truth[:, label], probabilities[:, label]) for label in range(truth.shape[1])]


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of 80 images; the last class is predicted, but absent."""
    torch.manual_seed(0)
    return torch.randn(80, 5), torch.randint(4, (80,))


@pytest.mark.parametrize("batch", [1, 7, 80])
def test_one_label_per_image(images: tuple[torch.Tensor, torch.Tensor], batch: int):
    logits, labels = images
    found = made(Classification(5), logits, labels, batch, top=3)
    probabilities = logits.double().softmax(1).numpy()
    truth = np.eye(5, dtype=int)[labels]
    for column, score in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
        expected = one_against_others(score, truth[:, :4], probabilities)
        assert found.per_class[column][:4].tolist() == pytest.approx(expected, abs=1e-4)
        assert math.isnan(found.per_class[column][4])
        assert found.overall[f"mean_{column}"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert found.confusion.tolist() == confusion_matrix(labels, logits.argmax(1), labels=range(5)).tolist()
    assert found.per_class["images"].tolist() == truth.sum(0).tolist()
    expected = 100 * (1 - top_k_accuracy_score(labels, probabilities, k=3, labels=range(5)))
    assert found.overall["top3_error"] == pytest.approx(expected, abs=1e-4)
    assert found.overall["calibration_error"] == pytest.approx(
        calibration_error(probabilities, labels.numpy()), abs=1e-3
    )
    assert next(iter(found.overall)) == "top1_error"


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """By its definition, in 15 bins, in percent."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.ceil(confidence * 15)
    gaps = [abs((right[bins == b] - confidence[bins == b]).sum()) for b in np.unique(bins)]
    return 100 * sum(gaps) / len(labels)


def test_several_labels_per_image():
    torch.manual_seed(0)
    logits = torch.randn(90, 5)
    labels = torch.bernoulli(logits.sigmoid()).to(torch.uint8)
    labels[:, 3], labels[:, 4] = 0, 1
    found = made(MultiLabel(NAMES), logits, labels)
    probabilities = logits.double().sigmoid().numpy()
    for column, score in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
        expected = one_against_others(score, labels.numpy()[:, :3], probabilities)
        assert found.per_class[column][:3].tolist() == pytest.approx(expected, abs=1e-4)
        assert found.per_class[column][3:].isnan().all()
    assert found.confusion.tolist() == multilabel_confusion_matrix(labels, probabilities >= 0.5).tolist()
    assert math.isnan(found.per_class["recall"][3])


def test_non_finite_logits_have_no_ranking(images: tuple[torch.Tensor, torch.Tensor]):
    logits, labels = images
    logits[3] = torch.nan
    found = made(Classification(5), logits, labels)
    assert found.per_class["auroc"].isnan().all()
    assert math.isnan(found.overall["calibration_error"])
    assert not math.isnan(found.overall["top1_error"])


def reported(run_dir, **options) -> EvaluationReport:
    return report(load_run_images(run_dir, "test", options.pop("which", "best")), accelerator="cpu", **options)


def test_the_report_of_a_run_and_of_its_network_without_averaging(tmp_path, make_tiny: Callable[..., FitConfig]):
    run = fit(make_tiny(tmp_path, epochs=1, ema=EmaConfig(0.8)))
    found, raw = reported(run.run_dir), reported(run.run_dir, which="raw")
    assert run.test_metrics.items() >= {name: found.overall[name] for name in run.test_metrics}.items()
    assert found.confusion.sum() == 359
    assert raw.overall != reported(run.run_dir, which="last").overall
    assert evaluate(run.run_dir, which="raw")[-1].compute().items() <= raw.overall.items()
    with raises("top", 10):
        reported(run.run_dir, top=10)
