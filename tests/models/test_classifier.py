"""Initialization of classification networks."""

import pytest
import torch
from torch import nn

from skipweave import create_model


@pytest.mark.parametrize(("device", "initialized"), [("cpu", True), ("meta", False)])
def test_weights_on_the_meta_device_are_not_initialized(monkeypatch, device: str, initialized: bool):
    drawn: list[torch.Tensor] = []
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda weight, **_: drawn.append(weight))
    with torch.device(device):
        model = create_model("sparsenet_sum56", units=2)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 1 + 3 * (1 + 2 * 3)
    assert len(drawn) == initialized * len(convolutions)
