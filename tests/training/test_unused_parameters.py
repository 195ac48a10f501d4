"""Parameters without gradients are found before several processes wait for these."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from skipweave.models.heads import all_heads
from skipweave.training import FitConfig, LossConfig, ModelConfig, fit
from skipweave.training.model_building import build_network
from skipweave.training.unused_parameters import leaves_parameters_unused

SUMS, CONCATENATED = {"units": 3, "widths": [4, 4, 4]}, {"units": 3, "growth": 4}


@pytest.mark.parametrize(
    ("name", "args"),
    [
        *[("sparsenet_sum56", SUMS | {"topology": name}) for name in ("plain", "window(size=1)", "nearest_half")],
        *[("sparsenet_sum56", SUMS | {"topology": name}) for name in ("dense", "exponential", "fractal")],
        *[("densenet40_12", CONCATENATED | {"topology": graph}) for graph in ("plain", [[0], [1], [1], [3]])],
        ("sparsenet40_12", CONCATENATED | {"sparsify": 0.5}),
        ("sparsenet_fast_64", {}),
        ("logdensenet_v1_12_16", {"heads": "stages"}),
        ("fc_densenet56", {}),
        ("seqresnet_k16_r3_n1_2_2", {}),
        ("delugenet146", {"units": 1}),
        ("tutorial_mnist", {}),
        ("resnet18", {}),
    ],
)
@pytest.mark.parametrize("heads", ["last", 1.0])
def test_as_backward_finds_them(name: str, args: dict[str, object], heads: str | float) -> None:
    network = build_network(name, args).train()
    logits = all_heads(network, torch.randn(2, *network.pretrained_cfg["input_size"]))
    sum(one.sum() for one in (logits[-1:] if heads == "last" else logits)).backward()
    expected = any(part.grad is None for part in network.parameters() if part.requires_grad)
    assert leaves_parameters_unused(FitConfig(ModelConfig(name, args), loss=LossConfig(heads=heads))) is expected


def test_heads_lose_their_weight_in_the_last_epochs() -> None:
    model = ModelConfig("logdensenet_v1_12_16", {"heads": "stages"})
    assert not leaves_parameters_unused(FitConfig(model, loss=LossConfig(heads=1.0)))
    assert leaves_parameters_unused(FitConfig(model, loss=LossConfig(heads=1.0, last_epochs=1)))


@pytest.mark.slow
def test_two_processes_train_a_network_with_a_node_that_none_reads(
    tmp_path: Path, make_tiny: Callable[..., FitConfig]
) -> None:
    model = ModelConfig("sparsenet_sum56", SUMS | {"topology": "plain"})
    one, two = (fit(make_tiny(tmp_path, model=model, epochs=1, devices=devices)) for devices in (1, 2))
    assert two.parameters == one.parameters
    assert two.test_value < 90
