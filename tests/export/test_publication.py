"""What can be published, and float16 weights."""

from dataclasses import replace

import pytest
import torch

import skipweave
from skipweave.export.publication import check_publishable, half_precision
from tests.errors import raises
from tests.export.networks import trained


@pytest.mark.parametrize(
    "changes", [{}, {"num_classes": 100, "in_chans": 1, "drop_rate": 0.2}, {"growth": 24}, {"heads": "last"}]
)
def test_a_registered_name_stands_for_the_model(changes: dict[str, object]) -> None:
    _, description = trained("sparsenet")
    check_publishable(replace(description, model="sparsenet40_24", args=changes))


def test_other_models_are_rejected() -> None:
    _, description = trained("sparsenet")
    with raises("sparsenet40_24", "growth", 4, "topology", "dense"):
        check_publishable(replace(description, model="sparsenet40_24", args={"growth": 4, "topology": "dense"}))
    with raises("resnet18"):
        check_publishable(replace(description, model="resnet18", args={}))


def test_parameters_are_rounded_and_statistics_are_not() -> None:
    network = skipweave.create_model("sparsenet40_12", units=1)
    state, parameters = half_precision(network), dict(network.named_parameters())
    for name, tensor in network.state_dict().items():
        assert state[name].dtype == (torch.float16 if name in parameters else tensor.dtype)
        assert torch.equal(state[name], tensor.to(state[name].dtype))
    with torch.no_grad():
        network.stem.conv.weight[0] = 1e5
    with raises("stem.conv.weight"):
        half_precision(network)
