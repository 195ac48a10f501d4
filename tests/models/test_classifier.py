"""What classification networks share."""

import pytest
import torch
from torch import nn

from skipweave import create_model


@pytest.mark.parametrize(("device", "share"), [("cpu", 1), ("meta", 0)])
def test_weights_are_drawn_only_where_there_is_memory_for_them(monkeypatch, device: str, share: int):
    drawn: list[torch.Tensor] = []
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda weight, **_: drawn.append(weight))
    with torch.device(device):
        model = create_model("sparsenet_sum56", units=2)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 1 + 3 * (1 + 2 * 3)
    assert len(drawn) == share * len(convolutions)
