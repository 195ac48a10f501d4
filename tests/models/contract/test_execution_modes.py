"""Training with hooks, checkpointing, compilation and autocast: equal outputs, gradients and buffers."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

import skipweave
from skipweave.transforms.regional_compilation import compile_units

SMALL = {
    "densenet_bc100_12": dict(units=2, growth=4),
    "sparsenet_sum110": dict(units=2, widths=(4, 8, 12)),
    "logdensenet_v1_12_16": dict(units=2, growth=4),
    "delugenet146": dict(units=2, widths=(2, 4, 6)),
    "seqresnet_k8_r4_n1": dict(units=1, group_size=4, widening=1),
    "sparsenet_fast_64": dict(growth=4),
}


def with_hooks(model: nn.Module) -> nn.Module:
    """Register a hook on every layer, so that each is called as it is."""
    for layer in model.modules():
        layer.register_forward_hook(lambda *_: None)
    return model


def checkpointed(model: nn.Module) -> nn.Module:
    model.set_grad_checkpointing()
    return model


def compiled(model: nn.Module) -> nn.Module:
    torch._dynamo.reset()
    model.compile(backend="aot_eager")
    return model


def compiled_per_unit(model: nn.Module) -> nn.Module:
    torch._dynamo.reset()
    compile_units(model, backend="aot_eager")
    return model


def step(name: str, mode: Callable[[nn.Module], nn.Module], dtype: torch.dtype, autocast: bool) -> tuple[object, ...]:
    torch.manual_seed(0)
    model = timm.create_model(name, drop_rate=0.0, **SMALL[name]).to(dtype).train()
    if name.startswith("seqresnet"):  # compiled dropout draws other random numbers
        for layer in model.modules():
            layer.p = 0.0
    x = torch.randn(3, 3, 32, 32, dtype=dtype)
    mode(model)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out: Tensor = model(x)
    out.float().square().sum().backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return out, grads, dict(model.named_buffers())


@pytest.mark.parametrize("mode", [with_hooks, checkpointed])
@pytest.mark.parametrize("name", SMALL)
def test_modes_are_equal(name: str, mode: Callable[[nn.Module], nn.Module]) -> None:
    expected = step(name, lambda model: model, torch.float64, autocast=False)
    torch.testing.assert_close(step(name, mode, torch.float64, autocast=False), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", [lambda model: model, checkpointed], ids=["default", "checkpointed"])
@pytest.mark.parametrize("name", SMALL)
def test_compiled_modes_are_equal(name: str, mode: Callable[[nn.Module], nn.Module]) -> None:
    expected = step(name, lambda model: model, torch.float64, autocast=False)
    made = step(name, lambda model: compiled(mode(model)), torch.float64, autocast=False)
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", [lambda model: model, checkpointed], ids=["default", "checkpointed"])
@pytest.mark.parametrize(
    "name", [name if name == "densenet_bc100_12" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
def test_units_compiled_separately_are_equal(name: str, mode: Callable[[nn.Module], nn.Module]) -> None:
    expected = step(name, lambda model: model, torch.float64, autocast=False)
    made = step(name, lambda model: compiled_per_unit(mode(model)), torch.float64, autocast=False)
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-7)


def compiled_graphs(name: str) -> int:
    """Number of graphs that are compiled in a forward pass."""
    seen: list[object] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        seen.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model = skipweave.create_model(name).train()
    compile_units(model, backend=backend)
    model(torch.randn(2, 3, 32, 32))
    return len(seen)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_units_of_a_deep_network_share_graphs() -> None:
    assert compiled_graphs("sparsenet_bc100_12") == 24  # of 48 units
    assert compiled_graphs("sparsenet_bc1001_12") == 45  # of 498


@pytest.mark.parametrize("name", SMALL)
def test_modes_agree_under_autocast(name: str) -> None:
    """Relative error of all gradients, within the precision of bfloat16."""
    (_, expected, _), *others = (
        step(name, mode, torch.float32, autocast=True) for mode in (with_hooks, lambda m: m, checkpointed)
    )
    total = sum(grad.double().square().sum() for grad in expected.values()) ** 0.5
    for _, grads, _ in others:
        error = sum((grads[key].double() - expected[key]).square().sum() for key in expected) ** 0.5
        assert error < 0.05 * total
