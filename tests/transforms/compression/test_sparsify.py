"""`sparsify`: no dead filters, costs and state dicts."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import skipweave
from skipweave.layers import ChannelSparseConv2d
from skipweave.tracing.channel_graph import channel_graph
from skipweave.tracing.replicas import trials_of
from skipweave.transforms import depth_multiplier, sparsify
from skipweave.transforms.compression.fully_connected import fully_connected_layers
from skipweave.transforms.compression.path_rule import unread
from tests.errors import raises

LAYERS = (nn.Conv2d, ChannelSparseConv2d)
NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


def dead_filters(model: nn.Module, size: tuple[int, int, int]) -> list[str]:
    """Filters without a way from the image or to the prediction, by running the network with positive weights.

    The paper's path rule, tested without any notion of a graph: weights are one over the fan-in, normalizations
    nothing, and the input of every layer is scaled to at most 1, in float64; then an activation above 0 has a way from
    the image, and a gradient above 0 one to the prediction.
    """
    model = copy.deepcopy(model).double().eval()
    made: list[tuple[str, Tensor]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda part, args, out: made.append((name, out))

    with torch.no_grad():
        for name, part in model.named_modules():
            if isinstance(part, (*LAYERS, nn.Linear)):
                part.weight.fill_(1 / part.weight[0].numel())
                if part.bias is not None:
                    part.bias.zero_()
                part.register_forward_pre_hook(lambda part, args: args[0] / args[0].detach().amax())
            if isinstance(part, LAYERS):
                part.register_forward_hook(note(name))
            if isinstance(part, NORMS):
                part.forward = lambda x, *_: x
    out = model(torch.ones(1, *size, dtype=torch.float64))
    gradients = torch.autograd.grad(out.sum(), [x for _, x in made])
    alive = [(x.amax((0, 2, 3)) > 0) & (g.sum((0, 2, 3)) > 0) for (_, x), g in zip(made, gradients, strict=True)]
    return [
        f"{name}[{i}]" for (name, _), ok in zip(made, alive, strict=True) for i in (~ok).nonzero().flatten().tolist()
    ]


def inception() -> nn.Module:
    return torchvision.models.inception_v3(aux_logits=False, init_weights=False)


def densenet() -> nn.Module:
    return skipweave.create_model("sparsenet40_12", units=4)


NETWORKS = {
    "inception": (inception, (3, 75, 75)),
    "vgg": (torchvision.models.vgg16_bn, (3, 32, 32)),
    "resnet50": (lambda: timm.create_model("resnet50"), (3, 32, 32)),
    "ours": (densenet, (3, 16, 16)),
}
SLOW = ("inception", "vgg")


@pytest.mark.parametrize(
    ("name", "density", "choice"),
    [
        pytest.param(name, density, choice, marks=[pytest.mark.slow] * (name in SLOW))
        for name in NETWORKS
        for density, choice in ((0.01, "balanced"), (0.003, "balanced"), (0.03, "uniform"))
    ],
)
def test_no_filter_is_dead(name: str, density: float, choice: str) -> None:
    make, size = NETWORKS[name]
    model = make()
    result = sparsify(model, density, choice=choice, seed=0, input_size=size)
    assert dead_filters(result.model, size) == []
    sparse = {n: part.pattern for n, part in result.model.named_modules() if isinstance(part, ChannelSparseConv2d)}
    assert unread(channel_graph(model, trials_of(model, size)), sparse) == []


def test_random_links_without_the_path_rule_leave_dead_filters() -> None:
    """And the test above would see them."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        ChannelSparseConv2d(32, 32, 3, fan_in=1, choice="uniform", seed=0),
    )
    pattern = model[3].pattern
    expected = [f"0[{i}]" for i in range(32) if pattern.readers[i] == 0]
    assert expected
    assert dead_filters(model, (3, 8, 8)) == expected


class Small(nn.Module):
    """A stem, wide layers, a depthwise and a grouped one, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 20, 3, padding=1)
        self.wide = nn.Conv2d(20, 40, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(40)
        self.each = nn.Conv2d(40, 40, 3, groups=40)
        self.mix = nn.Conv2d(40, 30, 1)
        self.groups = nn.Conv2d(30, 30, 1, groups=3)
        self.fc = nn.Linear(30, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.wide(self.stem(x))).relu()
        return self.fc(self.groups(self.mix(self.each(x))).mean((2, 3)))


SIZE = (3, 10, 10)


def test_replaced_and_kept_layers_and_cost() -> None:
    result = sparsify(Small(), 0.1, seed=0, input_size=SIZE)
    assert {layer.name: layer.change for layer in result.layers} == {
        "stem": "the first convolution",
        "wide": "reads 2 of 20",
        "each": "depthwise",
        "mix": "reads 4 of 40",
        "groups": "it has 3 groups already",
        "fc": "",
    }
    costs = {layer.name: (layer.weights, layer.macs) for layer in result.layers}
    assert costs["wide"] == ((7200, 720), (7200 * 25, 720 * 25))
    assert costs["mix"] == ((1200, 120), (1200 * 9, 120 * 9))
    assert costs["fc"] == ((150, 150), (150, 150))
    assert result.parameters[0] - result.parameters[1] == 7200 - 720 + 1200 - 120
    assert result.norms == (80, 80)
    assert "reads 4 of 40" in str(result)


def test_keep() -> None:
    result = sparsify(Small(), 0.1, keep=["m*"], input_size=SIZE)
    changed = {layer.name for layer in result.layers if layer.change.startswith("reads")}
    assert changed == {"stem", "wide"}
    assert next(layer for layer in result.layers if layer.name == "mix").change == "kept as asked"


def test_input_is_unchanged_and_weights_are_copied_on_request() -> None:
    given = Small()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    carried = sparsify(given, 0.2, seed=3, carry_weights=True, input_size=SIZE).model
    torch.testing.assert_close(dict(given.state_dict()), before, rtol=0, atol=0)
    assert isinstance(given.wide, nn.Conv2d)
    masked = torch.from_numpy(carried.wide.pattern.mask())[:, :, None, None] * given.wide.weight
    torch.testing.assert_close(carried.wide.to_dense().weight, masked, rtol=0, atol=0)
    torch.testing.assert_close(carried.fc.weight, given.fc.weight, rtol=0, atol=0)
    fresh = sparsify(given, 0.2, seed=3, input_size=SIZE).model
    assert torch.equal(fresh.wide.index, carried.wide.index)
    assert fresh.wide.weight.std().item() == pytest.approx((2 / 36) ** 0.5, rel=0.1)


def test_density_one_with_copied_weights_is_the_given_network() -> None:
    given = Small().double().eval()
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    torch.testing.assert_close(sparsify(given, 1.0, carry_weights=True, input_size=SIZE).model(x), given(x))


def test_state_dicts_load_into_networks_of_another_seed(tmp_path: Path) -> None:
    first = sparsify(Small(), 0.1, seed=1, input_size=SIZE).model.eval()
    second = sparsify(Small(), 0.1, seed=2, input_size=SIZE).model.eval()
    assert not torch.equal(first.mix.index, second.mix.index)
    save_file(first.state_dict(), tmp_path / "state.safetensors")
    second.load_state_dict(load_file(tmp_path / "state.safetensors"))
    x = torch.randn(2, *SIZE)
    torch.testing.assert_close(second(x), first(x), rtol=0, atol=0)
    assert sum(t.numel() for t in first.state_dict().values()) < 0.5 * sum(
        t.numel() for t in Small().state_dict().values()
    )


def test_seed_determines_the_pattern() -> None:
    def index(seed: int | None) -> Tensor:
        return sparsify(Small(), 0.1, seed=seed, input_size=SIZE).model.mix.index

    assert torch.equal(index(5), index(5))
    torch.manual_seed(0)
    model = Small()
    torch.manual_seed(1)
    first = sparsify(model, 0.1, input_size=SIZE).model
    torch.manual_seed(1)
    again = sparsify(model, 0.1, input_size=SIZE).model
    torch.testing.assert_close(first.state_dict(), again.state_dict(), rtol=0, atol=0)
    assert not torch.equal(first.mix.index, index(5))


@pytest.mark.parametrize("pattern", ["block", "grouped"])
def test_other_patterns(pattern: str) -> None:
    result = sparsify(Small(), 0.25, pattern=pattern, seed=0, input_size=SIZE)
    assert result.model.mix.block > 1
    assert dead_filters(result.model, SIZE) == []
    assert result.model(torch.randn(2, *SIZE)).shape == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "fan_ins"),
    [
        (dict(pattern="block"), [16, 32, 32]),
        (dict(pattern="block", multiple=8), [8, 24, 32]),
        (dict(pattern="block", multiple=1), [7, 20, 26]),
        (dict(), [7, 20, 26]),
        (dict(multiple=4), [8, 20, 28]),
        (dict(multiple=128), [64, 128, 128]),
    ],
)
def test_fan_ins_are_multiples(arguments: dict[str, Any], fan_ins: list[int]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 200, 1), nn.Conv2d(200, 256, 1), nn.Conv2d(256, 256, 1))
    sparse = sparsify(model, 0.1, path_rule=False, fully_connected=True, input_size=(3, 4, 4), **arguments).model
    assert [layer.fan_in for layer in sparse[1:]] == fan_ins


@pytest.mark.parametrize("limit", [None, 64, 16, 5, 1])
def test_blocks_are_as_large_as_inputs_and_the_limit_permit(limit: int | None) -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 40, 1), nn.Conv2d(40, 640, 1), nn.Conv2d(640, 640, 1))
    sparse = sparsify(model, 0.1, pattern="block", block=limit, fully_connected=True, input_size=(3, 4, 4)).model
    assert [layer.block for layer in sparse[1:]] == [
        max(size for size in range(1, (limit or 640) + 1) if not out % size and out // size * fan_in >= reads)
        for out, reads, fan_in in ((40, 64, 16), (640, 40, 16), (640, 640, 64))
    ]


def test_fan_in_grows_where_channels_would_have_no_reader() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 4, 1))
    result = sparsify(model, 0.01, fully_connected=True, input_size=(3, 4, 4))
    assert result.layers[1].change == "reads 16 of 64, 15 more than requested, so that every channel is read"
    assert result.model[1].pattern.readers.tolist() == [1] * 64


def test_layers_run_only_in_training_are_kept() -> None:
    with torch.device("meta"):
        model = torchvision.models.googlenet(init_weights=False)
        result = sparsify(model, 0.1, input_size=(3, 64, 64))
    aux = [layer for layer in result.layers if layer.name.startswith("aux")]
    assert {layer.change for layer in aux if layer.kind != "linear"} == {"it runs only in training"}


class Fcn(nn.Module):
    """LeNet with its fully connected layers as convolutions, and an attention by pooled channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 5)
        self.wide = nn.Conv2d(6, 16, 5)
        self.squeeze = nn.Conv2d(16, 4, 1)
        self.excite = nn.Conv2d(4, 16, 1)
        self.hidden = nn.Conv2d(16, 120, 5)
        self.last = nn.Conv2d(120, 84, 1)
        self.classifier = nn.Conv2d(84, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.stem(x).relu(), 2)
        x = nn.functional.max_pool2d(self.wide(x).relu(), 2)
        x = x * self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.classifier(self.last(self.hidden(x).relu()).relu()).mean((2, 3))


class LinearNamedFullyConnected(nn.Module):
    """A hidden layer in convolution form, and a linear layer of a name that our own networks use for a list."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.conv, self.hidden = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 32, 8)
        self.wide, self.fully_connected = nn.Conv2d(64, 64, 3, padding=1), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.wide(self.conv(x).relu()).relu()
        return self.fully_connected(self.hidden(x).relu().flatten(1))


@pytest.mark.parametrize("last", [nn.Linear(32, 10), nn.Sequential(nn.Linear(32, 10))])
def test_a_layer_may_be_named_fully_connected(last: nn.Module) -> None:
    network = LinearNamedFullyConnected(last)
    sparse = sparsify(network, 0.1, input_size=(3, 8, 8)).model
    kept = {name for name in ("conv", "hidden") if isinstance(sparse.get_submodule(name), nn.Conv2d)}
    assert (kept, type(sparse.wide)) == ({"conv", "hidden"}, ChannelSparseConv2d)
    assert skipweave.depth_multiplier(network, 0.5, input_size=(3, 8, 8)).model.wide.out_channels == 32


@pytest.mark.parametrize("kind", [list, tuple, set])
def test_a_network_names_its_fully_connected_layers(kind: Callable[[list[str]], object]) -> None:
    network = Fcn()
    network.fully_connected = kind(["last", "squeeze"])
    sparse = sparsify(network, 0.5, input_size=(1, 32, 32)).model
    kept = {name for name, part in sparse.named_modules() if isinstance(part, nn.Conv2d)}
    assert kept == {"stem", "squeeze", "last", "classifier"}


def test_fully_connected_layers_in_convolution_form_are_kept_and_counted_apart() -> None:
    result = sparsify(Fcn(), 0.5, input_size=(1, 32, 32))
    changes = {layer.name: layer.change for layer in result.layers}
    hidden = "a fully connected layer in convolution form"
    assert changes == {
        "stem": "the first convolution",
        "wide": "reads 3 of 6",
        "squeeze": hidden,
        "excite": hidden,
        "hidden": hidden,
        "last": hidden,
        "classifier": "the classifier, in convolution form",
    }
    assert result.convolution_weights == (150 + 2400, 150 + 1200)
    assert result.fully_connected_weights == (64 + 64 + 48_000 + 10_080 + 840,) * 2
    assert result.convolution_macs[0] == 150 * 28**2 + 2400 * 10**2
    assert result.fully_connected_macs == result.fully_connected_weights
    sparse = sparsify(Fcn(), 0.5, fully_connected=True, input_size=(1, 32, 32))
    assert sparse.fully_connected_weights[1] == result.fully_connected_weights[1] // 2
    assert sparse.convolution_weights == result.convolution_weights


@pytest.mark.parametrize(
    ("make", "size", "expected"),
    [
        (lambda: torchvision.models.squeezenet1_1(), (3, 64, 64), ["classifier.1"]),
        (lambda: timm.create_model("resnetv2_50x1_bit", num_classes=10), (3, 64, 64), ["head.fc"]),
        (lambda: timm.create_model("resnet10t", num_classes=0), (3, 32, 32), []),
        (lambda: timm.create_model("resnet26", num_classes=10), (3, 32, 32), []),
        (inception, (3, 75, 75), []),
        (lambda: skipweave.create_model("vgg16n"), (3, 224, 224), []),
        (lambda: skipweave.create_model("tutorial_cifar10"), (3, 50, 50), ["head.hidden.2.conv", "head.hidden.3.conv"]),
    ],
)
def test_classifiers_and_hidden_layers_of_known_networks(
    make: Callable[[], nn.Module], size: tuple[int, ...], expected: list[str]
) -> None:
    """Also where maps of convolutions have one position, because images are small."""
    with torch.device("meta"):
        model = make()
    trials = trials_of(model, size)
    assert sorted(fully_connected_layers(model, trials)) == expected


@pytest.mark.parametrize(
    ("density", "filters", "fan_in", "hidden"),
    [(0.3, 18, 10, 20), (0.1, 11, 4, 7), (0.01, 4, 1, 1), (0.001, 2, 1, 1)],
)
def test_the_papers_rule_for_layers_of_one_filter(density: float, filters: int, fan_in: int, hidden: int) -> None:
    """Of 32 filters of one channel, ceil(sqrt(density) 32) remain; other layers read density of their full width."""
    model = skipweave.create_model("tutorial_mnist")
    result = sparsify(model, density, choice="uniform", one_filter="sqrt", fully_connected=True, path_rule=False)
    weights = {layer.name: layer.weights[1] for layer in result.layers}
    assert weights["stem.conv"] == 25 * filters
    assert weights["stages.1.layers.0.conv"] == 25 * 64 * fan_in
    assert weights["head.hidden.2.conv"] == 49 * 512 * hidden
    assert result.parameters[1] == sum(weights.values()) + 10 + 2 * (filters + 64 + 512)
    images = torch.randn(4, 1, 28, 28)
    result.model(images).sum().backward()
    assert all(parameter.grad is not None for parameter in result.model.parameters())


def test_layers_of_one_output_read_the_root_of_the_density() -> None:
    model = nn.Sequential(nn.Conv2d(3, 100, 1), nn.Conv2d(100, 1, 3), nn.Conv2d(1, 50, 3, bias=False))
    options = dict(density=0.04, path_rule=False, input_size=(3, 8, 8))
    assert sparsify(model, **options).model[1].fan_in == 4
    result = sparsify(model, one_filter="sqrt", **options)
    assert result.model[1].fan_in == 20
    assert result.model[2].out_channels == 50  # computes the output, whose size stays
    kept = sparsify(Fcn(), 0.1, one_filter="sqrt", keep=["stem"], input_size=(1, 32, 32))
    assert kept.model.stem.out_channels == 6


class Summed(nn.Module):
    """A sum of two layers, of which the first reads one channel."""

    def __init__(self, channels: int, deep: bool) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 100, 1)
        self.other = nn.Conv2d(100 if deep else channels, 100, 1)
        self.deep = deep
        self.head = nn.Sequential(nn.Conv2d(100, 20, 1), nn.ReLU(), nn.Conv2d(20, 5, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.one(x[:, :1])
        return self.head(one + self.other(one if self.deep else x))


@pytest.mark.parametrize("density", [0.3, 0.01, 0.0002, 1])
@pytest.mark.parametrize(("channels", "deep"), [(1, False), (3, False), (1, True)])
def test_layers_of_one_channel_in_sums(density: float, channels: int, deep: bool) -> None:
    """Both layers of a sum lose filters if both read one channel; otherwise neither does."""
    options = dict(one_filter="sqrt", path_rule=False, input_size=(channels, 4, 4))
    model = sparsify(Summed(channels, deep), density, **options).model
    filters = math.ceil(100 * math.sqrt(density)) if channels == 1 and not deep else 100
    assert (model.one.out_channels, model.other.out_channels, model.head[0].in_channels) == (filters,) * 3


def test_hybrid_of_the_paper() -> None:
    narrow = depth_multiplier(Small(), 0.5, rule="ceil", input_size=SIZE).model
    model = sparsify(narrow, 0.1, input_size=SIZE).model
    assert tuple(model.wide.weight.shape) == (20, 1, 3, 3)
    assert model(torch.randn(2, *SIZE)).shape == (2, 5)


def test_shared_convolutions_remain_shared() -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1)
    model = sparsify(nn.Sequential(nn.Conv2d(3, 8, 1), conv, nn.ReLU(), conv), 0.25, input_size=SIZE).model
    assert model[1] is model[3]


def test_a_sparse_network_trains() -> None:
    torch.manual_seed(0)
    model = sparsify(Small(), 0.2, input_size=SIZE).model
    images, labels = torch.randn(8, *SIZE), torch.arange(8) % 5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_sparse_networks_are_rejected() -> None:
    with raises("wide"):
        sparsify(sparsify(Small(), 0.5, input_size=SIZE).model, 0.1, input_size=SIZE)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (dict(density=0), ("density", 0)),
        (dict(density=1.5), ("density", 1.5)),
        (dict(rounding="floor"), ("rounding", "'floor'")),
        (dict(one_filter="root"), ("one_filter", "'root'")),
        (dict(one_filter="sqrt", carry_weights=True), ("one_filter", "carry_weights")),
        (dict(multiple=0), ("multiple", 0)),
        (dict(multiple=2.5), ("multiple", 2.5)),
        (dict(pattern="block", block=0), ("block", 0)),
        (dict(pattern="exact", block=2), ("wide", "pattern", "'exact'")),
        (dict(keep=["middle"]), ("keep", "'middle'")),
        (dict(keep="stem"), ("keep", "'stem'")),
        (dict(keep=5), ("keep", 5)),
        (dict(keep=[3]), ("keep", "[3]")),
        (dict(keep=["stem", None]), ("keep", "None")),
        (dict(path_rule="no"), ("path_rule", "'no'")),
        (dict(fully_connected=1), ("fully_connected", 1)),
        (dict(carry_weights="no"), ("carry_weights", "'no'")),
        (dict(carry_weights="no", path_rule=None), ("carry_weights", "path_rule", None)),
        *((dict(seed=seed), ("seed", repr(seed))) for seed in (-1, "a", 1.5, True)),
        (dict(pattern="grouped", choice="uniform"), ("choice", "'uniform'", "'grouped'")),
        (dict(keep=["*"]), ("stem", "wide", "mix")),
        (dict(pattern="blocks"), ("wide", "pattern", "'blocks'")),
        (dict(input_size=None), ("input_size",)),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], named: tuple[object, ...]) -> None:
    with raises(*named):
        sparsify(Small(), **{"density": 0.1, "input_size": SIZE, **arguments})
