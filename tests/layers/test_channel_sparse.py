"""`ChannelSparseConv2d` against the dense convolution with zeros, and its state dicts and serialization."""

import copy
import io
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from skipweave.layers import ChannelSparseConv2d
from skipweave.topology import ChannelPattern, channel_patterns
from skipweave_config.errors import SkipweaveError
from tests.errors import raises

ARGUMENTS = {
    "3x3": dict(kernel_size=3, padding=1),
    "no bias": dict(kernel_size=3, bias=False),
    "1x1": dict(kernel_size=1),
    "block": dict(kernel_size=3, padding=1, density=0.25, pattern="block"),
    "grouped": dict(kernel_size=1, density=0.25, pattern="grouped"),
    "stride": dict(kernel_size=(1, 7), stride=2, padding=(0, 3)),
    "dilation": dict(kernel_size=3, padding=2, dilation=2),
    "same": dict(kernel_size=(3, 4), padding="same"),
    "valid": dict(kernel_size=5, padding="valid"),
    "reflect": dict(kernel_size=3, padding=1, padding_mode="reflect"),
    "circular": dict(kernel_size=(3, 4), padding="same", padding_mode="circular"),
}


def make(case: str = "3x3", **options: object) -> ChannelSparseConv2d:
    torch.manual_seed(0)
    layer = ChannelSparseConv2d(**{"in_channels": 12, "out_channels": 16, "seed": 1, **ARGUMENTS[case], **options})
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    return layer


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's, of its own copy
@pytest.mark.parametrize("case", ARGUMENTS)
def test_equals_a_dense_convolution_with_zeros(case: str) -> None:
    layer = make(case, dtype=torch.float64)
    dense = layer.to_dense()
    assert dense.weight.count_nonzero() == layer.weight.numel()
    x = torch.randn(2, 12, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(layer(x), dense(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x[0]), dense(x)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", ARGUMENTS)
def test_round_trip_through_a_dense_convolution(case: str) -> None:
    layer = make(case)
    options = {key: value for key, value in ARGUMENTS[case].items() if key in ("density", "pattern")}
    again = ChannelSparseConv2d.from_dense(layer.to_dense(), seed=1, **options)
    assert repr(again) == repr(layer)
    torch.testing.assert_close(again.state_dict(), layer.state_dict(), rtol=0, atol=0)
    anew = ChannelSparseConv2d.from_dense(layer.to_dense(), carry_weights=False, seed=1, **options)
    assert torch.equal(anew.index, layer.index)
    assert not torch.equal(anew.weight, layer.weight)


def test_state_dict_holds_only_existing_links() -> None:
    layer = ChannelSparseConv2d(256, 256, 3, density=0.1, bias=False)
    assert layer.fan_in == 26
    assert {name: tensor.numel() for name, tensor in layer.state_dict().items()} == {
        "weight": 256 * 26 * 9,
        "index": 256 * 26,
    }
    block = ChannelSparseConv2d(256, 256, 3, density=0.1, pattern="block")
    assert (block.block, block.index.shape) == (16, (16, 26))
    assert ChannelSparseConv2d(256, 256, 3, density=0.1, pattern="grouped").index.shape == (8, 32)


def test_initial_variance_depends_on_the_fan_in() -> None:
    layer = ChannelSparseConv2d(128, 512, 3, density=0.1)
    assert layer.weight.var().item() == pytest.approx(2 / (13 * 9), rel=0.02)
    assert not layer.bias.any()


def test_seed_determines_the_pattern() -> None:
    same, other, free = make(seed=1), make(seed=2), make(seed=None)
    assert torch.equal(same.index, make().index)
    assert not torch.equal(same.index, other.index)
    assert torch.equal(free.index, make(seed=None).index)  # torch's own seed decides
    assert torch.equal(free.index, make(seed=free.seed).index)


def test_given_pattern_is_used() -> None:
    pattern = channel_patterns.exact(12, 16, 5, seed=7, choice="uniform")
    layer = ChannelSparseConv2d(12, 16, 3, pattern=pattern)
    np.testing.assert_array_equal(layer.pattern.sources, pattern.sources)
    assert layer.fan_in == 5


@pytest.mark.parametrize("case", ["3x3", "block", "grouped"])
def test_state_dicts_are_interchangeable(case: str, tmp_path) -> None:
    layer, other = make(case), make(case, seed=2)
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    other.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    x = torch.randn(2, 12, 7, 7)
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(x), layer(x), rtol=0, atol=0)
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    torch.testing.assert_close(
        torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)(x), layer(x), rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        (lambda state: state.pop("index"), RuntimeError, "index"),
        (lambda state: state.update(index=state["index"][:, :1]), RuntimeError, "index"),
        (lambda state: state.update(weight=state["weight"][:, :1]), RuntimeError, "weight"),
        (lambda state: state.update(index=state["index"].long()), SkipweaveError, "torch.int64"),
        (lambda state: state.update(index=state["index"] + 11), SkipweaveError, "sources"),
        (lambda state: state.update(index=state["index"] * 0), SkipweaveError, "sources"),
    ],
)
def test_invalid_state_dicts_raise(change, error, named: str) -> None:
    layer = make()
    state = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    change(state)
    before = layer.index.clone()
    with pytest.raises(error, match=named):
        layer.load_state_dict(state)
    assert torch.equal(layer.index, before) or error is RuntimeError


def test_construction_on_the_meta_device() -> None:
    layer = make(device="meta")
    assert layer(torch.empty(2, 12, 9, 9, device="meta")).shape == (2, 16, 9, 9)
    loaded = make(device="meta")
    loaded.load_state_dict(make().state_dict(), assign=True)
    x = torch.randn(1, 12, 5, 5)
    torch.testing.assert_close(loaded(x), make()(x), rtol=0, atol=0)


def test_conversion_to_bfloat16() -> None:
    layer = make().to(torch.bfloat16)
    assert (layer.weight.dtype, layer.index.dtype) == (torch.bfloat16, torch.int32)
    assert layer(torch.randn(1, 12, 5, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_autocast_equals_the_dense_convolution() -> None:
    layer = make()
    x = torch.randn(2, 12, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, expected = layer(x), layer.to_dense()(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_gradcheck() -> None:
    layer = make(dtype=torch.float64)
    x = torch.randn(1, 12, 3, 3, dtype=torch.float64, requires_grad=True)
    called = lambda x, weight: torch.func.functional_call(layer, {"weight": weight}, x)  # noqa: E731
    assert torch.autograd.gradcheck(called, (x, layer.weight))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (dict(density=0.1, fan_in=2), ("density", "0.1", "fan_in", "2")),
        (dict(density=1.5), ("density", "1.5")),
        (dict(fan_in=13), ("fan_in", "13")),
        (dict(kernel_size=0), ("kernel_size", "0")),
        (dict(stride=(1, 2, 3)), ("stride", "(1, 2, 3)")),
        (dict(padding=-1), ("padding", "-1")),
        (dict(padding="same", stride=2), ("padding", "'same'", "stride", "(2, 2)")),
        (dict(padding_mode="mirror"), ("padding_mode", "'mirror'")),
        (dict(pattern="random"), ("pattern", "'random'")),
        (
            dict(pattern=channel_patterns.exact(12, 8, 2), seed=None),
            ("pattern", 12, 8),
        ),
        (dict(pattern=channel_patterns.exact(12, 16, 2), density=0.5), ("pattern", "ChannelPattern")),
    ],
)
def test_invalid_arguments_are_named(arguments: dict[str, object], named: tuple[object, ...]) -> None:
    with raises(*named):
        make(**arguments)


def test_inputs_with_another_number_of_channels_raise() -> None:
    with pytest.raises(SkipweaveError, match=re.escape("(2, 11, 5, 5)")):
        make()(torch.zeros(2, 11, 5, 5))
    with raises("groups", 2):
        ChannelSparseConv2d.from_dense(nn.Conv2d(4, 4, 1, groups=2))


def test_the_pattern_is_plain_data() -> None:
    assert isinstance(make("block").pattern, ChannelPattern)
    assert make("block").outputs_index().shape == (16, 3)
    assert "fan_in=2, pattern='exact', seed=1" in repr(make())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("pattern", ["exact", "block", "grouped"])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("grad", [False, True])
def test_non_finite_inputs_reach_every_output_that_reads_them(value, pattern, kernel, grad):
    torch.manual_seed(0)
    layer = ChannelSparseConv2d(16, 32, kernel, padding=kernel // 2, density=0.125, pattern=pattern, seed=1)
    x = torch.randn(2, 16, 5, 5)
    with torch.set_grad_enabled(grad):
        finite = layer(x)
        x[0, 3] = value
        made = layer(x)
    per_output = layer.index.repeat_interleave(32 // len(layer.index), dim=0)
    reads = (per_output == 3).any(1)
    assert 0 < reads.sum() < 32
    assert not made[0, reads].isfinite().any()
    torch.testing.assert_close(made[1], finite[1])  # other images do not change
    others = made[0, ~reads]  # NaN in the dense implementation only, see the docstring
    same = torch.isclose(others, finite[0, ~reads], rtol=1e-4, atol=1e-5)
    assert (same | others.isnan()).all()
