import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

from skipweave.training.tasks.class_counts import ClassCounts
from skipweave.training.tasks.confusion_matrix import confusion

CLASSES, VOID = 5, 5


def random_maps(seed, batch=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES + 1, (batch, 9, 8), generator=generator)
    predicted = torch.where(
        torch.rand(labels.shape, generator=generator) < 0.5,
        labels.clamp(max=CLASSES - 1),
        torch.randint(0, CLASSES, labels.shape, generator=generator),
    )
    return predicted, labels


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_torchmetrics(seed):
    predicted, labels = random_maps(seed)
    matrix = confusion(predicted, labels, CLASSES)
    options = {"num_classes": CLASSES, "ignore_index": VOID}
    assert torch.equal(matrix, MulticlassConfusionMatrix(**options)(predicted, labels))
    per_class = MulticlassJaccardIndex(average="none", **options)(predicted, labels)
    torch.testing.assert_close(ClassCounts.of(matrix).iou.float(), per_class)
    assert ClassCounts.of(matrix).iou.nanmean().item() == pytest.approx(
        MulticlassJaccardIndex(**options)(predicted, labels).item()
    )
    accuracy = MulticlassAccuracy(average="micro", **options)(predicted, labels).item()
    assert ClassCounts.of(matrix).accuracy == pytest.approx(accuracy)


@given(st.integers(0, 999), st.integers(1, 3))
def test_counts_of_batches_add_up(seed, cut):
    predicted, labels = random_maps(seed, batch=4)
    whole = confusion(predicted, labels, CLASSES)
    parts = [confusion(predicted[part], labels[part], CLASSES) for part in (slice(cut), slice(cut, None))]
    assert torch.equal(whole, parts[0] + parts[1])
    assert whole.sum() == (labels != VOID).sum()


def test_rows_are_true_and_columns_predicted():
    matrix = confusion(torch.tensor([1, 1, 0, 2]), torch.tensor([0, 0, 0, 3], dtype=torch.uint8), 3)
    assert matrix.dtype == torch.int64
    assert matrix.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 0]]


def test_classes_that_occur_nowhere_have_no_score():
    matrix = confusion(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 0]), 3)
    assert ClassCounts.of(matrix).iou[:2].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert ClassCounts.of(matrix).iou[2].isnan()
    assert ClassCounts.of(matrix).iou.nanmean().item() == pytest.approx(7 / 12)
    assert ClassCounts.of(matrix).accuracy == 0.75


def test_nothing_labeled_has_no_scores():
    matrix = confusion(torch.zeros(4), torch.full((4,), VOID), CLASSES)
    assert matrix.eq(0).all()
    assert math.isnan(ClassCounts.of(matrix).iou.nanmean().item())
    assert math.isnan(ClassCounts.of(matrix).accuracy)
