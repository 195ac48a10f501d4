"""ResNet, Wide ResNet and ResNeXt for CIFAR: published counts, shortcuts."""

from typing import Any

import pytest
import torch

import skipweave
from skipweave.analysis.profile import profile
from skipweave.models.cifar_resnet import ZeroPadShortcut
from tests.errors import raises


@pytest.mark.parametrize(
    ("name", "parameters", "printed"),
    [
        ("resnet110", 1_727_962, "1.7"),
        ("wide_resnet16_8", 10_961_370, "11.0"),
        ("wide_resnet28_10", 36_479_194, "36.5"),
        ("wide_resnet40_4", 8_949_210, "8.9"),
        ("resnext29_8x64d", 34_426_698, "34.4"),
        ("resnext29_16x64d", 68_155_210, "68.2"),
    ],
)
def test_published_parameters(name: str, parameters: int, printed: str) -> None:
    """In millions; "Aggregated Residual Transformations" prints 68.1 for the largest one, rounded down."""
    with torch.device("meta"):
        model = skipweave.create_model(name)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert f"{parameters / 1e6:.1f}" == printed


@pytest.mark.parametrize(
    ("name", "printed"), [("wide_resnet40_4", 2.60), ("wide_resnet16_8", 3.10), ("wide_resnet28_10", 10.49)]
)
def test_operations_that_delugenets_prints_for_wide_resnets(name: str, printed: float) -> None:
    with torch.device("meta"):
        macs = profile(skipweave.create_model(name)).macs
    assert 2 * macs / 1e9 == pytest.approx(printed, abs=0.006)


def test_the_shortcut_pads_with_zeros() -> None:
    x = torch.randn(2, 3, 5, 6)
    padded = ZeroPadShortcut(7, stride=2)(x)
    assert padded.shape == (2, 7, 3, 3)
    assert torch.equal(padded[:, :3], x[:, :, ::2, ::2])
    assert not padded[:, 3:].any()


@pytest.mark.parametrize("block", ["basic", "preact", "bottleneck"])
def test_blocks_whose_last_convolution_is_zero_pass_the_shortcut_on(block: str) -> None:
    torch.manual_seed(0)
    model = skipweave.create_model("resnet110", units=2, widths=(4, 4, 4), stem_width=4, block=block).eval()
    for stage in model.stages:
        for unit in stage.units:
            last = unit.conv2 if block == "preact" else unit.body[-1].conv
            torch.nn.init.zeros_(last.weight)
    x = torch.randn(2, 4, 8, 8).relu()
    unit = model.stages[1].units[1]
    wide = x.repeat(1, 4, 1, 1) if block == "bottleneck" else x
    torch.testing.assert_close(unit(wide), wide)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (dict(block="plain", stem_width=0), ("block", "'plain'", "stem_width", 0)),
        (dict(cardinality=8), ("cardinality", 8, "'basic'")),
    ],
)
def test_wrong_arguments_are_named(overrides: dict[str, Any], named: tuple[object, ...]) -> None:
    with raises(*named):
        skipweave.create_model("resnet110", **overrides)
