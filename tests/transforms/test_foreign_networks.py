"""Unusual networks: each transform keeps structure and values of outputs, or refuses with a reason."""

import copy
import dataclasses
import random
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import skipweave
from skipweave.layers import ChannelSparseConv2d
from skipweave_config.errors import SkipweaveError
from tests.errors import raises
from tests.transforms.transforms import TRANSFORMS, assert_alike, shaken

SIZE = dict(input_size=(3, 16, 16))
ALL = tuple(TRANSFORMS)
Refusals = dict[str, str]


class Net(nn.Module):
    """Two convolutions with batch norms and a linear layer, run as `run` says."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        self.a, self.n = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.b, self.m = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 10)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the last map before its batch norm."""
        raw = self.b(F.relu(self.n(self.a(x))))
        return self.fc(F.relu(self.m(raw)).mean((2, 3))), raw

    def logits(self, x: Tensor) -> Tensor:
        return self.raw(x)[0]


def layers(*more: nn.Module, **options: Any) -> nn.Sequential:
    first = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(first, second, *more, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


Pair = namedtuple("Pair", ["logits", "features"])


@dataclasses.dataclass
class Record:
    logits: Tensor
    features: Tensor


class Holder:
    def __init__(self, logits: Tensor, features: Tensor) -> None:
        self.logits, self.features = logits, features


HOLDERS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tuple": lambda *both: both,
    "list": lambda *both: list(both),
    "dict": lambda logits, raw: dict(logits=logits, raw=raw),
    "ordered dict": lambda logits, raw: OrderedDict(raw=raw, logits=logits),
    "namedtuple": Pair,
    "dataclass": Record,
    "object": Holder,
    "nested": lambda logits, raw: [dict(a=(logits, None)), Holder(raw, raw)],
    "numpy": lambda logits, raw: (logits, raw.numpy(force=True)),
}


def results(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
    with torch.no_grad():
        return model.eval()(*args, **kwargs)


@pytest.mark.parametrize(
    ("holder", "transform"),
    [
        pytest.param(holder, transform, marks=[pytest.mark.slow] * (holder == "numpy" and transform != "convert"))
        for holder in HOLDERS
        for transform in ALL
    ],
)
def test_output_containers(holder: str, transform: str) -> None:
    model = shaken(Net(lambda net, x: HOLDERS[holder](*net.raw(x))))
    made, x = TRANSFORMS[transform](model, **SIZE), torch.randn(3, 3, 16, 16)
    assert_alike(results(made, x), results(model, x), values=transform == "optimize_for_inference")


def _keep_attribute(net: Net, x: Tensor) -> Tensor:
    logits, net.features = net.raw(x)
    return logits


def _keep_in_object(net: Net, x: Tensor) -> Tensor:
    logits, raw = net.raw(x)
    net.features = Holder(raw, logits)
    return logits


def _keep_in_buffer(net: Net, x: Tensor) -> Tensor:
    logits, raw = net.raw(x)
    net.n.running.copy_(raw.mean((0, 2, 3)))
    return logits


@pytest.mark.parametrize("transform", ALL)
@pytest.mark.parametrize("keep", [_keep_attribute, _keep_in_object, _keep_in_buffer])
def test_stored_activations(keep: Callable[[Net, Tensor], Tensor], transform: str) -> None:
    model = shaken(Net(keep))
    if keep is _keep_in_buffer:
        model.n.register_buffer("running", torch.zeros(16))
    if keep is _keep_in_buffer and transform == "depth_multiplier":
        with raises("n"):
            TRANSFORMS[transform](model, **SIZE)
        return
    made, x = TRANSFORMS[transform](model, **SIZE), torch.randn(3, 3, 16, 16)
    values = transform == "optimize_for_inference"
    assert not hasattr(model, "features")
    assert_alike(results(made, x), results(model, x), values=values)
    if keep is not _keep_in_buffer:
        assert_alike(made.features, model.features, values=values)


HELD: list[Tensor] = []


def test_activations_stored_by_other_modules_are_not_folded() -> None:
    def hold(net: Net, x: Tensor) -> Tensor:
        logits, raw = net.raw(x)
        HELD[:] = [raw]
        return logits

    model, x = shaken(Net(hold)).eval(), torch.randn(3, 3, 16, 16)
    fast = skipweave.optimize_for_inference(model, **SIZE)
    (_, expected), (_, made) = [(results(net, x), HELD[0]) for net in (model, fast)]
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


def _view(net: Net, x: Tensor, size: Callable[[Tensor], tuple[int, int]]) -> Tensor:
    x = F.max_pool2d(F.relu(net.n(net.a(x))), 8)
    return net.head(x.view(*size(x)))


def _sized(net: Net, x: Tensor) -> Tensor:
    raw = net.a(x)
    y = F.relu(net.n(raw))
    return net.fc(F.relu(net.m(net.b(y + raw if x.shape[-1] > 20 else y))).mean((2, 3)))


def _matching(net: Net, x: Tensor) -> Tensor:
    y = F.relu(net.n(net.a(x)))
    z = net.b(y)
    return net.fc(F.relu(net.m(z + y if y.shape[1] == 16 else z)).mean((2, 3)))


def _functional(net: Net, x: Tensor) -> Tensor:
    x = F.conv2d(F.relu(net.n(net.a(x))), net.b.weight, padding=1)
    return net.fc(F.relu(net.m(x)).mean((2, 3)))


def _both(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.n(net.a(x)))
    return net.fc(F.relu(net.m(net.b(x) + F.conv2d(x, net.b.weight, padding=1))).mean((2, 3)))


def _asks_its_norm(net: Net, x: Tensor) -> Tensor:
    return net.logits(x.to(net.n.weight.dtype)).view(x.shape[0], -1, net.m.num_features // net.m.num_features)


def _prefilled(net: Net, x: Tensor) -> Tensor:
    out = x.new_zeros(x.shape[0], 32, *x.shape[2:])
    out[:, :16] = net.a(x)
    out[:, 16:] = net.b(F.relu(net.n(out[:, :16].clone())))
    return out.mean((2, 3))[:, :2] + net.fc(net.m(out[:, 16:]).mean((2, 3)))[:, :2]


def _random(net: Net, x: Tensor) -> Tensor:
    noise = torch.rand(x.shape[0], 1, 1, 1) + random.random() + float(np.random.rand())
    return F.dropout(net.logits(x + noise), 0.5, training=True)


def _changed_in_place(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    y[:, :4].relu_()
    return net.fc(net.m(net.b(net.n(y))).mean((2, 3)))


def _both_signs(net: Net, x: Tensor) -> Tensor:
    y = net.eight(x)
    return net.fc(net.m(net.b(F.relu(torch.cat([y, -y], 1)))).mean((2, 3)) + 0 * net.n(net.a(x)).mean((2, 3)))


def _detached(net: Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = net.b(F.relu(net.n(net.a(x)))).detach()
    return net.fc(net.m(y).mean((2, 3)))


def _fixed(_: Tensor) -> tuple[int, int]:
    return -1, 64


def _free(x: Tensor) -> tuple[int, int]:
    return x.size(0), -1


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Refusals]] = {
    "plain": (lambda: Net(Net.logits), {}),
    "view of a fixed size": (
        lambda: Net(lambda net, x: _view(net, x, _fixed) + 0 * net.logits(x), head=nn.Linear(64, 10)),
        {"depth_multiplier": "narrow"},
    ),
    "view of a free size": (
        lambda: Net(lambda net, x: _view(net, x, _free) + 0 * net.logits(x), head=nn.Linear(64, 10)),
        {},
    ),
    "other ways for larger images": (lambda: Net(_sized), {}),
    "other ways for fewer channels": (lambda: Net(_matching), {"depth_multiplier": "narrow"}),
    "functional use of a weight": (
        lambda: Net(_functional),
        dict.fromkeys(["sparsify", "convert", "depth_multiplier"], r"\bb\b.*weight"),
    ),
    "functional use besides": (
        lambda: Net(_both),
        dict.fromkeys(["sparsify", "convert", "depth_multiplier"], r"\bb\b.*weight"),
    ),
    "attributes of norms": (lambda: Net(_asks_its_norm), {}),
    "written into a map": (lambda: Net(_prefilled), {}),
    "random": (lambda: Net(_random), {}),
    "changed in place": (lambda: Net(_changed_in_place), {}),
    "both signs": (lambda: Net(_both_signs, eight=nn.Conv2d(3, 8, 3, padding=1)), {}),
    "detached": (lambda: Net(_detached), {}),
    "norm over pixels": (
        lambda: layers(nn.Conv2d(16, 16, 1), nn.LayerNorm([16, 16, 16])),
        {"depth_multiplier": r"\b3 .*\(16, 16, 16\)"},
    ),
    "transposed": (lambda: layers(nn.ConvTranspose2d(16, 16, 2, 2), nn.BatchNorm2d(16)), {}),
    "shared module": (lambda: layers(*[nn.Conv2d(16, 16, 1)] * 2), {}),
    "hard activations": (lambda: layers(nn.Hardtanh(), nn.Conv2d(16, 16, 1), nn.Softshrink(), nn.Hardswish()), {}),
    "graph module": (lambda: torch.fx.symbolic_trace(layers()), {}),
    "lazy, but run": (lambda: _run_once(layers(nn.LazyConv2d(16, 3, padding=1, bias=False), nn.LazyBatchNorm2d())), {}),
    "bfloat16": (lambda: layers(nn.MaxPool2d(2)).bfloat16(), {}),
    "float16": (lambda: layers(nn.MaxPool2d(2)).half(), {}),
    "float64": (lambda: layers(nn.MaxPool2d(2)).double(), {}),
}


def _run_once(model: nn.Module) -> nn.Module:
    model(torch.randn(2, 3, 16, 16))
    return model


@pytest.mark.parametrize("transform", ALL)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, transform: str) -> None:
    make, refusals = NETWORKS[name]
    model = shaken(make())
    before = copy.deepcopy(model)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[2]
    if transform in refusals:
        with pytest.raises(SkipweaveError, match=refusals[transform]):
            TRANSFORMS[transform](model, **SIZE)
        made = None
    else:
        made = TRANSFORMS[transform](model, **SIZE)
    if transform == "optimize_for_inference":
        assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[2]) == states[1:]
    assert [part.training for part in model.modules()] == [part.training for part in before.modules()]
    torch.testing.assert_close(dict(model.state_dict()), dict(before.state_dict()), rtol=0, atol=0)
    one_size = name in ("view of a fixed size", "view of a free size", "norm over pixels")
    for shape in ((3, 3, 16, 16), (5, 3, 16, 16), *([] if one_size else [(2, 3, 24, 24)])) if made else ():
        x = torch.randn(shape).to(next(model.parameters()).dtype)
        expected, found = [seeded(net, x) for net in (model, made)]
        assert_alike(found, expected, values=transform == "optimize_for_inference" and model_is_exact(name))


def model_is_exact(name: str) -> bool:
    return name not in ("bfloat16", "float16")


def seeded(model: nn.Module, x: Tensor) -> Any:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    return results(model, x)


INPUTS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], Refusals]] = {
    "two tensors": (
        lambda: Net(lambda net, x, y: net.logits(x + y)),
        dict(example_inputs=(torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16))),
        {},
    ),
    "a tensor": (lambda: Net(Net.logits), dict(example_inputs=torch.randn(2, 3, 16, 16)), {}),
    "a dict": (
        lambda: Net(lambda net, batch: net.logits(batch["image"]) * batch["weight"]),
        dict(example_inputs=({"image": torch.randn(2, 3, 16, 16), "weight": torch.rand(2, 1)},)),
        {},
    ),
    "keyword arguments": (
        lambda: Net(lambda net, *, image, scale=1.0: net.logits(image) * scale),
        dict(example_inputs=dict(image=torch.randn(2, 3, 16, 16), scale=2.0)),
        {},
    ),
    "a list of images": (
        lambda: Net(lambda net, images: [net.logits(image[None]) for image in images]),
        dict(example_inputs=([torch.randn(3, 16, 16), torch.randn(3, 20, 12)],)),
        {},
    ),
    "whole numbers": (
        lambda: Net(lambda net, x: net.logits(x.float() / 255)),
        dict(example_inputs=torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)),
        {},
    ),
    "two tensors, one of them given": (
        lambda: Net(lambda net, x, y: net.logits(x + y)),
        SIZE,
        dict.fromkeys(ALL, "'y'"),
    ),
    "signals": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 16, 3), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 8, 3), nn.BatchNorm1d(8), nn.Flatten(2)
        ),
        dict(input_size=(3, 20)),
        dict.fromkeys(["sparsify", "convert"], "Conv1d"),
    ),
    "videos": (
        lambda: nn.Sequential(
            nn.Conv3d(3, 16, 3), nn.BatchNorm3d(16), nn.ReLU(), nn.Conv3d(16, 8, 3), nn.BatchNorm3d(8), nn.Flatten(2)
        ),
        dict(input_size=(3, 6, 10, 10)),
        dict.fromkeys(["sparsify", "convert"], "Conv3d"),
    ),
}


@pytest.mark.parametrize("transform", ALL)
@pytest.mark.parametrize("name", INPUTS)
def test_inputs(name: str, transform: str) -> None:
    make, inputs, refusals = INPUTS[name]
    model = shaken(make())
    if transform in refusals:
        with pytest.raises(SkipweaveError, match=refusals[transform]):
            TRANSFORMS[transform](model, **inputs)
        return
    made = TRANSFORMS[transform](model, **inputs)
    example = inputs.get("example_inputs")
    if example is None:
        example = torch.randn(3, *inputs["input_size"])
    args, kwargs = (), {}
    if isinstance(example, dict):
        kwargs = example
    else:
        args = example if isinstance(example, tuple) else (example,)
    values = transform == "optimize_for_inference"
    assert_alike(results(made, *args, **kwargs), results(model, *args, **kwargs), values=values)
    if values and name in ("signals", "videos"):
        assert len(made.folding.folded) == 2


def _locked() -> nn.Module:
    model = layers()
    model.lock = Lock()
    return model


def _spread() -> nn.Module:
    model = layers()
    model[1].to("meta")
    return model


KINDS: dict[str, tuple[Callable[[], Any], str]] = {
    "no module": (lambda: torch.relu, "function"),
    "scripted": (lambda: torch.jit.script(layers()), "scripted"),
    "traced": (lambda: torch.jit.trace(layers().eval(), torch.zeros(1, 3, 16, 16)), "scripted"),
    "partly scripted": (lambda: layers(torch.jit.script(nn.ReLU())), "2 .*scripted"),
    "lazy": (lambda: layers(nn.LazyConv2d(16, 1)), "2 .*lazy"),
    "compiled": (lambda: torch.compile(layers()), "compiled"),
    "data parallel": (lambda: nn.DataParallel(layers()), "DataParallel"),
    "quantized": (lambda: layers(torch.ao.nn.quantized.Conv2d(16, 16, 1)), "2 .*quantized"),
    "devices": (_spread, r"0\.0\.weight on cpu, 1\.0\.weight on meta"),
    "not to be copied": (_locked, "Sequential"),
}


@pytest.mark.parametrize("transform", ALL)
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_unsupported_module_types(name: str, transform: str) -> None:
    make, words = KINDS[name]
    with pytest.raises(SkipweaveError, match=words):
        TRANSFORMS[transform](make(), **SIZE)


def test_weights_in_bfloat16_of_outputs_in_a_dataclass() -> None:
    """Their dtype cannot be restored."""
    model = Net(lambda net, x: Record(*net.raw(x)))
    with pytest.raises(SkipweaveError, match=r"output\.logits .*torch\.bfloat16"):
        skipweave.optimize_for_inference(model, weights=torch.bfloat16, **SIZE)


@pytest.mark.parametrize("activation", [nn.Hardtanh(), nn.ReLU6(), nn.Hardsigmoid(), nn.Hardswish(), nn.Tanhshrink()])
def test_sparsify_leaves_no_dead_channel_behind_any_activation(activation: nn.Module) -> None:
    """Each of 96 channels of 32 layers that are added is read, whatever they add up to."""

    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 96, 1)
            self.steps = nn.ModuleList(nn.Conv2d(96, 96, 1) for _ in range(4))
            self.last = nn.Conv2d(96, 96, 1)
            self.act = activation

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for step in self.steps:
                x = x + step(self.act(x))
            return self.last(self.act(x)).mean((2, 3))

    model = skipweave.sparsify(Sums(), 0.02, choice="uniform", fully_connected=True, seed=0, input_size=(3, 4, 4)).model
    read = {name: part.pattern.readers for name, part in model.named_modules() if isinstance(part, ChannelSparseConv2d)}
    assert (sum(read.values()) > 0).all()
    assert (read["last"] > 0).all()


def test_deques_are_containers() -> None:
    model = shaken(Net(lambda net, x: deque(net.raw(x))))
    fast, x = skipweave.optimize_for_inference(model, **SIZE), torch.randn(2, 3, 16, 16)
    assert_alike(list(results(fast, x)), list(results(model, x)), values=True)
