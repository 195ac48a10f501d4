"""SeqResNets: outputs of the released code, initialization, and options."""

import math
import re

import pytest
import torch
from torch import Tensor, nn

import skipweave
from skipweave import topology
from skipweave.analysis.operation_counts import count
from skipweave.layers import ResidualBlock, SeqConv2d
from skipweave.models import SeqResNet
from tests.errors import raises

CIFAR = dict(group_size=8, widths=(32, 64, 96), units=(1, 2, 1))
IMAGENET = dict(stem="imagenet", widening=1, group_size=(16, 32, 32, 64), bottleneck=True)
# Outputs of the authors' code with the weights of `fill`: parameters, tensors, logits of the first image, sum of all.
GOLDEN = {
    "SeqResNet": (CIFAR, 32, 391386, 402, [16.515761, 1.728606, -8.006409, 16.638568, 9.523034], 50.381431),
    "SeqResNet, dense": (
        dict(windowed=False, **CIFAR),
        32,
        545754,
        402,
        [7.661191, -0.432555, -9.931753, -2.700101, 9.981918],
        -5.914052,
    ),
    "SeqResNet-B": (
        dict(units=(2, 1, 1, 1), **IMAGENET),
        64,
        2476394,
        797,
        [5.405443, -3.175342, 3.378446, 0.939229, 2.149178],
        28.666344,
    ),
    "SeqResNeXt as released": (
        dict(units=(1, 1, 2, 1), subgroups=(4, 4, 2, 2), extension_twice=True, **IMAGENET),
        64,
        1921130,
        877,
        [0.605490, -12.442675, 1.217075, 1.099019, 7.868999],
        -17.325576,
    ),
}


def formula(number: int, shape: torch.Size) -> Tensor:
    """Values in [-1, 1] determined by the index of the tensor and the position in it."""
    j = torch.arange(1, shape.numel() + 1)
    u = (7919 * j * j + 104729 * j + 1299709 * (number + 1)) % 1000003
    return (2 * u.double() / 1000003 - 1).view(shape)


def fill(model: nn.Module) -> int:
    """Set every tensor, in the order of execution, by the formula; return their number."""
    tensors = {name: value for name, value in model.state_dict().items() if "num_batches" not in name}
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for number, (name, tensor) in enumerate(tensors.items()):
        owner, _, kind = name.rpartition(".")
        value = formula(number, tensor.shape)
        if kind in ("bias", "running_mean"):
            value = 0.1 * value
        elif kind == "running_var":
            value = 1 + 0.5 * value
        elif owner in norms:
            value = 1 + 0.25 * value
        else:
            factor = 6 if tensor.dim() == 4 else 3
            value = value * math.sqrt(factor / tensor[0].numel())
        tensor.copy_(value)
    return len(tensors)


@pytest.mark.parametrize("name", GOLDEN)
def test_outputs_of_the_released_code(name: str) -> None:
    arguments, side, parameters, tensors, logits, total = GOLDEN[name]
    model = SeqResNet(**arguments).double().eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert fill(model) == tensors
    with torch.no_grad():
        found = model(formula(-1, torch.Size((2, 3, side, side))))
    torch.testing.assert_close(found[0, :5], torch.tensor(logits, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.sum().item(), total, rtol=0, atol=2e-6)


def test_extension_twice_changes_outputs_but_not_counts() -> None:
    arguments = dict(units=1, subgroups=(4, 4, 2, 2), **IMAGENET)
    paper, released = (SeqResNet(extension_twice=twice, **arguments).eval() for twice in (False, True))
    released.load_state_dict(paper.state_dict())
    image = torch.randn(1, 3, 64, 64)
    assert not torch.allclose(paper(image), released(image))
    assert count(paper, image) == count(released, image)


def test_blocks_are_initialized_as_the_identity() -> None:
    for bottleneck in (False, True):
        model = SeqResNet(group_size=8, widening=1, bottleneck=bottleneck)
        block = model.stages[0].units[0]
        raw = torch.randn(2, 16, 8, 8)
        after, activated = block(raw, raw.relu())
        torch.testing.assert_close(after, raw, rtol=0, atol=0)
        torch.testing.assert_close(activated, nn.BatchNorm2d(16)(raw).relu(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("head_init", "bound"), [("glorot", math.sqrt(6 / (336 + 10))), ("released", math.sqrt(3 / 10))]
)
def test_initialization(head_init: str, bound: float) -> None:
    torch.manual_seed(0)
    model = skipweave.create_model("seqresnet_b_k16_r7_n1", head_init=head_init)
    zero = [name for name, p in model.named_parameters() if p.dim() == 4 and not p.any()]
    assert all(re.fullmatch(r"stages\.\d\.units\.\d\.second\.groups\.\d+\.make\.conv\.weight", name) for name in zero)
    assert len(zero) == 7 + 14 + 21
    convolution = model.stages[1].entry.downsize.conv.weight
    assert convolution.abs().max().item() == pytest.approx(math.sqrt(6 / (224 * 9)), rel=1e-3)
    assert model.head.fc.weight.abs().max().item() == pytest.approx(bound, rel=1e-2)
    assert not model.head.fc.bias.any()


def test_dropout_is_where_the_released_code_has_it() -> None:
    model = SeqResNet(drop_rate=0.2, proj_drop_rate=0.1)
    rates = {name: part.p for name, part in model.named_modules() if isinstance(part, nn.Dropout2d)}
    assert rates.pop("stages.0.entry.layer.drop") == 0
    assert rates.pop("norm.drop") == 0.2
    assert set(rates.values()) == {0.1}
    assert len(rates) == 2 * 3 + 2
    registered = skipweave.create_model("seqresnet_k8_r4_n1")
    assert (registered.norm.drop.p, registered.stages[0].units[0].first.drop.p) == (0.1, 0.1)
    assert not any(part.p for part in _dropouts(skipweave.create_model("seqresnet_b22", widening=1)))


def test_dropout_of_layers_is_of_elements_of_their_input() -> None:
    model = SeqResNet(drop_rate=0.2, proj_drop_rate=0.1, dropout="layer")
    rates = [part.p for part in model.modules() if type(part) is nn.Dropout]
    assert [part.p for part in _dropouts(model)] == [0.0]  # of the opening
    assert sorted(rates) == [0.0, *[0.1] * 8, 0.2]  # zero: of the head, behind the final unit


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("seqresnet_k8_r3_n1_2_1_dense", dict(widening=3, units=(1, 2, 1), windowed=False)),
        ("seqresnet_k16_r4_n1", dict(group_size=16)),
        ("seqresnet_k16_r3_n1_2_2", dict(group_size=16, widening=3, units=(1, 2, 2))),
    ],
)
def test_variants_of_table_5_equal_the_overrides_of_the_ledger(name: str, overrides: dict[str, object]) -> None:
    with torch.device("meta"):
        registered = skipweave.create_model(name)
        overridden = skipweave.create_model("seqresnet_k8_r4_n1", **overrides)
    assert str(registered) == str(overridden)


def _dropouts(model: nn.Module) -> list[nn.Dropout2d]:
    return [part for part in model.modules() if isinstance(part, nn.Dropout2d)]


@pytest.mark.parametrize(
    ("windowed", "blocks", "extensions"), [(True, True, True), (False, False, False), ("extensions", False, True)]
)
def test_windowed_layers(windowed: object, blocks: bool, extensions: bool) -> None:
    model = SeqResNet(windowed=windowed, widening=1)
    layers = {name: part for name, part in model.named_modules() if isinstance(part, SeqConv2d)}
    assert not layers.pop("stages.0.entry.layer").windowed
    assert {part.windowed for name, part in layers.items() if "units" in name} == {blocks}
    assert {part.windowed for name, part in layers.items() if "extension" in name} == {extensions}


def test_topologies_of_the_stages() -> None:
    windowed = SeqResNet(widening=1, units=2)
    assert [stage.topology for stage in windowed.stages] == [
        topology.window(4 * groups, size=groups) for groups in (2, 4, 6)
    ]
    dense = SeqResNet(widening=1, windowed=False).stages[0].topology
    assert dense.reads == ((0,), (1, 0), (2, 1), (3, 2, 1), (4, 3))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (dict(group_size=7), ("width", 64, "stage 0", "stage 2")),
        (dict(subgroups=2), ("subgroups", 2, "stage 0")),
        (dict(subgroups=3, bottleneck=True), ("subgroups", 3, "stage 0")),
        (dict(widths=(32, 32, 64)), ("widths", 32)),
        (dict(extension_twice=True), ("widths", 128, 192)),
        (dict(windowed="no", units=0), ("units", 0, "windowed", "'no'")),
        (dict(dropout="all", head_init="he"), ("dropout", "'all'", "head_init", "'he'")),
    ],
)
def test_invalid_arguments_are_named(arguments: dict[str, object], named: tuple[object, ...]) -> None:
    with raises(*named):
        skipweave.create_model("seqresnet_k8_r4_n1", **arguments)


def test_every_parameter_gets_a_gradient() -> None:
    model = SeqResNet(widening=1, proj_drop_rate=0.1)
    nn.functional.cross_entropy(model(torch.randn(4, 3, 8, 8)), torch.arange(4)).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []
    assert isinstance(model.stages[0].units[0], ResidualBlock)
