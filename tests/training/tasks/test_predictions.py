"""Predictions as a CSV file, and collected batch by batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipweave.training.distributed.devices import make_fabric
from skipweave.training.tasks.metrics import ClassificationMetrics, classification_sums
from skipweave.training.tasks.predictions import PredictionCollector, Predictions

CLASSES = st.integers(0, 2**40)


def lists(predictions: Predictions) -> tuple[list[int], list[int]]:
    return predictions.labels.tolist(), predictions.predicted.tolist()


@given(st.lists(st.tuples(CLASSES, st.integers(-1, 2**40), st.integers(0, 10**6)), min_size=1, max_size=20))
def test_what_is_written_is_read(rows: list[tuple[int, int, int]]):
    labels, predicted, millionths = np.array(rows).T
    again = Predictions.from_csv(Predictions(labels, predicted, millionths / 10**6).as_csv())
    assert again.confidences is not None
    assert lists(again) == (labels.tolist(), predicted.tolist())
    assert again.confidences.tolist() == (millionths / 10**6).tolist()
    assert again.wrong.tolist() == [label != one for label, one, _ in rows]


def test_tables_of_older_versions_have_no_confidence():
    again = Predictions.from_csv("label,predicted\n1,2\n0,0\n")
    assert lists(again) == ([1, 0], [2, 0])
    assert again.confidences is None
    assert again.as_csv() == "label,predicted\n1,2\n0,0\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "label,predicted\n",
        "predicted,label\n1,2\n",
        "label,predicted\n1\n",
        "label,predicted\n1,2\n3\n",
        "label,predicted\n1,2.5\n",
        "label,predicted\n1,nan\n",
        f"label,predicted\n1,{10**30}\n",
        "label,predicted\n1,2,0.5\n",
        "label,predicted,confidence\n1,2\n",
        "label,predicted,confidence\n1,2,1.5\n",
        "label,predicted,confidence\n1,2,nan\n",
    ],
)
def test_other_tables_raise(text: str):
    with pytest.raises(ValueError):  # noqa: PT011
        Predictions.from_csv(text)


def test_batches_are_put_in_the_order_of_the_split():
    torch.manual_seed(0)
    logits, labels, collector = torch.randn(7, 3), torch.randint(3, (7,)), PredictionCollector()
    logits[4, 2] = torch.nan
    order = torch.randperm(7)
    for batch in order.split(3):
        collector.add(logits[batch], labels[batch])
    found = collector.gather(order.numpy(), 7, make_fabric("cpu"))
    expected = logits.argmax(1)
    expected[4] = -1
    assert lists(found) == (labels.tolist(), expected.tolist())
    confidences = logits.softmax(1).amax(1).nan_to_num()
    assert found.confidences == pytest.approx(confidences.numpy(), abs=5.1e-7)
    metrics = ClassificationMetrics(3)
    metrics.add(classification_sums(logits, labels, torch.zeros(())))
    assert 100 * found.wrong.mean() == metrics.value
