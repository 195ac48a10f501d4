"""Example inputs and their variants."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from skipweave.tracing.example_inputs import Inputs, checked_input_size, example
from tests.errors import raises

IMAGE = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5).float()


def shapes(inputs: Inputs) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape) for leaf in tree_leaves((inputs.args, inputs.kwargs)) if isinstance(leaf, Tensor)]


@pytest.mark.parametrize(
    ("given", "batch", "variants"),
    [
        (IMAGE, 2, [[(2, 3, 4, 5)], [(3, 3, 4, 5)], [(2, 3, 11, 10)], [(2, 3, 36, 37)]]),
        ((IMAGE, IMAGE[:, 0, 0, 0]), 2, [[(2, 3, 4, 5), (2,)], [(3, 3, 4, 5), (3,)], [(2, 3, 11, 10), (2,)], ...]),
        (dict(image=IMAGE, flag=True), 2, [[(2, 3, 4, 5)], [(3, 3, 4, 5)], ..., ...]),
        (({"image": IMAGE},), 2, [[(2, 3, 4, 5)], [(3, 3, 4, 5)], [(2, 3, 11, 10)], ...]),
        ([IMAGE[0], IMAGE[0, :, :2]], 2, [[(3, 4, 5), (3, 2, 5)], [(3, 4, 5), (3, 2, 5), (3, 4, 5)], ..., ...]),
        ((IMAGE[0],), 3, [[(3, 4, 5)], [(4, 4, 5)], [(3, 4, 10)], [(3, 4, 37)]]),  # as of signals of one dimension
        (IMAGE[:, None], 2, [[(2, 1, 3, 4, 5)], [(3, 1, 3, 4, 5)], [(2, 1, 3, 11, 10)], ...]),
        ((7,), 1, [[], [], [], []]),
    ],
)
def test_variants(given: Any, batch: int, variants: list[Any]) -> None:
    inputs = example(nn.Identity(), None, given)
    assert inputs.batch == batch
    for found, expected in zip(inputs.variants(), variants, strict=True):
        assert expected is ... or shapes(found) == expected


def test_variants_repeat_the_given_inputs() -> None:
    _, more, larger, _ = (variant.args[0] for variant in Inputs((IMAGE,)).variants())
    torch.testing.assert_close(more, torch.cat([IMAGE, IMAGE[:1]]))
    torch.testing.assert_close(larger[..., :4, :5], IMAGE)
    torch.testing.assert_close(larger[..., 4:8, 5:], IMAGE)


@pytest.mark.parametrize("size", [(3, 8), (3, 8, 6), (3, 4, 8, 6)])
def test_random_images(size: tuple[int, ...]) -> None:
    model = nn.Linear(2, 2, dtype=torch.bfloat16)
    before = torch.get_rng_state()
    (images,) = example(model, size, None).args
    assert (images.shape, images.dtype) == ((2, *size), torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), before)


class Cfg(nn.Module):
    def __init__(self, cfg: object) -> None:
        super().__init__()
        self.pretrained_cfg = cfg


def test_input_size_of_pretrained_cfg() -> None:
    assert checked_input_size(Cfg(dict(input_size=(3, 8, 9))), None) == (3, 8, 9)
    model = Cfg(dict(input_size=(3, 8, 9)))
    model.in_chans = 1
    assert checked_input_size(model, None) == (1, 8, 9)
    for cfg in (None, {}, object()):
        with raises("input_size"):
            checked_input_size(Cfg(cfg), None)


@pytest.mark.parametrize("size", [(3,), (3, 0, 8), (3, 8.0, 8), (True, 8, 8), (1, 2, 3, 4, 5), "333", 7])
def test_invalid_sizes(size: Any) -> None:
    with raises("input_size", size):
        example(nn.Identity(), size, None)


def test_input_size_and_example_inputs_exclude_each_other() -> None:
    with raises("input_size", "example_inputs"):
        example(nn.Identity(), (3, 8, 8), IMAGE)
