"""Layers of other widths have the tensors of newly created ones."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from skipweave.transforms.compression.layer_widths import Widths, draw, resize
from tests.errors import raises

LAYERS: dict[str, tuple[Callable[[int, int], nn.Module], Widths]] = {
    "linear": (nn.Linear, Widths(3, 5)),
    "linear without bias": (lambda a, b: nn.Linear(a, b, bias=False), Widths(3, 5)),
    "conv": (lambda a, b: nn.Conv2d(a, b, (3, 1)), Widths(3, 5)),
    "grouped conv": (lambda a, b: nn.Conv2d(a, b, 3, groups=2), Widths(4, 6)),
    "depthwise conv": (lambda a, b: nn.Conv2d(a, b, 3, groups=a), Widths(6, 6)),
    "transposed conv": (lambda a, b: nn.ConvTranspose2d(a, b, 2), Widths(3, 5)),
    "batch norm": (lambda a, b: nn.BatchNorm2d(a), Widths(5, 5)),
    "group norm": (lambda a, b: nn.GroupNorm(2, a), Widths(6, 6)),
    "layer norm": (lambda a, b: nn.LayerNorm(a), Widths(5, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_resized_layers_have_the_shapes_of_new_ones(name: str) -> None:
    make, widths = LAYERS[name]
    layer, expected = make(8, 8), make(widths.inputs, widths.outputs)
    resize(layer, "layer", widths)
    assert {key: tensor.shape for key, tensor in layer.state_dict().items()} == {
        key: tensor.shape for key, tensor in expected.state_dict().items()
    }
    assert layer.extra_repr() == expected.extra_repr()


def test_parameters_keep_attributes_and_requires_grad() -> None:
    layer = nn.Linear(4, 4)
    layer.weight.requires_grad_(False).note = "kept"  # type: ignore[attr-defined]
    resize(layer, "layer", Widths(2, 2))
    assert (layer.weight.requires_grad, layer.weight.note) == (False, "kept")


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 8, 1, groups=4), nn.GroupNorm(4, 8)])
def test_groups_that_do_not_divide_the_width(layer: nn.Module) -> None:
    with raises("stem.conv", 4, 6):
        resize(layer, "stem.conv", Widths(6, 6))


def test_convolutions_are_initialized_by_fan_in() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 512, 3)
    draw(conv)
    torch.testing.assert_close(conv.weight.var(), torch.tensor(2 / (64 * 9)), rtol=0.02, atol=0)
    assert not conv.bias.any()
