"""Networks that cannot be traced are rejected with the name of the module."""

from typing import cast

import pytest
import torch
from torch import nn

from skipweave.tracing.unsupported_networks import check_supported
from skipweave_config.errors import SkipweaveError
from tests.errors import raises


def inside(part: object) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), cast(nn.Module, part))


def quantized() -> nn.Module:
    layer = nn.Module()
    layer.register_buffer("weight", torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8))
    return layer


REFUSED = {
    "compiled": lambda: torch.compile(nn.Linear(2, 2)),
    "scripted": lambda: torch.jit.script(nn.ReLU()),
    "DataParallel": lambda: nn.DataParallel(nn.Linear(2, 2)),
    "lazy": lambda: nn.LazyLinear(2),
    "quantized": quantized,
}


@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize("word", REFUSED)
def test_unsupported_modules_are_named(word: str) -> None:
    with raises(word):
        check_supported(REFUSED[word]())
    with raises("1", word):
        check_supported(inside(REFUSED[word]()))


def test_tensors_on_several_devices() -> None:
    with raises("0.weight", "cpu", "1.weight", "meta"):
        check_supported(inside(nn.Linear(2, 2, device="meta")))


def test_other_types_than_modules() -> None:
    with pytest.raises(SkipweaveError, match="function"):
        check_supported(lambda x: x)


def test_initialized_lazy_modules_are_supported() -> None:
    lazy = nn.LazyLinear(2)
    lazy(torch.zeros(1, 3))
    check_supported(inside(lazy))
    check_supported(nn.Sequential())
