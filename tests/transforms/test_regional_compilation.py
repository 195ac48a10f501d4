"""Regional compilation; tests/models/contract/test_execution_modes.py compares the compiled networks."""

import pytest
import torch
from torch import nn

import skipweave
from skipweave.layers import Unit
from skipweave.layers.seqconv import GroupUnit
from skipweave.transforms.regional_compilation import MAX_VARIANTS, compile_units
from tests.errors import raises


@pytest.mark.parametrize("name", ["sparsenet40_12", "seqresnet_k8_r4_n1"])
def test_units_alone_are_compiled(name: str) -> None:
    model = skipweave.create_model(name)
    units = compile_units(model)
    compiled = [part for part in model.modules() if part._compiled_call_impl is not None]
    assert units == len(compiled) > 0
    assert all(isinstance(part, Unit | GroupUnit) for part in compiled)
    assert torch._dynamo.config.recompile_limit >= MAX_VARIANTS


def test_names_of_weights_do_not_change() -> None:
    model = skipweave.create_model("sparsenet40_12", units=2)
    names = list(model.state_dict())
    compile_units(model)
    assert list(model.state_dict()) == names


def test_networks_without_units() -> None:
    with raises("Sequential"):
        compile_units(nn.Sequential(nn.Linear(2, 2)))
