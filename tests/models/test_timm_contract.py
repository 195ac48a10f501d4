"""Every registered network keeps timm's conventions, tested through timm."""

import re

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

import skipweave
from skipweave.errors import SkipweaveError
from skipweave.layers import Stage
from skipweave.models.registry import register_variants
from skipweave.models.sparsenet import SparseNet

ALL = skipweave.list_models()
# A small stand-in for each way of building: the arguments that make a row cheap, nothing else changed.
SMALL = {
    "densenet40_12": dict(units=3),
    "sparsenet100_16_32_64": dict(units=4, growth=(4, 6, 8)),
    "sparsenet_bc100_24": dict(units=4, growth=8),
    "densenet121_32": dict(units=(2, 3, 4, 2), growth=8, stem_width=16),
    "sparsenet201_48": dict(units=(2, 3, 4, 2), growth=8, stem_width=8),
    "preact_resnet110": dict(units=2, widths=(4, 8, 12)),
    "sparsenet_sum110": dict(units=3, widths=(4, 8, 12)),
    "logdensenet_v1_12_16": dict(units=3, growth=4),
    "loglogdensenet_12_32": dict(units=3, growth=4, hub_multiplier=3),
    "logdensenet_v2_12_16": dict(units=3, growth=4),
    "logdensenet169_v1": dict(units=(2, 3, 4, 2), growth=8),
    "logdensenet169": dict(units=(2, 3, 4, 2), growth=8),
    "delugenet146": dict(units=3, widths=(2, 4, 6)),
    "delugenet92": dict(units=(2, 3, 4, 2), widths=(4, 6, 8, 12)),
    "seqresnet_k8_r4_n1": dict(units=2, group_size=4, widening=1),
    "seqresnet_b_k16_r7_n1": dict(units=2, group_size=8, widening=1),
    "seqresnext24": dict(units=(2, 2, 3, 2), group_size=8, subgroups=2, widths=(16, 32, 64, 128)),
    "vgg16n": dict(widths=(4, 6, 8, 12, 16), hidden=(20,)),
}
IMAGENET = ["densenet121_32", "sparsenet201_48", "logdensenet169_v1", "logdensenet169", "delugenet92", "seqresnext24"]
DILATED = ["densenet121_32", "sparsenet201_48", "delugenet92"]
WITHOUT_PROJ_DROP = ["preact_resnet110", "sparsenet_sum110", "delugenet146", "delugenet92", "vgg16n"]
WITH_EXITS = [name for name in SMALL if name != "vgg16n"]
REDUCTIONS = {"vgg16n": [1, 2, 4, 8, 16], **{name: [2, 4, 8, 16, 32] for name in IMAGENET}}


def small(name: str, **overrides: object) -> nn.Module:
    return timm.create_model(name, **{**SMALL[name], **overrides})


def images(model: nn.Module, size: int = 64, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, model.in_chans, size, size, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]


def test_the_registry_holds_the_papers_rows() -> None:
    assert len(ALL) == 116
    assert {f"sparsenet_sum{d}" for d in (56, 110, 200, 1001, 2000)} <= set(ALL)
    assert skipweave.list_models("sparsenet1*_32") == ["sparsenet121_32", "sparsenet169_32"]
    assert skipweave.list_models("preact_resnet") == [f"preact_resnet{d}" for d in (56, 110, 164, 200, 1001, 2000)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * bool(re.search("1001|2000", name))) for name in ALL]
)
def test_every_row_builds_without_memory(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    modules = dict(model.named_modules())
    for layer in (model.pretrained_cfg["first_conv"], model.pretrained_cfg["classifier"]):
        assert f"{layer}.weight" in model.state_dict()
        assert layer in modules


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in SMALL)) for name in ALL])
def test_every_row_runs_without_memory(name: str) -> None:
    """Those whose operations are printed run for `tests/analysis/test_ledger_check.py`, too."""
    with torch.device("meta"):
        model = timm.create_model(name).eval()
        logits = model(torch.empty(1, *model.pretrained_cfg["input_size"]))
    assert logits.shape[:2] == (1, model.pretrained_cfg["num_classes"])


@pytest.mark.parametrize("name", SMALL)
def test_features_and_head(name: str) -> None:
    model = small(name).eval()
    x = images(model)
    features = model.forward_features(x)
    assert features.shape[1] == model.num_features
    torch.testing.assert_close(model.forward_head(features), model(x), rtol=0, atol=0)
    assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
    assert model.get_classifier().in_features == model.head_hidden_size


@pytest.mark.parametrize("name", SMALL)
def test_classifier_can_be_replaced_and_left_out(name: str) -> None:
    model = small(name, num_classes=0).eval()
    x = images(model)
    assert model(x).shape == (2, model.head_hidden_size)
    model.reset_classifier(7)
    assert model(x).shape == (2, 7)
    assert model.num_classes == 7
    model.reset_classifier(0, "")
    assert model(x).shape == model.forward_features(x).shape
    model.reset_classifier(3, "catavgmax")
    assert model(x).shape == (2, 3)
    with pytest.raises(SkipweaveError, match="a classifier needs pooling"):
        model.reset_classifier(3, "")


@pytest.mark.parametrize("name", SMALL)
def test_other_channels(name: str) -> None:
    model = small(name, in_chans=1).eval()
    assert model(images(model)).shape == (2, model.num_classes)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [32, 45, (40, 56)])
def test_any_size(name: str, size: int | tuple[int, int]) -> None:
    model = small(name).eval()
    shape = (size, size) if isinstance(size, int) else size
    assert model(torch.randn(1, 3, *shape)).shape == (1, model.num_classes)


@pytest.mark.parametrize("name", SMALL)
def test_features_only(name: str) -> None:
    model = small(name, features_only=True).eval()
    maps = model(torch.randn(1, 3, 64, 64))
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert [64 // m.shape[-1] for m in maps] == model.feature_info.reduction()
    assert model.feature_info.reduction() == REDUCTIONS.get(name, [1, 2, 4])
    chosen = small(name, features_only=True, out_indices=(0, -1)).eval()
    assert [m.shape[1] for m in chosen(torch.randn(1, 3, 64, 64))] == [maps[0].shape[1], maps[-1].shape[1]]


@pytest.mark.parametrize("name", SMALL)
def test_checkpointing_changes_nothing(name: str) -> None:
    states = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = small(name, drop_rate=0.1, **({} if name in WITHOUT_PROJ_DROP else dict(proj_drop_rate=0.2)))
        model.set_grad_checkpointing(recompute)
        model.train()
        torch.manual_seed(1)
        for _ in range(2):
            loss = model(images(model)).square().sum()
            loss.backward()
        states.append((loss, dict(model.named_buffers()), {n: p.grad for n, p in model.named_parameters()}))
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", WITH_EXITS)
def test_exits(name: str) -> None:
    torch.manual_seed(0)
    model = small(name, heads="stages").eval()
    x = images(model)
    stages = len(model.feature_info) - (name in IMAGENET)
    logits = list(model.forward_anytime(x))
    assert [tuple(out.shape) for out in logits] == [(2, model.num_classes)] * stages
    torch.testing.assert_close(logits[-1], model(x), rtol=0, atol=0)
    assert [tuple(out.shape) for out in small(name).eval().forward_anytime(x)] == [(2, model.num_classes)]
    model.reset_classifier(3)
    assert [tuple(out.shape) for out in model.forward_anytime(x)] == [(2, 3)] * stages


@pytest.mark.parametrize("name", WITH_EXITS)
def test_exits_after_any_unit(name: str) -> None:
    """Exits change nothing else, and one says the same alone as among others."""
    torch.manual_seed(0)
    bare = small(name).eval()
    units = len([part for part, _ in bare.named_modules() if re.fullmatch(r"stages\.(\d+\.)?units\.\d+", part)])
    places = tuple(range(1, units))
    model = small(name, heads=places).eval()
    missing, unexpected = model.load_state_dict(bare.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith("exits.") for key in missing)
    x = images(model)
    *early, last = model.forward_anytime(x)
    assert [tuple(logits.shape) for logits in early] == [(2, model.num_classes)] * len(places)
    torch.testing.assert_close(last, bare(x), rtol=0, atol=0)
    alone = small(name, heads=places[1:2]).eval()
    alone.load_state_dict(bare.state_dict(), strict=False)
    alone.exits[0].load_state_dict(model.exits[1].state_dict())
    torch.testing.assert_close(next(alone.forward_anytime(x)), early[1], rtol=0, atol=0)


@pytest.mark.parametrize("heads", ["first", 3, (), (0, 2), (3, 2), (2, 2), (36,), (1.5,)])
def test_heads_that_cannot_be(heads: object) -> None:
    with pytest.raises(SkipweaveError, match=r"heads is .*: expected 'last', 'stages', or, .* the units from 1 to 35"):
        skipweave.create_model("sparsenet40_24", heads=heads)


@pytest.mark.parametrize("name", WITH_EXITS)
def test_nothing_behind_an_exit_is_computed(name: str) -> None:
    model = small(name, heads="stages").eval()
    ran: set[str] = set()
    for part, module in model.named_modules():
        module.register_forward_hook(lambda *_, part=part: ran.add(part))
    next(model.forward_anytime(images(model)))
    units = [part for part, _ in model.named_modules() if re.fullmatch(r"stages\.(\d+\.)?units\.\d+", part)]
    stages = len(model.feature_info) - (name in IMAGENET)
    assert len(ran & set(units)) == (2 if name in IMAGENET else len(units) // stages)
    assert "exits.0" in ran
    assert not ran & {"exits.1", "norm", "head"}


@pytest.mark.parametrize("name", SMALL)
def test_group_matcher_reaches_every_depth(name: str) -> None:
    model = small(name)
    coarse = timm.models.group_parameters(model, model.group_matcher(coarse=True))
    fine = timm.models.group_parameters(model, model.group_matcher())
    stages = len(model.feature_info) - (name in IMAGENET)
    assert len(coarse) == stages + 2
    assert stages + 2 < len(fine) <= 4 * stages + 2
    assert sum(map(len, fine.values())) == len(list(model.parameters()))
    scales = {group["lr_scale"] for group in param_groups_layer_decay(model, layer_decay=0.75)}
    assert len(scales) == len(fine)


def test_layer_decay_does_not_vanish_with_depth() -> None:
    with torch.device("meta"):
        model = timm.create_model("sparsenet_sum2000")
    assert len(timm.models.group_parameters(model, model.group_matcher())) == 14


@pytest.mark.parametrize(("name", "stride"), [(n, s) for n in DILATED for s in (8, 16)] + [("sparsenet_sum110", 2)])
def test_output_stride_computes_the_same_values_more_densely(name: str, stride: int) -> None:
    torch.manual_seed(0)
    thin = small(name, num_classes=0, global_pool="").double().eval()
    dense = small(name, num_classes=0, global_pool="", output_stride=stride).double().eval()
    dense.load_state_dict(thin.state_dict())
    x = torch.randn(1, 3, 128, 128, dtype=torch.float64)
    expected, found = thin(x), dense(x)
    assert 128 // found.shape[-1] == stride
    step = found.shape[-1] // expected.shape[-1]
    torch.testing.assert_close(found[..., ::step, ::step], expected, rtol=1e-9, atol=1e-9)
    assert dense.feature_info[-1]["reduction"] == stride


@pytest.mark.parametrize("decoder", [smp.Unet, smp.FPN, smp.DeepLabV3Plus])
@pytest.mark.parametrize("name", ["tu-sparsenet121_32", "tu-densenet121_32"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_encoder_of_segmentation_models_pytorch(decoder: type[nn.Module], name: str) -> None:
    model = decoder(encoder_name=name, encoder_weights=None, in_channels=2, classes=4).eval()
    assert model(torch.randn(1, 2, 64, 64)).shape == (1, 4, 64, 64)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (dict(growht=4), r"no argument growht \(did you mean growth\?\)"),
        (
            dict(growth=(4, 8)),
            r"growth is \(4, 8\): expected a whole number of at least 1, or one for each of 3 stages",
        ),
        (dict(units=0), "units is 0"),
        (dict(topology="exponentail"), "^unknown topology 'exponentail': did you mean 'exponential'[^;]*$"),
        (dict(topology=["dense", "foo", "plain"]), "^stage 1: unknown topology 'foo'[^;]*$"),
        (
            dict(topology=["bar", "foo", "bar"]),
            "^stage 0, 2: unknown topology 'bar'[^;]*; stage 1: unknown topology 'foo'",
        ),
        (dict(topology=["dense", "plain"]), "topology has 2 entries: expected one for all or one for each of 3 stages"),
        (dict(depth=41), r"depth is 41: expected 3n\+4 with n >= 1, for instance 40 or 43"),
        (dict(compression=1.5), "compression is 1.5: expected a number with 0 < compression <= 1"),
        (dict(drop_rate=1.0), "drop_rate is 1.0: expected a number with 0 <= drop_rate < 1"),
        (dict(output_stride=8), "output_stride is 8: expected one of 1, 2, 4"),
        (dict(stem="imagnet"), "stem is 'imagnet': expected one of 'cifar', 'imagenet'"),
        (dict(growth=-1, compression=0), "growth is -1.*; compression is 0"),
    ],
)
def test_a_bad_override_says_what_would_be_valid(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(SkipweaveError, match=message):
        skipweave.create_model("sparsenet40_24", **overrides)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(SkipweaveError, match=r"unknown model 'sparsnet40_24': did you mean sparsenet40_24"):
        skipweave.create_model("sparsnet40_24")


def test_names_are_never_overwritten() -> None:
    with pytest.raises(SkipweaveError, match="'resnet18' is registered already"):
        register_variants(SparseNet, {"resnet18": dict(units=1)}, {})


def test_overrides_build_what_they_say() -> None:
    assert [len(s.units) for s in skipweave.create_model("sparsenet40_24", depth=22).stages] == [6] * 3
    assert [len(s.units) for s in skipweave.create_model("sparsenet_bc100_24", depth=22).stages] == [3] * 3
    model = skipweave.create_model("sparsenet40_24", units=(2, 3, 2), topology=["dense", "plain", [[0], [1, 0], [2]]])
    graphs = [stage.topology for stage in model.stages if isinstance(stage, Stage)]
    assert [g.links for g in graphs] == [3, 3, 3]
    assert graphs[2].output == (2,)


DEEP = ["sparsenet_bc1001_12", "sparsenet_sum1001", "preact_resnet1001"]
DEEPER = ["sparsenet_sum2000", "preact_resnet2000"]


@pytest.mark.parametrize("name", [*DEEP, *(pytest.param(name, marks=pytest.mark.slow) for name in DEEPER)])
def test_a_thousand_layers_train_a_step(name: str) -> None:
    model = timm.create_model(name, num_classes=10)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
