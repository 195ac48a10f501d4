import pytest
import torch
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_accuracy

from skipweave.training.scores import Scores, batch_sums


def scored(logits: torch.Tensor, labels: torch.Tensor, classes: int, batch: int) -> Scores:
    scores = Scores(classes)
    for start in range(0, len(labels), batch):
        part, truth = logits[start : start + batch], labels[start : start + batch]
        scores.add(batch_sums(part, truth, functional.cross_entropy(part, truth)))
    return scores


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_scores_are_those_of_torchmetrics_whatever_the_batches(batch: int):
    torch.manual_seed(0)
    logits, labels = torch.randn(200, 30), torch.randint(30, (200,))
    scores = scored(logits, labels, 30, batch)
    for k, error in ((1, scores.error), (5, scores.top5_error)):
        accuracy = multiclass_accuracy(logits, labels, num_classes=30, average="micro", top_k=k)
        assert error == pytest.approx(100 * (1 - accuracy.item()), abs=1e-4)
    assert scores.mean_loss == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert scores.images == 200


def test_top5_is_for_20_classes_and_more():
    logits, labels = torch.randn(8, 10), torch.randint(10, (8,))
    assert scored(logits, labels, 10, 8).top5_error is None


def test_what_is_not_a_number_is_wrong():
    scores = scored(torch.full((4, 3), torch.nan), torch.zeros(4, dtype=torch.int64), 3, 4)
    assert scores.error == 100
    assert not scores.finite


def test_sums_can_be_added_to_another():
    logits, labels = torch.randn(9, 20), torch.randint(20, (9,))
    whole = scored(logits, labels, 20, 4)
    again = Scores(20)
    again.add(whole.sums())
    assert again == whole
