"""What can be published, and float16 weights."""

from dataclasses import replace

import pytest
import torch

import skipweave
from skipweave.export.publication import as_registered, half_precision
from tests.errors import raises
from tests.export.networks import trained


@pytest.mark.parametrize(
    "changes", [{}, {"num_classes": 100, "in_chans": 1, "drop_rate": 0.2}, {"growth": 24}, {"heads": "last"}]
)
def test_a_registered_name_stands_for_the_model(changes: dict[str, object]) -> None:
    _, description = trained("sparsenet")
    as_registered(replace(description, model="sparsenet40_24", args=changes))


def test_arguments_may_be_those_of_another_name_of_the_family() -> None:
    _, description = trained("sparsenet")

    def found(model: str, **args: object) -> tuple[str, dict[str, object]]:
        registered = as_registered(replace(description, model=model, args=args))
        return registered.model, dict(registered.args)

    assert found("sparsenet40_12", growth=24, num_classes=100) == ("sparsenet40_24", {"num_classes": 100})
    units = [3, 3, 4, 5, 4, 3, 3]
    assert found("fc_logdensenet103", units=units, growth=16) == ("fc_logdensenet33", {})
    assert found("fc_densenet103", units=[4] * 11, growth=12, proj_drop_rate=0.2) == ("fc_densenet56", {})
    assert found("densenet40_12", sparsify=None, in_chans=1) == ("densenet40_12", {"in_chans": 1})
    for version in ("v1", "v2"):  # registered with equal arguments
        assert found(f"logdensenet_{version}_12_16", growth=24) == (f"logdensenet_{version}_12_24", {})
    with raises("fc_densenet103", "units"):
        found("fc_densenet103", units=units, growth=16)


def test_other_models_are_rejected() -> None:
    _, description = trained("sparsenet")
    with raises("sparsenet40_24", "growth", 4, "topology", "dense"):
        as_registered(replace(description, model="sparsenet40_24", args={"growth": 4, "topology": "dense"}))
    with raises("resnet18"):
        as_registered(replace(description, model="resnet18", args={}))


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
