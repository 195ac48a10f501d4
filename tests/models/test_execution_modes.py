"""The forms in which networks train, compiled and under autocast too: one function, one set of gradients."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

import skipweave
from skipweave.errors import SkipweaveError
from skipweave.transforms.regional_compilation import compile_units

SMALL = {
    "densenet_bc100_12": dict(units=2, growth=4),
    "sparsenet_sum110": dict(units=2, widths=(4, 8, 12)),
    "logdensenet_v1_12_16": dict(units=2, growth=4),
    "delugenet146": dict(units=2, widths=(2, 4, 6)),
    "seqresnet_k8_r4_n1": dict(units=1, group_size=4, widening=1),
}


def plain(model: nn.Module) -> nn.Module:
    """Have every layer called as it is: somebody listens."""
    for layer in model.modules():
        layer.register_forward_hook(lambda *_: None)
    return model


def lean(model: nn.Module) -> nn.Module:
    model.set_grad_checkpointing()
    return model


def compiled(model: nn.Module) -> nn.Module:
    torch._dynamo.reset()
    model.compile(backend="aot_eager")
    return model


def compiled_by_units(model: nn.Module) -> nn.Module:
    torch._dynamo.reset()
    compile_units(model, backend="aot_eager")
    return model


def step(name: str, form: Callable[[nn.Module], nn.Module], dtype: torch.dtype, autocast: bool) -> tuple[object, ...]:
    torch.manual_seed(0)
    model = timm.create_model(name, drop_rate=0.0, **SMALL[name]).to(dtype).train()
    if name.startswith("seqresnet"):  # its dropout draws anew in another order where it is compiled
        for layer in model.modules():
            layer.p = 0.0
    x = torch.randn(3, 3, 32, 32, dtype=dtype)
    form(model)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out: Tensor = model(x)
    out.float().square().sum().backward()
    return out, {n: p.grad for n, p in model.named_parameters()}, dict(model.named_buffers())


@pytest.mark.parametrize("form", [plain, lean])
@pytest.mark.parametrize("name", SMALL)
def test_forms_are_one_function(name: str, form: Callable[[nn.Module], nn.Module]) -> None:
    expected = step(name, lambda model: model, torch.float64, autocast=False)
    torch.testing.assert_close(step(name, form, torch.float64, autocast=False), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", [lambda model: model, lean], ids=["default", "lean"])
@pytest.mark.parametrize("name", SMALL)
def test_compiled_forms_are_the_same_function(name: str, form: Callable[[nn.Module], nn.Module]) -> None:
    expected = step(name, lambda model: model, torch.float64, autocast=False)
    made = step(name, lambda model: compiled(form(model)), torch.float64, autocast=False)
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", [lambda model: model, lean], ids=["default", "lean"])
@pytest.mark.parametrize(
    "name", [name if name == "densenet_bc100_12" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
def test_units_compiled_one_by_one_are_the_same_function(name: str, form: Callable[[nn.Module], nn.Module]) -> None:
    expected = step(name, lambda model: model, torch.float64, autocast=False)
    made = step(name, lambda model: compiled_by_units(form(model)), torch.float64, autocast=False)
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-7)


def compiled_forms(name: str) -> int:
    """How many graphs a compiler gets to see in a step."""
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
def test_few_units_of_a_deep_network_are_compiled() -> None:
    assert compiled_forms("sparsenet_bc100_12") == 24  # of 48 units
    assert compiled_forms("sparsenet_bc1001_12") == 45  # of 498


def test_networks_of_others_have_no_units_to_compile() -> None:
    with pytest.raises(SkipweaveError, match=r"Sequential has no units to compile one by one: use model.compile\(\)"):
        compile_units(nn.Sequential(nn.Linear(1, 1)))


@pytest.mark.parametrize("name", SMALL)
def test_forms_agree_under_autocast(name: str) -> None:
    """Within what bfloat16 leaves: the error of gradients against the plain form's, by their norm."""
    (_, expected, _), *others = (step(name, form, torch.float32, autocast=True) for form in (plain, lambda m: m, lean))
    total = sum(grad.double().square().sum() for grad in expected.values()) ** 0.5
    for _, grads, _ in others:
        error = sum((grads[key].double() - expected[key]).square().sum() for key in expected) ** 0.5
        assert error < 0.05 * total
