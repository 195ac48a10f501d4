"""Tracers, hooks, modes and `torch.func` on every family and transform, against the reference definitions.

The reference definitions run if no execution counts as eager: torch's operators only.
"""

import copy
import pickle
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.tensorboard import SummaryWriter
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

import skipweave
from skipweave.layers import ChannelSparseConv2d
from skipweave.ops import eager_execution
from skipweave_config.errors import SkipweaveError

FAMILIES = {
    "densenet40_12": dict(units=2, growth=4),
    "densenet_bc100_12": dict(units=2, growth=4),
    "sparsenet121_32": dict(units=2, growth=4),
    "sparsenet_sum110": dict(units=2, widths=(4, 8, 12)),
    "preact_resnet56": dict(units=2, widths=(4, 8, 12)),
    "logdensenet_v1_12_16": dict(units=2, growth=4),
    "logdensenet_v2_12_16": dict(units=2, growth=4),
    "loglogdensenet_12_32": dict(units=2, growth=4),
    "seqresnet_k8_r4_n1": dict(units=1, group_size=8, widening=1),
    "seqresnext24": dict(units=1, group_size=8, widths=(8, 16, 32, 64), subgroups=2),
    "delugenet146": dict(units=2, widths=(2, 4, 6)),
    "delugenet92": dict(units=2, widths=(2, 4, 6, 8), cross="plain"),
    "fc_densenet56": dict(units=(2, 2, 2), growth=4, stem_width=8),
    "fc_logdensenet103": dict(units=(2, 2, 2), growth=4, heads="last"),
    "tutorial_mnist": dict(widths=(4, 4), hidden=(8,), in_chans=3),
    "vgg16n": dict(widths=(4, 4, 4, 4, 4), hidden=(8,)),
    "sparsenet_fast_64": dict(units=2, growth=4),
    "wide_resnet28_10": dict(units=1, widths=(4, 6, 8), stem_width=4),
    "resnext29_8x64d": dict(units=1, widths=(8, 12, 16), cardinality=2, base_width=32, stem_width=4),
    "fractalnet20": dict(units=3, widths=(4, 6, 8)),
    "hardnet68": dict(units=(2, 3), growth=4, widths=(8, 12), strides=(4, 8), stem_widths=(4, 8)),
}


class Plain(nn.Module):
    """A network without modules of skipweave."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.conv2, self.norm2 = nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.conv3, self.norm3 = nn.Conv2d(32, 48, 1, bias=False), nn.BatchNorm2d(48)
        self.fc = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)) + x)
        return self.fc(F.relu(self.norm3(self.conv3(x))).mean((2, 3)))


SIZE = (3, 32, 32)
TRANSFORMED: dict[str, Callable[[], nn.Module]] = {
    "sparsify": lambda: skipweave.sparsify(Plain(), 0.1, input_size=SIZE, keep=["conv1"]).model,
    "sparsify blocks": lambda: (
        skipweave.sparsify(Plain(), 0.25, pattern="block", block=8, input_size=SIZE, keep=["conv1"]).model
    ),
    "depth_multiplier": lambda: skipweave.depth_multiplier(Plain(), 0.5, input_size=SIZE).model,
    "convert": lambda: skipweave.convert(Plain(), group_size=8, min_width=32).model,
    "optimize_for_inference": lambda: skipweave.optimize_for_inference(Plain().eval(), input_size=SIZE),
    "optimize_for_inference of ours": lambda: skipweave.optimize_for_inference(made("densenet_bc100_12").eval()),
    "grad_checkpointing": lambda: checkpointed(made("sparsenet121_32")),
}
NETWORKS = [*FAMILIES, *TRANSFORMED]
INFERENCE_ONLY = [name for name in NETWORKS if name.startswith("optimize_for_inference")]


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name in TRANSFORMED:
        return TRANSFORMED[name]()
    model = skipweave.create_model(name, **FAMILIES[name])
    for part in model.modules():  # random numbers depend on the mode of execution
        if isinstance(part, nn.Dropout | nn.Dropout2d):
            part.p = 0.0
    return model


def checkpointed(model: nn.Module) -> nn.Module:
    model.set_grad_checkpointing()
    return model


def inputs(count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, *SIZE, generator=generator) for _ in range(count)]


@contextmanager
def definition() -> Iterator[None]:
    """Run the reference definitions only."""
    with patch.object(eager_execution, "_has_state", lambda _: False):
        yield


MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "grad": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "frozen": nullcontext,
    "training": nullcontext,
}


def in_mode(name: str, mode: str) -> nn.Module:
    model = made(name).train(mode == "training")
    return model.requires_grad_(False) if mode == "frozen" else model


def assert_same(ours: object, expected: object, dtype: torch.dtype = torch.float32) -> None:
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


def by_jit(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return torch.jit.trace(model, x, check_trace=False)


def by_make_fx(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return make_fx(model)(x)


def by_symbolic_trace(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return torch.fx.symbolic_trace(model)


def by_features(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    last = get_graph_node_names(model)[1][-1]
    extractor = create_feature_extractor(model, [last])
    return lambda images: extractor(images)[last]


def by_copy(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return copy.deepcopy(model)


def by_pickle(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return pickle.loads(pickle.dumps(model))


def by_export(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return torch.export.export(model, (x,)).module()


def by_compile(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    torch._dynamo.reset()
    return torch.compile(model, backend="aot_eager", fullgraph=True)


class SeesOperators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.convolutions = 0

    def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
        self.convolutions += any(part in func.name() for part in ("conv", "mm", "matmul"))
        return func(*args, **(kwargs or {}))


class SeesFunctions(TorchFunctionMode):
    def __torch_function__(self, func, kinds, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def by_dispatch_mode(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    def run(images: Tensor) -> Tensor:
        with SeesOperators() as seen:
            made = model(images)
        assert seen.convolutions >= sum(isinstance(part, nn.Conv2d | ChannelSparseConv2d) for part in model.modules())
        return made

    return run


def by_function_mode(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    def run(images: Tensor) -> Tensor:
        with SeesFunctions():
            return model(images)

    return run


def by_vmap(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda images: torch.func.vmap(lambda image: model(image[None])[0])(images)


QUICK = [by_jit, by_make_fx, by_symbolic_trace, by_features, by_copy, by_pickle, by_dispatch_mode, by_function_mode]
QUICK += [by_vmap]


def modes(name: str) -> list[str]:
    return [mode for mode in MODES if mode != "training" or name not in INFERENCE_ONLY]


def assert_seen(observe: Callable[..., Callable[[Tensor], Tensor]], name: str, mode: str) -> None:
    x, other = inputs()
    model = in_mode(name, mode)
    if name in INFERENCE_ONLY and observe in (by_symbolic_trace, by_features):
        with pytest.raises(SkipweaveError):
            observe(model, x)
        model = model.network
    with MODES[mode]():
        with definition():
            expected = model(other)
        observed = observe(model, x)
        assert_same(observed(other), expected)


IN_SLOW_TESTS = ("grad", "inference_mode", "frozen")


@pytest.mark.filterwarnings("ignore")  # deprecation warnings of torch's tracers
@pytest.mark.parametrize(
    "mode", [mode if mode not in IN_SLOW_TESTS else pytest.param(mode, marks=pytest.mark.slow) for mode in MODES]
)
@pytest.mark.parametrize("observe", QUICK)
@pytest.mark.parametrize("name", NETWORKS)
def test_observers(observe: Callable[..., Callable[[Tensor], Tensor]], name: str, mode: str) -> None:
    if mode == "training" and observe is by_vmap:
        pytest.skip("not supported by torch's batch norm")
    if mode not in modes(name):
        pytest.skip("for inference only")
    assert_seen(observe, name, mode)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("observe", [by_export, by_compile])
@pytest.mark.parametrize("mode", ["training", "no_grad"])
@pytest.mark.parametrize("name", NETWORKS)
def test_exporters_and_compilers(observe: Callable[..., Callable[[Tensor], Tensor]], name: str, mode: str) -> None:
    if mode not in modes(name):
        pytest.skip("for inference only")
    assert_seen(observe, name, mode)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx(name: str, dynamo: bool, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    x, other = (
        F.interpolate(part, scale_factor=3) for part in inputs()
    )  # it does not support adaptive pools of other sizes
    model, path = made(name).eval(), tmp_path / "model.onnx"
    with torch.no_grad():
        torch.onnx.export(model, (x,), path, dynamo=dynamo, input_names=["x"])
        (seen,) = runtime.InferenceSession(path).run(None, {"x": other.numpy()})
        assert_same(torch.from_numpy(seen), model(other))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in INFERENCE_ONLY])
def test_tensorboard_and_quantization(name: str, tmp_path: Path) -> None:
    x, other = inputs()
    model = made(name).eval()
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_graph(model, x)
    quantized = prepare_fx(copy.deepcopy(model), get_default_qconfig_mapping("x86"), (x,))
    assert_same(quantized(other), model(other))  # observers alone
    quantized = convert_fx(quantized)
    assert any("quantized" in type(part).__module__ for part in quantized.modules())
    assert quantized(other).shape == model(other).shape


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [name for name in FAMILIES if not name.startswith(("fc_", "logdensenet_v1", "loglog", "tutorial"))]
)
def test_timm_features_by_fx(name: str) -> None:
    (x,) = inputs(1)
    ours, graph = (
        skipweave.create_model(name, features_only=True, **FAMILIES[name], **options).eval()
        for options in ({}, {"feature_cls": "fx"})
    )
    graph.load_state_dict(ours.state_dict(), strict=False)
    assert [part.shape for part in graph(x)] == [part.shape for part in ours(x)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["densenet_bc100_12", "sparsify", "seqresnet_k8_r4_n1"])
def test_compiled_as_one_graph(name: str) -> None:
    assert_seen(by_compile, name, "no_grad")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_fake_tensors(name: str) -> None:
    (x,) = inputs(1)
    for mode in modes(name):
        model = in_mode(name, mode)
        expected = model(x).shape
        with MODES[mode](), FakeTensorMode(allow_non_fake_inputs=True):
            assert model(torch.empty(x.shape)).shape == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_flop_counter(name: str) -> None:
    (x,) = inputs(1)
    for mode in modes(name):
        model, totals = in_mode(name, mode), []
        for form in (nullcontext, definition):
            with MODES[mode](), form(), FlopCounterMode(display=False) as counter:
                model(x)
            totals.append(counter.get_total_flops())
        assert totals[0] == totals[1] > 0


@pytest.mark.filterwarnings("ignore")  # of torch's forward-mode AD
@pytest.mark.parametrize("name", NETWORKS)
def test_forward_mode_ad(name: str) -> None:
    x, direction = (part.double() for part in inputs())
    for mode in ("grad", "no_grad", "frozen", "training"):
        if mode not in modes(name):
            continue
        model, tangents = in_mode(name, mode).double(), []
        for form in (nullcontext, definition):
            with MODES[mode](), form(), forward_ad.dual_level():
                made = forward_ad.unpack_dual(model(forward_ad.make_dual(x, direction)))
                tangents.append(made.tangent)
        assert tangents[0].abs().sum() > 0
        assert_same(tangents[0], tangents[1], torch.float64)
        if mode == "training":  # torch.func does not support updates of running statistics
            continue
        with MODES[mode]():
            assert_same(torch.func.jvp(model, (x,), (direction,))[1], tangents[1], torch.float64)


def curvature(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Gradients of the squared length of the gradient."""
    parameters = [x, *(parameter for parameter in model.parameters() if parameter.requires_grad)]
    gradients = torch.autograd.grad(model(x).square().sum(), parameters, create_graph=True, allow_unused=True)
    length = sum(gradient.square().sum() for gradient in gradients if gradient is not None)
    return [*torch.autograd.grad(length, parameters, allow_unused=True)]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", NETWORKS)
def test_second_derivatives(name: str, training: bool) -> None:
    if training and name in INFERENCE_ONLY:
        pytest.skip("for inference only")
    x = inputs(1)[0].double().requires_grad_()
    ours = curvature(made(name).double().train(training), x)
    with definition():
        expected = curvature(made(name).double().train(training), x)
    scale = max(part.abs().max() for part in expected if part is not None)  # some are 0 up to rounding
    for one, other in zip(ours, expected, strict=True):
        if one is not None or other is not None:
            assert_same(one / scale, other / scale, torch.float32 if name in INFERENCE_ONLY else torch.float64)


@pytest.mark.filterwarnings("ignore")  # of operators without a batching rule
@pytest.mark.parametrize("name", NETWORKS)
def test_batched_gradients(name: str) -> None:
    x = inputs(1)[0].requires_grad_()
    out = made(name).eval()(x).flatten(1)[:, :3]
    (together,) = torch.autograd.grad(out, x, torch.eye(6).view(6, 2, 3), is_grads_batched=True, retain_graph=True)
    apart = [torch.autograd.grad(entry, x, retain_graph=True)[0] for entry in out.flatten()]
    assert_same(together, torch.stack(apart))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in INFERENCE_ONLY])
def test_per_sample_gradients(name: str) -> None:
    (x,) = inputs(1)
    model = made(name).eval()
    weights = {key: value.detach() for key, value in model.named_parameters()}

    def loss(given: dict[str, Tensor], image: Tensor) -> Tensor:
        return torch.func.functional_call(model, given, (image[None],)).square().mean()

    together = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0), randomness="same")(weights, x)
    for at, image in enumerate(x):
        model.zero_grad()
        model(image[None]).square().mean().backward()
        apart = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
        assert_same({key: together[key][at] for key in apart}, apart)


def trained(model: nn.Module, x: Tensor) -> list[Tensor]:
    out = model(x.clone().requires_grad_())
    out.square().mean().backward()
    return [out.detach(), *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("name", NETWORKS)
def test_hooks_run_and_change_nothing(name: str) -> None:
    (x,) = inputs(1)
    for training in (True, False):
        if training and name in INFERENCE_ONLY:
            continue
        expected = trained(made(name).train(training), x)
        model, forward, backward = made(name).train(training), set(), set()
        leaves = {part for part in model.modules() if not [*part.children()]}
        for part in leaves:
            part.register_forward_hook(lambda part, *_, seen=forward: seen.add(part))
            part.register_full_backward_hook(lambda part, *_, seen=backward: seen.add(part))
        assert_same(trained(model, x), expected)
        called = {part for part in leaves if not isinstance(part, nn.Identity | nn.ModuleList | nn.Sequential)}
        assert called <= forward
        assert {part for part in called if any(True for _ in part.parameters())} <= backward


@pytest.mark.parametrize("name", NETWORKS)
def test_replaced_forward_is_called(name: str) -> None:
    (x,) = inputs(1)
    for training in (True, False):
        if training and name in INFERENCE_ONLY:
            continue
        model, called = made(name).train(training), set()
        convolutions = [part for part in model.modules() if type(part) is nn.Conv2d]
        for part in convolutions:

            def forward(self, given, seen=called):
                seen.add(self)
                return F.conv2d(given, 0 * self.weight, None, self.stride, self.padding, self.dilation, self.groups)

            part.forward = types.MethodType(forward, part)
        model(x)
        assert called == set(convolutions)


@pytest.mark.parametrize("name", NETWORKS)
def test_global_hook_is_called(name: str) -> None:
    (x,) = inputs(1)
    model, seen = made(name), set()
    model.train(name not in INFERENCE_ONLY)
    handle = register_module_forward_hook(lambda part, *_: seen.add(part))
    try:
        model(x)
    finally:
        handle.remove()
    assert {part for part in model.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d)} <= seen
