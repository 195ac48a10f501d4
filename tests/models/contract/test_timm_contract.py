"""timm's conventions, tested through timm for every registered model."""

import re
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_model
from timm.optim import param_groups_layer_decay
from torch import nn

import skipweave
from skipweave_config.model_table import model_table
from tests.errors import raises

ALL = skipweave.list_models()
# A small variant of each kind of network.
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
    "sparsenet_fast_64": dict(growth=(4, 6, 8)),
    "resnet9_fast": dict(growth=(4, 6, 8), units=2, topology="dense"),
    "wide_resnet28_10": dict(units=2, widths=(4, 6, 8), stem_width=4),
    "resnext29_8x64d": dict(units=2, widths=(8, 12, 16), cardinality=2, base_width=32, stem_width=4),
    "fractalnet20": dict(units=3, widths=(4, 6, 8)),
    "hardnet68": dict(units=(2, 3, 4, 2), growth=4, widths=(8, 12, 16, 24), strides=(4, 8, 16, 32), stem_widths=(4, 8)),
}
IMAGENET = [
    "densenet121_32",
    "sparsenet201_48",
    "logdensenet169_v1",
    "logdensenet169",
    "delugenet92",
    "seqresnext24",
    "hardnet68",
]
DILATED = ["densenet121_32", "sparsenet201_48", "delugenet92"]
FAST = ["sparsenet_fast_64", "resnet9_fast"]
STEM_MAP = [*IMAGENET, *FAST]  # the first feature map is the stem's
WITH_PROJ_DROP = [name for name in SMALL if "proj_drop_rate" in model_table()[name].arguments]
WITH_EXITS = [name for name in SMALL if name not in ("vgg16n", "fractalnet20")]
REDUCTIONS = {
    "vgg16n": [1, 2, 4, 8, 16],
    "sparsenet_fast_64": [1, 2, 4, 8],
    "resnet9_fast": [1, 2, 4, 8],
    "fractalnet20": [2, 4, 8],
    **{name: [2, 4, 8, 16, 32] for name in IMAGENET},
}


def small(name: str, **overrides: object) -> nn.Module:
    return timm.create_model(name, **{**SMALL[name], **overrides})


def images(model: nn.Module, size: int = 64, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, model.in_chans, size, size, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * bool(re.search("1001|2000", name))) for name in ALL]
)
def test_every_model_builds_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    modules = dict(model.named_modules())
    first = model.pretrained_cfg["first_conv"]
    for layer in (*([first] if isinstance(first, str) else first), model.pretrained_cfg["classifier"]):
        assert f"{layer}.weight" in model.state_dict()
        assert layer in modules


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in SMALL)) for name in ALL])
def test_every_model_runs_on_the_meta_device(name: str) -> None:
    """Models with printed operation counts also run in `tests/analysis/test_ledger_check.py`."""
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


@pytest.mark.parametrize("name", [*WITH_EXITS, "fc_logdensenet103"])
@pytest.mark.parametrize(
    ("saved", "heads"), [("stages", "stages"), ("stages", "last"), ("last", "stages"), ([2], [1, 2])]
)
def test_pretrained_weights_are_loaded_into_other_exits_and_classes(
    name: str, saved: str | list[int], heads: str | list[int], tmp_path: Path
) -> None:
    """Of a file, whose exits are those of the network if there are as many, else new."""
    arguments = SMALL.get(name, dict(units=(1, 2, 1), growth=4))
    theirs = timm.create_model(name, **arguments, heads=saved)
    save_model(theirs, str(tmp_path / "model.safetensors"))
    source = dict(pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "model.safetensors")})
    for num_classes in (theirs.num_classes, 3):
        ours = timm.create_model(name, **arguments, heads=heads, num_classes=num_classes, **source)
        expected = theirs.state_dict()
        for key, value in ours.state_dict().items():
            assert value.isfinite().all()
            if key.startswith("exits.") and saved != heads:
                continue
            if value.shape == expected[key].shape:
                assert torch.equal(value, expected[key]), key
            else:
                assert (len(value), num_classes) == (3, 3), key


@pytest.mark.parametrize("name", SMALL)
def test_classifier_can_be_replaced_and_omitted(name: str) -> None:
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
    with raises("num_classes", 3):
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
    side = 63 if name in FAST else 64  # after stems without padding
    assert [m.shape[-1] for m in maps] == [side // reduction for reduction in model.feature_info.reduction()]
    assert model.feature_info.reduction() == REDUCTIONS.get(name, [1, 2, 4])
    chosen = small(name, features_only=True, out_indices=(0, -1)).eval()
    assert [m.shape[1] for m in chosen(torch.randn(1, 3, 64, 64))] == [maps[0].shape[1], maps[-1].shape[1]]


@pytest.mark.parametrize("name", SMALL)
def test_checkpointing_changes_nothing(name: str) -> None:
    states = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = small(name, drop_rate=0.1, **(dict(proj_drop_rate=0.2) if name in WITH_PROJ_DROP else {}))
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
    stages = len(model.feature_info) - (name in STEM_MAP)
    logits = list(model.forward_anytime(x))
    assert [tuple(out.shape) for out in logits] == [(2, model.num_classes)] * stages
    torch.testing.assert_close(logits[-1], model(x), rtol=0, atol=0)
    assert [tuple(out.shape) for out in small(name).eval().forward_anytime(x)] == [(2, model.num_classes)]
    model.reset_classifier(3)
    assert [tuple(out.shape) for out in model.forward_anytime(x)] == [(2, 3)] * stages


@pytest.mark.parametrize("name", WITH_EXITS)
def test_exits_after_any_unit(name: str) -> None:
    """Exits do not change the other outputs, nor each other."""
    torch.manual_seed(0)
    bare = small(name).eval()
    units = len([part for part, _ in bare.named_modules() if re.fullmatch(r"stages\.(\d+\.)?units\.\d+", part)])
    exit_units = tuple(range(1, units))
    model = small(name, heads=exit_units).eval()
    missing, unexpected = model.load_state_dict(bare.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith("exits.") for key in missing)
    x = images(model)
    *early, last = model.forward_anytime(x)
    assert [tuple(logits.shape) for logits in early] == [(2, model.num_classes)] * len(exit_units)
    torch.testing.assert_close(last, bare(x), rtol=0, atol=0)
    alone = small(name, heads=exit_units[1:2]).eval()
    alone.load_state_dict(bare.state_dict(), strict=False)
    alone.exits[0].load_state_dict(model.exits[1].state_dict())
    torch.testing.assert_close(next(alone.forward_anytime(x)), early[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", WITH_EXITS)
def test_nothing_after_an_exit_is_computed(name: str) -> None:
    model = small(name, heads="stages").eval()
    ran: set[str] = set()
    for part, module in model.named_modules():
        module.register_forward_hook(lambda *_, part=part: ran.add(part))
    next(model.forward_anytime(images(model)))
    units = [part for part, _ in model.named_modules() if re.fullmatch(r"stages\.(\d+\.)?units\.\d+", part)]
    stages = len(model.feature_info) - (name in STEM_MAP)
    assert len(ran & set(units)) == (2 if name in IMAGENET else len(units) // stages)
    assert "exits.0" in ran
    assert not ran & {"exits.1", "norm", "head"}


@pytest.mark.parametrize("name", SMALL)
def test_group_matcher_reaches_every_depth(name: str) -> None:
    model = small(name)
    coarse = timm.models.group_parameters(model, model.group_matcher(coarse=True))
    fine = timm.models.group_parameters(model, model.group_matcher())
    stages = len(model.feature_info) - (name in STEM_MAP)
    stem = any(True for _ in model.stem.parameters())
    assert len(coarse) == stages + stem + 1
    assert stages + stem + 1 < len(fine) <= 4 * stages + 2
    assert sum(map(len, fine.values())) == len(list(model.parameters()))
    scales = {group["lr_scale"] for group in param_groups_layer_decay(model, layer_decay=0.75)}
    assert len(scales) == len(fine)


@pytest.mark.parametrize(("name", "stride"), [(n, s) for n in DILATED for s in (8, 16)] + [("sparsenet_sum110", 2)])
def test_output_stride_computes_the_same_values_more_densely(name: str, stride: int) -> None:
    torch.manual_seed(0)
    strided = small(name, num_classes=0, global_pool="").double().eval()
    dense = small(name, num_classes=0, global_pool="", output_stride=stride).double().eval()
    dense.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 128, 128, dtype=torch.float64)
    expected, found = strided(x), dense(x)
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


DEEP = ["sparsenet_bc1001_12", "sparsenet_sum1001", "preact_resnet1001"]
DEEPER = ["sparsenet_sum2000", "preact_resnet2000"]


@pytest.mark.parametrize("name", [*DEEP, *(pytest.param(name, marks=pytest.mark.slow) for name in DEEPER)])
def test_a_thousand_layers_train_a_step(name: str) -> None:
    model = timm.create_model(name, num_classes=10)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
