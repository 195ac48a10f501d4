"""`optimize_for_inference`: equal outputs, fewer operations."""

import copy
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, load_model, save_file, save_model
from timm.layers import Conv2dSame
from timm.models.densenet import DenseNet as TimmDenseNet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import skipweave
from skipweave.layers import ConcatRead, CrossConv
from skipweave.transforms import InferenceNet, optimize_for_inference
from skipweave.transforms.memory_format import MemoryFormat
from skipweave_config.errors import SkipweaveError

SLOW = ("seqresnet_b", "seqresnext", "resnet18, sparse", "resnet18, sparse in blocks", "timm's mobilenet", "converted")
METHODS = ("forward", "forward_features", "forward_intermediates", "forward_anytime")
EXITS = dict(heads="stages")
FOUR = dict(units=(2, 3, 2, 2), growth=4, stem_width=8)
# Small networks of every family: batch norms, and how many of them stay.
OURS: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "densenet": ("densenet40_12", dict(units=3, growth=4, **EXITS), (12, 0)),
    "densenet_bc": ("densenet_bc100_12", dict(units=3, growth=4), (21, 0)),
    "densenet, imagenet": ("densenet121_32", FOUR, (23, 1)),  # node 0 is max-pooled behind a ReLU, and shown
    "densenet, dilated": ("densenet121_32", dict(output_stride=8, **FOUR), (23, 1)),
    "sparsenet_bc": ("sparsenet_bc100_24", dict(units=4, growth=4, **EXITS), (27, 0)),
    "sparsenet, imagenet": ("sparsenet201_48", dict(FOUR, units=(2, 4, 2, 2)), (25, 0)),
    "resnet": ("preact_resnet110", dict(units=2, widths=(4, 8, 12), **EXITS), (21, 9)),  # of sums
    "sparsenet_sum": ("sparsenet_sum110", dict(units=3, widths=(4, 8, 12), **EXITS), (30, 12)),
    "log v1": ("logdensenet_v1_12_16", dict(units=3, growth=4, **EXITS), (20, 0)),
    "log v1, imagenet": ("logdensenet169_v1", FOUR, (35, 1)),
    "loglog": ("loglogdensenet_12_32", dict(units=3, growth=4, hub_multiplier=3), (28, 0)),
    "log v2": ("logdensenet_v2_12_16", dict(units=3, growth=4, **EXITS), (21, 0)),
    "deluge": ("delugenet146", dict(units=3, widths=(2, 4, 6), **EXITS), (40, 2)),
    "deluge, plain": ("delugenet146", dict(units=3, widths=(2, 4, 6), cross="plain"), (30, 5)),
    "deluge, sum": ("delugenet146", dict(units=3, widths=(2, 4, 6), cross="sum", shortcut="projection"), (28, 10)),
    "deluge, imagenet": ("delugenet92", dict(units=(2, 1, 2, 1), widths=(2, 4, 6, 8)), (29, 3)),
    "seqresnet": ("seqresnet_k8_r4_n1", dict(group_size=4, widening=1, **EXITS), (64, 30)),  # raw groups go on
    "seqresnet_b": ("seqresnet_b_k16_r7_n1", dict(group_size=8, widening=1), (64, 16)),
    "seqresnext": ("seqresnext24", dict(units=1, group_size=8, subgroups=2, widths=(8, 16, 24, 32)), (55, 14)),
    "vgg": ("vgg16n", dict(widths=(4, 6, 8, 12, 16), hidden=(20,)), (14, 0)),
    "fast": ("sparsenet_fast_64", dict(growth=4, **EXITS), (12, 3)),  # those after max pools stay
    "fractal": ("fractalnet20", dict(units=3, widths=(4, 6, 8)), (9, 0)),
    "resnet, basic": ("resnet110", dict(units=2, widths=(4, 6, 8), **EXITS), (13, 0)),
    "wide resnet": ("wide_resnet28_10", dict(units=2, widths=(4, 6, 8), stem_width=4, **EXITS), (15, 9)),  # of sums
    "hardnet": (
        "hardnet68",
        dict(units=(2, 3), growth=4, widths=(8, 12), strides=(4, 8), stem_widths=(4, 8)),
        (9, 0),
    ),
    "no batch norms": ("tutorial_cifar10", dict(widths=(4, 6), hidden=(8, 8), norm_layer="none"), (0, 0)),
    "fc_densenet": ("fc_densenet103", dict(units=(1, 2, 2, 2, 1), growth=4, stem_width=6), (13, 0)),
    "fc_logdensenet": ("fc_logdensenet103", dict(units=(1, 2, 3, 2, 1), growth=4), (22, 0)),
}


def _densenet() -> nn.Module:
    return torchvision.models.DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, num_classes=5)


def _sparse(make: Callable[[], nn.Module], **options: Any) -> Callable[[], nn.Module]:
    return lambda: skipweave.sparsify(make(), 0.1, input_size=(3, 32, 32), seed=1, **options).model


def _resnet() -> nn.Module:
    return torchvision.models.resnet18(num_classes=5)


def _converted() -> nn.Module:
    return skipweave.convert(skipweave.create_model("vgg16n", widths=(4, 6, 8, 64, 64), hidden=(20,))).model


OTHERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int]]] = {
    "resnet18": (_resnet, (20, 0)),
    "resnet18, sparse": (_sparse(_resnet), (20, 0)),
    "resnet18, sparse in blocks": (_sparse(_resnet, pattern="block"), (20, 0)),
    "torchvision's densenet": (_densenet, (11, 6)),  # of maps that others read too
    "torchvision's densenet, sparse": (_sparse(_densenet), (11, 6)),
    "timm's densenet": (lambda: TimmDenseNet(growth_rate=4, block_config=(2, 2), num_classes=5), (11, 6)),
    "timm's mobilenet": (lambda: timm.create_model("mobilenetv3_small_050", num_classes=5), (34, 0)),
    "features of ours": (lambda: timm.create_model("densenet121_32", features_only=True, **FOUR), (23, 1)),
    "features of resnet18": (lambda: timm.create_model("resnet18", features_only=True), (20, 0)),
    "converted": (_converted, (54, 40)),  # a weight of 0 cannot be undone for those that read a group raw
}


def shaken(model: nn.Module) -> nn.Module:
    """In float64, with random norm statistics, scales and shifts, some scales 0."""
    torch.manual_seed(0)
    for part in model.modules():
        if isinstance(part, _BatchNorm):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
        if isinstance(part, _BatchNorm | ConcatRead | CrossConv):
            for parameter in part.parameters(recurse=False):
                nn.init.normal_(parameter, mean=0.3, std=0.5)
                parameter.data[..., 0] = 0
        elif isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_in")
    return model.double().eval()


def ours(name: str) -> nn.Module:
    row, overrides, _ = OURS[name]
    return shaken(skipweave.create_model(row, **overrides))


def results(model: nn.Module, x: Tensor) -> Iterator[Tensor]:
    for method in METHODS:
        if hasattr(model, method):
            made = getattr(model, method)(x)
            yield from tree_leaves(list(made) if isinstance(made, Iterator) else made)


def check(model: nn.Module, counts: tuple[int, int], x: Tensor) -> None:
    """Hold an optimized network to the given one, which must stay as it is."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = [parameter.requires_grad for parameter in model.parameters()]
    fast = optimize_for_inference(model, input_size=(3, 48, 48))
    assert (len(norms_of(model)), len(norms_of(fast))) == counts
    assert {*fast.folding.folded, *fast.folding.left} == norms_of(model)
    assert len(fast.folding.left) == counts[1]
    with torch.inference_mode():
        pairs = list(zip(results(fast, x), results(model, x), strict=True))
    for made, expected in pairs:
        torch.testing.assert_close(made, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)
    assert [parameter.requires_grad for parameter in model.parameters()] == trained


def norms_of(model: nn.Module) -> set[str]:
    return {name for name, part in model.named_modules() if isinstance(part, _BatchNorm)}


def some_slow(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in names]


@pytest.mark.parametrize("name", some_slow(OURS))
def test_networks_of_every_family(name: str) -> None:
    check(ours(name), OURS[name][2], torch.randn(2, 3, 45, 39, dtype=torch.float64))


@pytest.mark.parametrize("name", some_slow(OTHERS))
def test_networks_of_others(name: str) -> None:
    make, counts = OTHERS[name]
    check(shaken(make()), counts, torch.randn(2, 3, 45, 39, dtype=torch.float64))


class Counted(TorchDispatchMode):
    """Counts the operations of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found[str(func).split(".")[1]] += 1
        return func(*args, **(kwargs or {}))


def operations(model: nn.Module) -> Counter[str]:
    with torch.no_grad(), Counted() as counted:
        model(torch.randn(1, 3, 32, 32, dtype=torch.float64))  # in float64 nodes are read by torch's own operations
    return counted.found


def test_numbers_of_operations() -> None:
    """DenseNet-BC of 3 x 3 units: batch norms of 9 units' middles and of 12 nodes, and nothing else."""
    model = skipweave.create_model("densenet_bc100_12", units=3).double().eval()
    before, after = operations(model), operations(optimize_for_inference(model))
    assert (before["native_batch_norm"], after["native_batch_norm"]) == (9 + 12, 0)
    assert (before["addcmul"], before["relu_"], before["relu"]) == (9 + 2 + 1, 9 + 2 + 1, 9)
    for same in ("addcmul", "relu_", "relu", "convolution", "cat", "avg_pool2d"):
        assert before[same] == after[same]


class Toy(nn.Module):
    """A convolution, a batch norm and a 1x1 convolution, called as `run` says."""

    def __init__(self, run: Callable[["Toy", Tensor], Any], conv: nn.Module | None = None, **options: Any) -> None:
        super().__init__()
        self.run = run
        self.conv = conv or nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4, **options)
        self.relu = nn.ReLU(inplace=True)
        self.next = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


class Doubled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class Named(nn.Conv2d):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args, bias=False)


def _shared(toy: Toy, x: Tensor) -> Tensor:
    raw = toy.conv(x)
    return toy.next(toy.norm(raw)) + raw


def _twice(toy: Toy, x: Tensor) -> Tensor:
    return toy.norm(toy.next(toy.norm(toy.conv(x))))


TOYS: dict[str, tuple[Callable[[], Toy], str | None]] = {  # expected reason of the norm that is not folded, or None
    "convolution": (lambda: Toy(lambda toy, x: toy.norm(toy.conv(x))), None),
    "ReLU in place": (lambda: Toy(lambda toy, x: toy.relu(toy.norm(toy.conv(x)))), None),
    "average pool": (lambda: Toy(lambda toy, x: toy.norm(nn.AvgPool2d(2)(toy.conv(x)))), "aten.avg_pool2d"),
    "another operation": (lambda: Toy(lambda toy, x: toy.norm(toy.conv(x).abs())), "aten.abs"),
    "raw map read too": (lambda: Toy(_shared), "other readers"),
    "raw map shown": (lambda: Toy(lambda toy, x: (raw := toy.conv(x), toy.norm(raw))), "output"),
    "run twice": (lambda: Toy(_twice), "norm runs several times"),
    "convolution run twice": (lambda: Toy(lambda toy, x: toy.norm(toy.conv(x)) + toy.conv(x)), "conv runs several"),
    "joined with itself": (
        lambda: Toy(lambda toy, x: toy.norm(torch.cat([y := toy.conv(x), y], 1)), nn.Conv2d(3, 2, 3)),
        "aten.cat",
    ),
    "joined along rows": (lambda: Toy(lambda toy, x: toy.norm(torch.cat([toy.conv(x)], 2))), "aten.cat"),
    "part of the channels": (lambda: Toy(lambda toy, x: toy.norm(toy.conv(x)[:, :4]), nn.Conv2d(3, 6, 3)), "slice"),
    "part of the rows": (lambda: Toy(lambda toy, x: toy.norm(toy.conv(x)[..., 1:, :-1])), None),
    "another class that runs as its base": (lambda: Toy(lambda toy, x: toy.norm(toy.conv(x)), Named(3, 4, 3)), None),
    "timm's padding": (lambda: Toy(lambda toy, x: toy.norm(toy.conv(x)), Conv2dSame(3, 4, 3, stride=2)), None),
    "another class": (lambda: Toy(lambda toy, x: toy.norm(toy.conv(x)), Doubled(3, 4, 3)), "follows conv"),
    "weight norm": (
        lambda: Toy(lambda toy, x: toy.norm(toy.conv(x)), nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))),
        "follows conv",
    ),
    "no statistics": (
        lambda: Toy(lambda toy, x: toy.norm(toy.conv(x)), track_running_stats=False),
        "it has no running statistics",
    ),
    "never run": (lambda: Toy(lambda toy, x: toy.conv(x)), "does not run"),
}


@pytest.mark.parametrize("name", TOYS)
def test_folding_by_structure(name: str) -> None:
    make, reason = TOYS[name]
    torch.manual_seed(0)
    toy = make().double().eval()
    for part, tensor in toy.norm.state_dict().items():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5 if part == "running_var" else -1, 1)
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    fast = optimize_for_inference(toy, input_size=(3, 9, 8))
    torch.testing.assert_close(fast(x), toy(x), rtol=1e-12, atol=1e-12)
    if reason is None:
        assert (len(norms_of(fast)), fast.folding.left) == (0, {})
    else:
        assert len(norms_of(fast)) == 1
        assert reason in fast.folding.left["norm"]


SHOWN = "its input is an output of the network"


class Reading(nn.Module):
    """A convolution whose output is read by layers with their own scale and shift, combined by `run`."""

    def __init__(self, run: Callable[["Reading", Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.run = run
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.read = ConcatRead([4, 3])
        self.other = ConcatRead([4])

    def forward(self, x: Tensor) -> Any:
        return self.run(self, self.conv(x), x)


READINGS: dict[str, tuple[Callable[..., Any], str | None]] = {  # given the network, the raw map and its image
    "one reader": (lambda net, raw, x: (raw, net.read(net.norm(raw), x)), None),
    "two readers": (lambda net, raw, x: (raw, net.read(normal := net.norm(raw), x), net.other(normal)), None),
    "no reader": (lambda net, raw, x: (raw, net.norm(raw))[0], None),
    "changed in place": (
        lambda net, raw, x: (normal := net.norm(raw), raw.relu_(), net.read(normal, x))[1:],
        "its input has other readers",
    ),
    "shown": (lambda net, raw, x: (raw, normal := net.norm(raw), net.read(normal, x)), SHOWN),
    "read by others": (lambda net, raw, x: (raw, net.read(normal := net.norm(raw), x), normal * 2), SHOWN),
    "reader run twice": (lambda net, raw, x: (raw, net.read(net.norm(raw), x), net.read(raw, x)), SHOWN),
}


@pytest.mark.parametrize("name", READINGS)
def test_folding_into_readers(name: str) -> None:
    run, reason = READINGS[name]
    net, x = shaken(Reading(run)), torch.randn(2, 3, 5, 4, dtype=torch.float64)
    fast = optimize_for_inference(net, input_size=(3, 5, 4))
    torch.testing.assert_close(fast(x), net(x), rtol=1e-12, atol=1e-12)
    assert fast.folding.left == ({} if reason is None else {"norm": reason})


def test_readers_of_several_tensors_prevent_folding() -> None:
    """Another method passes another tensor to the reader, so the norm cannot be folded into the reader."""

    class Asked(Reading):
        def forward_features(self, x: Tensor) -> Tensor:
            return self.read(self.conv(x).abs(), x)

    net = shaken(Asked(lambda net, raw, x: (raw, net.read(net.norm(raw), x))))
    fast, x = optimize_for_inference(net, input_size=(3, 5, 4)), torch.randn(2, 3, 5, 4, dtype=torch.float64)
    assert "norm" in fast.folding.left
    torch.testing.assert_close([fast(x), fast.forward_features(x)], [net(x), net.forward_features(x)])


def test_modules_with_hooks_are_unchanged() -> None:
    toy = Toy(lambda toy, x: toy.norm(toy.conv(x))).eval()
    toy.conv.register_forward_hook(lambda part, args, made: made + 1)
    assert optimize_for_inference(toy, input_size=(3, 8, 8)).folding.left == {"norm": SHOWN}


@pytest.mark.parametrize("weight", [1.0, -0.01, 1e-14])
def test_batch_norms_of_converted_layers(weight: float) -> None:
    """Norms of groups are folded into their convolutions; the network's own norm inverts that, and remains."""
    model = shaken(_converted())
    for part in model.modules():
        if isinstance(part, _BatchNorm) and part.affine:
            part.weight.data[0], part.bias.data[0] = weight, 1.0
    fast = optimize_for_inference(model, input_size=(3, 48, 48))
    x = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    torch.testing.assert_close(fast(x), model(x), rtol=1e-6, atol=1e-6)
    assert len(fast.folding.left) == (5 if weight != 1e-14 else 40)
    assert len(norms_of(fast)) == len(fast.folding.left)


def test_channels_last_only_if_outputs_agree() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 36, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.norm(self.conv(x)).view(x.size(0), -1))

    model, x = shaken(Flat()), torch.randn(3, 3, 8, 8, dtype=torch.float64)
    fast = optimize_for_inference(model, input_size=(3, 8, 8))
    assert (fast.memory_format, list(fast.folding.folded)) == ("contiguous", ["norm"])
    torch.testing.assert_close(fast(x), model(x))
    with pytest.raises(SkipweaveError, match=r"channels_last.*view"):
        optimize_for_inference(model, memory_format="channels_last", input_size=(3, 8, 8))


def test_batch_norms_used_as_attributes_are_unchanged() -> None:
    class Asking(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.to(self[3].running_mean.dtype))

    layers = [layer for _ in range(6) for layer in (nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))]
    model, x = shaken(Asking(*layers)), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    fast = optimize_for_inference(model, input_size=(3, 4, 4))
    torch.testing.assert_close(fast(x), model(x))
    assert list(fast.folding.left) == ["3"]
    assert "folded, " in fast.folding.left["3"]
    assert "running_mean" in fast.folding.left["3"]


def test_networks_on_the_meta_device() -> None:
    with torch.device("meta"):
        fast = optimize_for_inference(torchvision.models.resnet18(), input_size=(3, 32, 32))
    assert (len(fast.folding.folded), len(fast.folding.left)) == (20, 0)


def test_folding_report() -> None:
    lines = str(optimize_for_inference(ours("deluge")).folding).splitlines()
    assert [int(line.split()[0]) for line in lines if not line.startswith("  ")] == [38, 2]
    reports = dict(line.strip().split(": ", 1) for line in lines if line.startswith("  "))
    assert "stages.1.entry.carry.conv" in reports["stages.1.entry.norm"]
    assert "readers" in reports["stages.1.entry.carry.norm"]


def small() -> nn.Module:
    torch.manual_seed(0)
    return skipweave.create_model("densenet_bc100_12", units=2, growth=4)


def test_results_cannot_be_trained() -> None:
    model = small().train()
    fast = optimize_for_inference(model)
    assert model.training
    assert not any(part.training for part in fast.modules())
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    with pytest.raises(SkipweaveError):
        fast.train()
    with pytest.raises(SkipweaveError):
        nn.Sequential(fast).train()
    assert fast.eval() is fast


def test_attributes_and_methods_are_kept() -> None:
    model, fast = small(), optimize_for_inference(small())
    assert isinstance(fast, InferenceNet)
    assert fast.num_classes == 10
    assert fast.pretrained_cfg == model.pretrained_cfg
    assert isinstance(fast.get_classifier(), nn.Linear)
    with pytest.raises(AttributeError, match="'color'"):
        _ = fast.color


def test_copy_and_pickle(tmp_path: Path) -> None:
    fast, x = optimize_for_inference(small(), memory_format="contiguous"), torch.randn(1, 3, 20, 20)
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert torch.equal(other(x), fast(x))
        save_file(fast.state_dict(), tmp_path / "weights.safetensors")
        for tensor in other.state_dict().values():
            tensor.zero_()
        assert not torch.equal(other(x), fast(x))
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        assert torch.equal(other(x), fast(x))


@pytest.mark.parametrize("chosen", ["contiguous", "channels_last"])
def test_safetensors(tmp_path: Path, chosen: MemoryFormat) -> None:
    one, other = (optimize_for_inference(small(), memory_format=chosen) for _ in range(2))
    for parameter in other.parameters():
        parameter.zero_()
    save_model(one, tmp_path / "weights.safetensors")
    load_model(other, tmp_path / "weights.safetensors")
    x = torch.randn(1, 3, 20, 20)
    assert torch.equal(other(x), one(x))


@pytest.mark.parametrize(
    ("make", "best"),
    [
        (small, "channels_last"),
        (_sparse(_resnet), "contiguous"),
        (_resnet, "channels_last"),
    ],
    ids=["ours", "channel-sparse", "dense"],
)
def test_default_memory_format(make: Callable[[], nn.Module], best: str) -> None:
    assert optimize_for_inference(make(), input_size=(3, 32, 32)).memory_format == best


@pytest.mark.parametrize("name", some_slow(["densenet_bc", "resnet", "deluge", "seqresnet_b", "fc_densenet"]))
@pytest.mark.parametrize("chosen", ["contiguous", "channels_last"])
def test_explicit_memory_format(name: str, chosen: MemoryFormat) -> None:
    model, x = ours(name), torch.randn(2, 3, 20, 16, dtype=torch.float64)
    layout = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}[chosen]
    fast = optimize_for_inference(model, memory_format=chosen)
    fast.network.register_forward_pre_hook(lambda part, args: seen.append(args[0].is_contiguous(memory_format=layout)))
    seen: list[bool] = []
    torch.testing.assert_close(fast(x), model(x), rtol=1e-9, atol=1e-9)
    assert seen == [True]
    assert all(p.is_contiguous(memory_format=layout) for p in fast.parameters() if p.dim() == 4)


def test_weights_in_bfloat16() -> None:
    model, x = small().eval(), torch.randn(4, 3, 32, 32)
    fast = optimize_for_inference(model, weights=torch.bfloat16)
    assert {parameter.dtype for parameter in fast.parameters()} == {torch.bfloat16}
    with torch.inference_mode():
        made, features, exits = fast(x), fast.forward_features(x), list(fast.forward_anytime(x))
        assert {part.dtype for part in (made, features, *exits)} == {torch.float32}
        assert torch.equal(made, exits[-1])
        assert torch.equal(fast.forward_head(features), made)
        torch.testing.assert_close(made, model(x), rtol=0.05, atol=0.05)
    again = optimize_for_inference(model.double(), weights=torch.float32)
    assert again(x.double()).dtype == torch.float64


def test_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda part: compiled(part, backend="aot_eager"))
    model, x = small().eval(), torch.randn(1, 3, 16, 16)
    fast = optimize_for_inference(model, compile=True)
    assert fast.network._compiled_call_impl is not None
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), model(x))


def test_exported() -> None:
    fast, x = optimize_for_inference(small()), torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(torch.export.export(fast, (x,)).module()(x), fast(x))


@pytest.mark.parametrize(
    ("make", "options", "complaint"),
    [
        (small, dict(memory_format="NHWC"), "memory_format .*'NHWC'"),
        (small, dict(weights=torch.int8), r"weights .*torch\.int8"),
        (_resnet, {}, "input_size="),
        (nn.Identity, {}, "parameters"),
        (lambda: optimize_for_inference(small()), {}, "optimized"),
        (small, dict(input_size=(4, 32, 32)), r"stem\.conv \(Conv2d\).*\(4, 32, 32\)"),
    ],
)
def test_wrong_arguments(make: Callable[[], nn.Module], options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SkipweaveError, match=complaint):
        optimize_for_inference(make(), **options)
