"""Tasks: the loss of several heads, and the evaluation of each."""

import pytest
import torch
from torch.nn import functional

from skipweave.training.distributed.devices import make_fabric
from skipweave.training.distributed.synchronization import STEPS_PER_SYNC
from skipweave.training.tasks.task import Classification, evaluate_heads


def test_the_loss_is_the_weighted_sum_of_the_heads():
    torch.manual_seed(0)
    heads, labels = torch.randn(3, 5, 4, dtype=torch.float64), torch.randint(4, (5,))
    losses = [functional.cross_entropy(head, labels).item() for head in heads]
    loss = Classification(4).loss(list(heads), labels, (0.25, 0, 0.75))
    assert loss.item() == pytest.approx(0.25 * losses[0] + 0.75 * losses[2])


@pytest.mark.parametrize("batches", [0, 1, STEPS_PER_SYNC, 2 * STEPS_PER_SYNC + 3])
def test_every_head_is_evaluated_on_every_batch(batches: int):
    torch.manual_seed(0)
    images, labels = torch.randn(batches, 2, 4), torch.randint(4, (batches, 2))
    metrics = evaluate_heads(
        make_fabric("cpu"), lambda x: (x, -x), 2, zip(images, labels, strict=True), Classification(4)
    )
    for sign, head in zip((1, -1), metrics, strict=True):
        assert head.images == 2 * batches
        if batches:
            wrong = ((sign * images).argmax(-1) != labels).double().mean().item()
            assert head.value == pytest.approx(100 * wrong)
            expected = functional.cross_entropy(sign * images.flatten(0, 1), labels.flatten()).item()
            assert head.mean_loss == pytest.approx(expected, rel=1e-5)
