"""Scaling the widths of a network to a number of parameters."""

import pytest
import torch
from torch import nn

from skipweave.tracing.replicas import trials_of
from skipweave.transforms.compression.compressed_model import count_parameters
from skipweave.transforms.compression.depth_multiplier import resize_all
from skipweave.transforms.compression.layer_widths import Widths
from skipweave.transforms.conversion import target_size
from skipweave.transforms.conversion.target_size import check_target, scaled_to
from tests.errors import raises


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.Conv2d(64, 96, 3, padding=1, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 5),
    )


@pytest.mark.parametrize(("target", "step"), [(20_000, 8), (10_000, 12), (60_000, 1)])
def test_no_other_factor_is_closer(target: int, step: int) -> None:
    given = network()
    factor, scaled = scaled_to(target, given, trials_of(given, (3, 8, 8)), step, count_parameters)
    widths = [scaled[0].out_channels, scaled[1].out_channels]
    assert scaled(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    assert all(width % step == 0 and width % 4 == 0 for width in widths)
    assert factor == pytest.approx(widths[0] / 64, abs=12 / 64)

    def size(first: int, second: int) -> int:
        return 28 * first + second * (9 * first // 4 + 1) + 5 * (second + 1)

    smaller = size(*(max(12, width - 12) for width in widths))
    larger = size(*(width + 12 for width in widths))
    assert smaller < target < larger
    assert abs(size(*widths) - target) <= min(target - smaller, larger - target)


@pytest.mark.parametrize("target", [60_000, 6_000_000])
def test_factors_of_networks_whose_count_is_linear_in_the_width(target: int) -> None:
    given = nn.Sequential(nn.Conv2d(3, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10_000))
    _, scaled = scaled_to(target, given, trials_of(given, (3, 8, 8)), 1, count_parameters)
    assert count_parameters(scaled) == pytest.approx(target, abs=10_004 / 2)


def test_networks_of_the_same_widths_are_counted_once() -> None:
    given, seen = network(), []

    def count(resized: nn.Module) -> int:
        seen.append((resized[0].out_channels, resized[1].out_channels))
        return count_parameters(resized)

    scaled_to(10_000, given, trials_of(given, (3, 8, 8)), 8, count)
    assert len(seen) == len(set(seen)) > 2


def test_too_little_memory_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(model: nn.Module, widths: dict[str, Widths]) -> None:
        if not next(model.parameters()).is_meta:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] you tried to allocate 4003328692224 bytes")
        resize_all(model, widths)

    monkeypatch.setattr(target_size, "resize_all", allocate)
    given = network()
    with raises("parameters", 10**12, "4003328692224 bytes"):
        scaled_to(10**12, given, trials_of(given, (3, 8, 8)), 1, count_parameters)


@pytest.mark.parametrize("parameters", [0, True, 2.5, "same", 10**12 + 1])
def test_other_targets_raise(parameters: object) -> None:
    with raises("parameters", repr(parameters)):
        check_target(parameters)
