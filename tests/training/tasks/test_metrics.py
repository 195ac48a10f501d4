import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score, multiclass_jaccard_index

from skipweave.data import DataConfig, load_segmentation
from skipweave.training.tasks.metrics import METRICS, ClassificationMetrics, Metrics, SegmentationMetrics, of_heads
from skipweave.training.tasks.task import Classification, Segmentation, Task

NAMES = ("sky", "road", "tree")


def scored(task: Task, logits: torch.Tensor, labels: torch.Tensor, batch: int) -> Metrics:
    scores = task.metrics()
    for start in range(0, len(labels), batch):
        part, truth = logits[start : start + batch], labels[start : start + batch]
        scores.add(task.batch_sums(part, truth, task.head_loss(part, truth)))
    return scores


@pytest.fixture
def maps(tmp_path, make_pairs, class_list) -> Segmentation:
    make_pairs(tmp_path, [f"picture{number}" for number in range(8)])
    class_list(tmp_path, "name\nsky\nroad\ntree\n")
    return Segmentation(load_segmentation(DataConfig(name="masks", root=tmp_path)), balanced=False)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_scores_equal_torchmetrics_for_any_batches(batch: int):
    torch.manual_seed(0)
    logits, labels = torch.randn(200, 30), torch.randint(30, (200,))
    scores = scored(Classification(30), logits, labels, batch)
    values = scores.compute()
    assert values["top1_accuracy"] == 100 - values["top1_error"]
    for k, error in ((1, scores.value), (5, values["top5_error"])):
        accuracy = multiclass_accuracy(logits, labels, num_classes=30, average="micro", top_k=k)
        assert error == pytest.approx(100 * (1 - accuracy.item()), abs=1e-4)
    assert scores.mean_loss == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert scores.images == 200


@pytest.mark.parametrize("batch", [1, 3])
def test_scores_of_masks_equal_torchmetrics(maps: Segmentation, batch: int):
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 3, 6, 7), torch.randint(4, (5, 6, 7))
    scores = scored(maps, logits, labels, batch)
    of_classes = multiclass_jaccard_index(logits, labels, num_classes=3, average="none", ignore_index=3)
    accuracy = multiclass_accuracy(logits, labels, num_classes=3, average="micro", ignore_index=3)
    mean = 100 * of_classes.mean().item()
    assert scores.value == pytest.approx(mean, abs=1e-4)
    dice = 100 * multiclass_f1_score(logits, labels, num_classes=3, average="macro", ignore_index=3).item()
    expected = {"mean_iou": mean, "mean_dice": dice, "pixel_accuracy": 100 * accuracy.item(), "loss": scores.mean_loss}
    assert scores.compute() == pytest.approx(expected, abs=1e-4)
    ious = {f"iou_{name}": 100 * iou.item() for name, iou in zip(NAMES, of_classes, strict=True)}
    assert scores.per_class() == pytest.approx(ious, abs=1e-4)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("batch", [1, 7, 60])
def test_values_of_classes_equal_scikit_learn_with_absent_classes(batch: int):
    """Class 4 is predicted but absent, class 5 is neither: means leave out what is undefined."""
    torch.manual_seed(1)
    logits, labels = torch.randn(60, 6), torch.randint(4, (60,))
    logits[:, 5] = -9
    predicted = logits.argmax(1)
    assert (predicted == 4).any()
    values = scored(Classification(6), logits, labels, batch).compute()
    assert values["balanced_accuracy"] == pytest.approx(100 * balanced_accuracy_score(labels, predicted))
    assert values["macro_f1"] == pytest.approx(100 * f1_score(labels, predicted, average="macro"))


@pytest.mark.parametrize("name", ["loss", "balanced_accuracy", "macro_f1", "top5_error"])
def test_the_monitored_metric_is_the_first(name: str):
    scores = scored(Classification(20, metric=METRICS[name]), torch.randn(30, 20), torch.randint(20, (30,)), 30)
    assert next(iter(scores.compute().items())) == (name, scores.value)
    assert next(iter(of_heads([scores, scores]))) == name
    assert f"exit1_{name}" in of_heads([scores, scores])


def test_equal_logits_are_one_prediction():
    """A constant network is right for one class only."""
    scores = scored(Classification(4), torch.zeros(8, 4), torch.arange(4).repeat(2), 8)
    assert scores.value == 75


def test_a_coarse_head_is_scored_at_the_size_of_the_labels(maps: Segmentation):
    labels = torch.arange(3).repeat_interleave(4).repeat(1, 12, 1)  # three upright stripes
    coarse = 9.0 * functional.one_hot(torch.arange(3), 3).T[None, :, None].float()
    assert scored(maps, coarse, labels, 1).value == 100


def test_top5_is_for_20_classes_and_more():
    logits, labels = torch.randn(8, 10), torch.randint(10, (8,))
    assert "top5_error" not in scored(Classification(10), logits, labels, 8).compute()


def test_nan_predictions_are_errors():
    scores = scored(Classification(3), torch.full((4, 3), torch.nan), torch.zeros(4, dtype=torch.int64), 4)
    assert scores.value == 100
    assert not scores.finite


def test_sums_can_be_added_to_another():
    logits, labels = torch.randn(9, 20), torch.randint(20, (9,))
    whole = scored(Classification(20), logits, labels, 4)
    again = ClassificationMetrics(20)
    again.add(whole.sums)
    assert torch.equal(again.sums, whole.sums)


def test_scores_of_exits_are_reported_with_those_of_the_last_head():
    heads = [SegmentationMetrics(NAMES) for _ in range(3)]
    for hits, scores in enumerate(heads):
        matrix = torch.full((3, 3), 1.0) + 3 * hits * torch.eye(3)
        scores.add(torch.cat([torch.tensor([1.0, 2.0]), matrix.flatten()]))
    values = of_heads(heads)
    assert values["mean_iou"] == pytest.approx(100 * 7 / 11)
    assert [values[f"exit{number}_mean_iou"] for number in (1, 2)] == pytest.approx([20, 100 * 4 / 8])
    assert of_heads([]) == {}
