"""Multi-label classification: exact oracles from scikit-learn for metrics, torch for losses."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch.nn import functional

from skipweave.data import DataConfig, load, open_image
from skipweave.inference import predict
from skipweave.training import FitConfig, LossConfig, MixConfig, ModelConfig, fit, load_run
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.tasks.task import Classification, MultiLabel, balanced_weights, task_for
from skipweave_config.errors import SkipweaveError
from tests.errors import raises

NAMES = ("beak", "fur", "wings")


@pytest.fixture
def scored():
    """Logits (200, 3) in multiples of 1/8, as metrics round them, with correlated labels; the last is rare."""
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(200, 3, generator=generator) * 16).round() / 8
    chance = (logits + torch.tensor([0.0, 1.0, -3.0])).sigmoid()
    return logits, torch.bernoulli(chance, generator=generator).to(torch.uint8)


def metrics_of(logits, labels, batch=64):
    task = MultiLabel(NAMES)
    metrics = task.metrics()
    for start in range(0, len(labels), batch):
        part, truth = logits[start : start + batch], labels[start : start + batch]
        metrics.add(task.batch_sums(part, truth, task.head_loss(part, truth)))
    return metrics


@pytest.mark.parametrize("batch", [1, 7, 200])
def test_metrics_are_those_of_scikit_learn_whatever_the_batches(scored, batch):
    logits, labels = scored
    metrics = metrics_of(logits, labels, batch)
    expected = [average_precision_score(labels[:, label], logits[:, label]) for label in range(3)]
    assert list(metrics.per_class().values()) == pytest.approx([100 * value for value in expected])
    assert metrics.value == metrics.compute()["mean_average_precision"] == pytest.approx(100 * np.mean(expected))
    assert metrics.compute()["macro_f1"] == pytest.approx(100 * f1_score(labels, logits >= 0, average="macro"))
    assert metrics.mean_loss == pytest.approx(
        functional.binary_cross_entropy_with_logits(logits, labels.float()).item(), rel=1e-5
    )
    assert metrics.images == 200


def test_a_class_that_does_not_occur_is_left_out(scored):
    logits, labels = scored
    labels[:, 1] = 0
    metrics = metrics_of(logits, labels)
    assert list(metrics.per_class()) == ["ap_beak", "ap_wings"]
    assert metrics.value == pytest.approx(np.mean(list(metrics.per_class().values())))
    with pytest.raises(SkipweaveError, match="200 images"):
        metrics_of(logits, torch.zeros_like(labels)).compute()


def test_extreme_and_missing_logits_are_counted(scored):
    _, labels = scored
    logits = torch.tensor([math.inf, -math.inf, math.nan, 1e30, -1e30]).repeat(40)[:, None].expand(-1, 3)
    assert metrics_of(logits, labels).counts.sum() == 600


def test_the_loss_is_binary_cross_entropy_over_heads_with_weights_for_labels(scored):
    logits, labels = scored
    weights = torch.tensor([1.0, 0.5, 7.0])
    heads = [logits, -logits]
    for given in (None, weights):
        losses = [functional.binary_cross_entropy_with_logits(h, labels.float(), pos_weight=given) for h in heads]
        loss = MultiLabel(NAMES, given).loss(heads, labels, (0.25, 0.75))
        assert loss.item() == pytest.approx(0.25 * losses[0].item() + 0.75 * losses[1].item(), rel=1e-5)


@pytest.fixture
def table(tmp_path, make_images):
    """Forty images with the labels `odd` and `rare`; a table of them with a column per class."""
    make_images(tmp_path / "photos", {"all": 40})
    rows = [f"all/{number}.png,{number % 2},{int(number % 8 == 0)}" for number in range(40)]
    path = tmp_path / "photos" / "labels.csv"
    path.write_text("\n".join(["path,odd,rare", *rows]))
    return DataConfig(name="csv", labels=path, image_size=16, validation=8)


def test_balanced_weights_are_inverse_frequencies(table):
    data = load(table)
    images, (odd, rare) = len(data.train), data.class_counts
    assert balanced_weights(data) == ((images - odd) / odd, (images - rare) / rare)
    task = task_for(data, LossConfig(class_weights="balanced"))
    assert isinstance(task, MultiLabel)
    digits = load(DataConfig(validation=0))
    weights = torch.tensor(balanced_weights(digits), dtype=torch.float64)
    assert weights[torch.from_numpy(digits.train.labels)].mean().item() == pytest.approx(1)
    counts = torch.tensor(digits.class_counts)
    assert torch.allclose(weights * counts, torch.full((10,), len(digits.train) / 10, dtype=torch.float64))


def test_weighted_cross_entropy_is_the_mean_of_weighted_losses():
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 0, 1]), torch.tensor([0.5, 1.0, 2.0])
    losses = -logits.log_softmax(1)[range(6), labels] * weights[labels]
    task = Classification(3, weights=weights)
    assert task.loss([logits], labels, [1.0]).item() == pytest.approx(losses.mean().item())
    assert task.head_loss(logits, labels).item() == pytest.approx(functional.cross_entropy(logits, labels).item())


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_a_network_is_trained_and_loaded(table, tmp_path, weights):
    model = ModelConfig("sparsenet40_24", {"units": 1, "growth": 4})
    config = FitConfig(
        model, table, loss=LossConfig(class_weights=weights), epochs=2, batch_size=8, output=tmp_path, accelerator="cpu"
    )
    summary = fit(config)
    assert summary.metric == "mean_average_precision"
    assert {"mean_average_precision", "macro_f1", "loss", "ap_odd", "ap_rare"} == set(summary.test_metrics)
    _, _, description = load_run(summary.run_dir)
    assert description.multi_label
    assert description.classes == ("odd", "rare")
    assert RunDirectory(summary.run_dir).read_test_predictions() is None


def test_probabilities_of_predicted_classes_are_independent(table, tmp_path):
    model = ModelConfig("sparsenet40_24", {"units": 1, "growth": 4})
    summary = fit(FitConfig(model, table, epochs=1, batch_size=8, output=tmp_path, accelerator="cpu", max_memory="1GB"))
    network, _, description = load_run(summary.run_dir)
    paths = [table.labels.parent / "all" / f"{number}.png" for number in range(3)]
    images = torch.stack([description.preprocessing(open_image(path, 3)) for path in paths])
    with torch.inference_mode():
        expected = network(images).sigmoid().tolist()
    threshold = sorted(value for values in expected for value in values)[3] - 1e-5
    for prediction, values in zip(predict(network, description, paths, threshold=threshold), expected, strict=True):
        assert list(prediction.probabilities.values()) == pytest.approx(values, abs=1e-6)
        above = {name for name, value in zip(description.classes, values, strict=True) if value >= threshold}
        assert set(prediction.classes) == above
        assert prediction.classes == tuple(name for name, _ in prediction.top(len(above)))


def test_several_labels_are_neither_mixed_nor_smoothed(table, tmp_path):
    model = ModelConfig("sparsenet40_24", {"units": 1, "growth": 4})
    config = FitConfig(model, table, batch_size=8, output=tmp_path / "runs", accelerator="cpu")
    with raises("mix.mixup", "loss.label_smoothing"):
        fit(replace(config, mix=MixConfig(mixup=0.2), loss=LossConfig(label_smoothing=0.1)))
    assert not config.output.exists()
