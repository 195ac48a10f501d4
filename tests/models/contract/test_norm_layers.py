"""`norm_layer` in every family: equal to a plain definition, independent of the other images of a batch."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

import skipweave
from skipweave.analysis.memory import saved_bytes
from skipweave.analysis.operation_counts import count
from skipweave.layers import ConcatRead, CrossRead, GroupNorm2d, SeqConv2d, SumRead
from skipweave.training.auxiliary_heads import AllHeads
from tests.errors import raises

FAMILIES = {
    "sparsenet40_24": dict(units=3, growth=4, heads="stages"),
    "densenet_bc100_12": dict(units=2, growth=4),
    "densenet121_32": dict(units=2, growth=4),
    "sparsenet_sum110": dict(units=2, widths=(4, 8, 12)),
    "preact_resnet56": dict(units=2, widths=(4, 8, 12)),
    "logdensenet_v1_12_16": dict(units=2, growth=4, heads="stages"),
    "logdensenet_v2_12_16": dict(units=2, growth=4),
    "loglogdensenet_12_32": dict(units=2, growth=4),
    "seqresnet_k8_r4_n1": dict(units=1, group_size=8, widening=1),
    "seqresnext24": dict(units=1, group_size=8, widths=(8, 16, 32, 64), subgroups=2),
    "delugenet146": dict(units=2, widths=(2, 4, 6)),
    "delugenet92": dict(units=2, widths=(2, 4, 6, 8), cross="plain"),
    "fc_densenet56": dict(units=(2, 2, 2), growth=4, stem_width=8),
    "fc_logdensenet103": dict(units=(2, 2, 2), growth=4),
    "vgg16n": dict(widths=(4, 4, 4, 4, 4), hidden=(8,)),
    "sparsenet_fast_64": dict(units=2, growth=4, heads="stages"),
    "resnet9_fast": dict(units=2, growth=4, topology="dense"),
    "wide_resnet28_10": dict(units=1, widths=(4, 6, 8), stem_width=4),
    "resnext29_8x64d": dict(units=1, widths=(8, 12, 16), cardinality=2, base_width=32, stem_width=4),
    "fractalnet20": dict(units=3, widths=(4, 6, 8)),
    "hardnet68": dict(units=(2, 3), growth=4, widths=(8, 12), strides=(4, 8), stem_widths=(4, 8)),
}
NORMS = ["group", "layer"]
CLASSIFIERS = [name for name in FAMILIES if not name.startswith("fc_")]


class PlainNorm(nn.Module):
    """Mean and variance of each image and group, then weight and bias."""

    def __init__(self, norm: GroupNorm2d) -> None:
        super().__init__()
        self.groups, self.eps, self.weight, self.bias = norm.num_groups, norm.eps, norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        grouped = x.unflatten(1, (self.groups, -1))
        mean = grouped.mean((2, 3, 4), keepdim=True)
        var = (grouped - mean).square().mean((2, 3, 4), keepdim=True)
        normalized = ((grouped - mean) / (var + self.eps).sqrt()).flatten(1, 2)
        if self.weight is None:
            return normalized
        return normalized * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class PlainRead(nn.Module):
    """Concatenation or sum of nodes, with the norm of the reader or its scale and shift, then ReLU."""

    def __init__(self, read: nn.Module) -> None:
        super().__init__()
        self.read = read

    def forward(self, *nodes: Tensor) -> Tensor:
        if isinstance(self.read, ConcatRead):
            x = torch.cat(nodes, dim=1)
            return (x * self.read.weight.view(-1, 1, 1) + self.read.bias.view(-1, 1, 1)).relu()
        return self.read.norm(self.read.cross(*nodes) if isinstance(self.read, CrossRead) else sum(nodes)).relu()


def build(name: str, norm_layer: object, **overrides: object) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(name, norm_layer=norm_layer, **FAMILIES[name], **overrides)
    for part in model.modules():
        if isinstance(part, nn.Dropout | nn.Dropout2d):
            part.p = 0.0
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 0.5)
    return model.train()


def plain(model: nn.Module) -> nn.Module:
    made = copy.deepcopy(model)
    for name, part in list(made.named_modules()):
        if isinstance(part, GroupNorm2d):
            made.set_submodule(name, PlainNorm(part))
    for name, part in list(made.named_modules()):
        if isinstance(part, ConcatRead | SumRead | CrossRead):
            made.set_submodule(name, PlainRead(part))
    return made


def images(count: int = 3, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def outputs(model: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    return tuple(AllHeads(model)(x))


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    sum(out.square().mean() for out in outputs(model, x)).backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("norm_layer", NORMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_equal_to_a_plain_definition(name: str, norm_layer: str) -> None:
    model = build(name, norm_layer).double()
    reference = plain(model)
    x = images().double()
    torch.testing.assert_close(outputs(model, x), outputs(reference, x))
    torch.testing.assert_close(gradients(model, x), gradients(reference, x))
    torch.testing.assert_close(outputs(model.eval(), x), outputs(reference.eval(), x))


@pytest.mark.parametrize("norm_layer", NORMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_an_image_s_output_does_not_depend_on_the_batch(name: str, norm_layer: str) -> None:
    model = build(name, norm_layer).double()
    x = images().double()
    together, alone = outputs(model, x), outputs(model, x[1:2])
    torch.testing.assert_close([out[1:2] for out in together], list(alone))
    torch.testing.assert_close(outputs(model.eval(), x), together)
    assert not dict(model.named_buffers())


@pytest.mark.parametrize("name", FAMILIES)
def test_with_activation_checkpointing(name: str) -> None:
    model = build(name, "group").double()
    x = images().double()
    expected = gradients(model, x)
    if not hasattr(model, "set_grad_checkpointing"):
        pytest.skip("without activation checkpointing")
    model.zero_grad()
    model.set_grad_checkpointing()
    torch.testing.assert_close(gradients(model, x), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_and_operations_are_those_of_batch_norm(name: str) -> None:
    with torch.device("meta"):
        models = [timm.create_model(name, norm_layer=norm, **FAMILIES[name]) for norm in ("batch", *NORMS)]
        default = timm.create_model(name, **FAMILIES[name])
        shapes, *others = [{key: p.shape for key, p in model.named_parameters()} for model in models]
        assert others == [shapes, shapes]
        assert models[0].state_dict().keys() == default.state_dict().keys()
        counts = [count(model, torch.empty(1, 3, 32, 32)) for model in models]
    assert counts[1:] == counts[:1] * 2


@pytest.mark.parametrize("name", ["sparsenet40_24", "densenet_bc100_12", "sparsenet_sum110", "delugenet146"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_no_more_is_saved_for_the_backward_pass_than_with_batch_norm(name: str, checkpointing: bool) -> None:
    saved = []
    for norm_layer in ("batch", "group"):
        with torch.device("meta"):
            model = timm.create_model(name, norm_layer=norm_layer, **FAMILIES[name])
            model.set_grad_checkpointing(checkpointing)
            saved.append(saved_bytes(model, torch.empty(2, 3, 32, 32)))
    assert saved[1] <= 1.01 * saved[0]  # statistics are per image


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_feature_maps_and_other_classifiers(name: str) -> None:
    x = images(1)
    features = timm.create_model(name, norm_layer="group", features_only=True, **FAMILIES[name])
    assert [out.shape[1] for out in features(x)] == features.feature_info.channels()
    model = build(name, "group")
    model.reset_classifier(7)
    assert model(x).shape == (1, 7)


TRANSFORMED = ["sparsenet40_24", "densenet_bc100_12", "delugenet146", "seqresnet_k8_r4_n1", "fc_densenet56", "vgg16n"]


@pytest.mark.parametrize("norm_layer", NORMS)
@pytest.mark.parametrize("name", TRANSFORMED)
def test_optimized_for_inference(name: str, norm_layer: str) -> None:
    model = build(name, norm_layer).eval()
    x = images()
    optimized = skipweave.optimize_for_inference(model, input_size=(3, 32, 32))
    assert not optimized.folding.folded
    torch.testing.assert_close(optimized(x), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TRANSFORMED)
def test_sparsified(name: str) -> None:
    sparse = skipweave.sparsify(build(name, "group"), 0.5, input_size=(3, 32, 32), seed=0).model
    torch.testing.assert_close(sparse(images())[:1], sparse(images()[:1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "alpha"), [("vgg16n", 1.5), ("preact_resnet56", 0.5)])
def test_groups_follow_the_width_of_a_depth_multiplier(name: str, alpha: float) -> None:
    narrow = skipweave.depth_multiplier(build(name, "group"), alpha, rule="ceil", input_size=(3, 32, 32)).model
    norms = [part for part in narrow.modules() if isinstance(part, GroupNorm2d)]
    assert norms
    assert all(norm.num_groups == GroupNorm2d(norm.num_channels).num_groups for norm in norms)
    assert narrow(images(1)).shape == (1, narrow.num_classes)


def test_converted_layers_have_the_given_norm() -> None:
    torch.manual_seed(0)
    model = timm.create_model("vgg16n", norm_layer="group", widths=(4, 6, 8, 64, 64), hidden=(20,))
    converted = skipweave.convert(model, norm_layer="group", input_size=(3, 32, 32)).model
    assert any(isinstance(part, SeqConv2d) for part in converted.modules())
    assert not dict(converted.named_buffers())
    torch.testing.assert_close(converted(images())[:1], converted(images(3)[:1]), rtol=1e-4, atol=1e-4)
    with raises("norm_layer", "'instance'"):
        skipweave.convert(model, norm_layer="instance")


@pytest.mark.parametrize("name", ["tutorial_mnist", "tutorial_cifar10"])
def test_networks_of_the_tutorials_have_norms_or_biases(name: str) -> None:
    """A norm has a weight and a bias per channel, where the tutorial has a bias; the classifier has no norm."""
    with torch.device("meta"):
        kinds = {norm: skipweave.create_model(name, norm_layer=norm) for norm in ("batch", "group", "none")}
    widths = sum(part.out_channels for part in kinds["none"].modules() if isinstance(part, nn.Conv2d))
    parameters = {norm: sum(p.numel() for p in model.parameters()) for norm, model in kinds.items()}
    assert parameters["batch"] == parameters["group"] == parameters["none"] + widths
    norms = [sum(isinstance(part, nn.BatchNorm2d) for part in model.modules()) for model in kinds.values()]
    assert norms == [sum(isinstance(part, nn.Conv2d) for part in kinds["none"].modules()), 0, 0]


@pytest.mark.parametrize("name", FAMILIES)
def test_an_unknown_norm_raises_with_other_mistakes(name: str) -> None:
    with raises("norm_layer", "'instance'", "in_chans", 0):
        skipweave.create_model(name, norm_layer="instance", in_chans=0)
