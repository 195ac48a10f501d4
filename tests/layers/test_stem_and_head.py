"""Stems and the classifier head."""

import pytest
import torch

from skipweave.layers import CifarStem, Head, ImageNetStem, Stem
from tests.errors import raises


@pytest.mark.parametrize(("kind", "parameters"), [(CifarStem, 9 * 2 * 6), (ImageNetStem, 49 * 2 * 6 + 2 * 6)])
def test_stems(kind: type[Stem], parameters: int) -> None:
    stem = kind(in_chans=2, width=6)
    assert stem(torch.zeros(1, 2, 32, 48)).shape == (1, 6, 32 // stem.stride, 48 // stem.stride)
    assert (stem.in_chans, stem.width) == (2, 6)
    assert sum(p.numel() for p in stem.parameters()) == parameters


def test_head_pools_to_a_grid_and_classifies() -> None:
    head = Head(4, 5, grid=3)
    x = torch.randn(2, 4, 9, 9)
    features = torch.nn.functional.avg_pool2d(x, 3).flatten(1)
    torch.testing.assert_close(head(x, pre_logits=True), features)
    torch.testing.assert_close(head(x), head.fc(features))
    assert head.hidden_size == 36


def test_reset_replaces_pooling_and_classifier() -> None:
    head = Head(4, 5)
    head.reset(3, "catavgmax")
    assert (head.num_classes, head.global_pool, head.hidden_size) == (3, "catavgmax", 8)
    assert head(torch.randn(2, 4, 6, 6)).shape == (2, 3)
    head.reset(0, "")
    assert head(torch.randn(2, 4, 6, 6)).shape == (2, 4, 6, 6)
    with raises("num_classes", 3):
        head.reset(3, "")
