"""`convert`: SeqConv layers replace wide convolutions."""

import copy

import pytest
import timm
import torch
import torchvision
from torch import nn

import skipweave
from skipweave.layers import RawSeqConv2d
from skipweave_config.errors import SkipweaveError
from tests.errors import raises


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return torchvision.models.get_model(name)


def names_of(model: nn.Module) -> set[str]:
    return {name for name, part in model.named_modules() if isinstance(part, RawSeqConv2d)}


@pytest.mark.parametrize(("name", "wide"), [("resnet18", 13), ("resnet50", 13), ("wide_resnet50_2", 13)])
def test_torchvision_resnets_keep_their_size(name: str, wide: int) -> None:
    result = skipweave.convert(on_meta(name))
    before, after = result.parameters
    assert len(result.replaced) == wide
    assert before < after < 1.002 * before
    assert names_of(result.model) == set(result.replaced)
    assert result.kept["conv1"] == "its kernel is 7x7, not 3x3"
    strided = [reason for reason in result.kept.values() if "strided" in reason]
    assert len(strided) == 3
    assert len(result.kept) == 4
    assert result.replaced["layer1.1.conv2"] == (16 if "wide" in name else 8)


def test_timm_resnets() -> None:
    with torch.device("meta"):
        result = skipweave.convert(timm.create_model("resnet26d"))
    assert sorted(result.replaced)[:2] == ["layer1.0.conv2", "layer1.1.conv2"]
    assert result.kept["conv1.3"] == "32 to 32 channels are fewer than min_width, 64"


def test_report() -> None:
    lines = str(skipweave.convert(on_meta("resnet18"))).splitlines()
    for value in ("13", "11,689,512", "11,694,664"):
        assert value in lines[0]
    (kept,) = (line for line in lines if "layer4.0.conv1:" in line)
    assert "strided" in kept


class Special(nn.Conv2d):
    pass


class Apart(nn.Module):
    """Layers that read the same channels."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [layer(x[:, :1].expand(-1, layer.in_channels, -1, -1)) for layer in self.layers]


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        (nn.Conv2d(64, 64, 3, padding=1), "it has a bias"),
        (nn.Conv2d(64, 64, 3, bias=False), "its padding changes the size"),
        (nn.Conv2d(64, 64, 3, padding=1, bias=False, padding_mode="reflect"), "padding"),
        (nn.Conv2d(64, 64, 3, padding=1, bias=False, groups=2), "2 groups"),
        (Special(64, 64, 3, padding=1, bias=False), "Special"),
        (nn.Conv2d(96, 60, 3, padding=1, bias=False), "96 to 60"),
    ],
)
def test_reasons_of_kept_convolutions(conv: nn.Module, reason: str) -> None:
    wide = nn.Conv2d(64, 128, 3, padding=2, dilation=2, bias=False)
    result = skipweave.convert(Apart(wide, conv), input_size=(64, 16, 16))
    assert dict(result.replaced) == {"layers.0": 16}
    assert reason in result.kept["layers.1"]


def test_wrong_arguments() -> None:
    with raises("1x1"):
        skipweave.convert(nn.Conv2d(64, 64, 1))
    with raises("group_size", 7):
        skipweave.convert(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, bias=False)), group_size=7)
    with raises("min_width", 0):
        skipweave.convert(nn.Conv2d(64, 64, 3), min_width=0)
    with pytest.raises(SkipweaveError):
        skipweave.convert(nn.Conv2d(64, 64, 3, padding=1, bias=False))


def test_shared_convolutions_remain_shared() -> None:
    conv = nn.Conv2d(64, 64, 3, padding=1, bias=False)
    result = skipweave.convert(nn.Sequential(conv, nn.BatchNorm2d(64), conv))
    assert list(result.replaced) == ["0", "2"]
    assert result.model[0] is result.model[2]


def test_input_is_unchanged_and_the_result_trains() -> None:
    torch.manual_seed(0)
    given = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=4)
    before = copy.deepcopy(given.state_dict())
    model = skipweave.convert(given, group_size=16).model
    torch.testing.assert_close(dict(given.state_dict()), dict(before), rtol=0, atol=0)
    torch.testing.assert_close(model.fc.weight, given.fc.weight, rtol=0, atol=0)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert model.eval()(images).shape == (8, 4)


def test_layers_return_groups_before_batch_norm() -> None:
    layer = RawSeqConv2d(4, 8, group_size=4)
    x = torch.randn(2, 4, 5, 5)
    raw = layer(x)
    torch.testing.assert_close(raw[:, :4], layer.groups[0].make.conv(x))
    assert (raw < 0).any()
    assert len(list(layer.parameters())) == 4
