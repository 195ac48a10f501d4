"""`depth_multiplier`: the paper's table, and networks of timm, torchvision and this library."""

from functools import cache
from itertools import pairwise

import pytest
import timm
import torch
import torchvision
from torch import nn

import skipweave
from skipweave.tracing.copies import on_meta
from skipweave.transforms import CompressedModel, depth_multiplier
from skipweave_config.errors import SkipweaveError
from tests.errors import raises

IMAGE = (3, 224, 224)


@cache
def on_meta_device(name: str, **arguments: object) -> nn.Module:
    if name == "inception_v3":
        arguments["init_weights"] = False
    with torch.device("meta"):
        return torchvision.models.get_model(name, **arguments)


# Table 1; the printed 170k and 75.0M are 170,328 and 75,173,016.
TABLE_1 = {
    0.05: (56_152, 54_621_784),
    0.1: (170_328, 75_173_016),
    0.2: (718_232, 183_438_680),
    0.3: (1_799_640, 439_171_416),
    0.5: (5_438_000, 1_432_587_440),
    0.8: (13_488_072, 3_439_155_912),
}


@pytest.mark.slow
@pytest.mark.parametrize("alpha", TABLE_1)
def test_inception_parameter_counts_of_the_paper(alpha: float) -> None:
    result = depth_multiplier(on_meta_device("inception_v3", aux_logits=False), alpha, input_size=(3, 299, 299))
    assert result.convolution_weights == (21_751_136, TABLE_1[alpha][0])
    assert result.convolution_macs == (5_711_168_096, TABLE_1[alpha][1])


def closed_form_of_vgg16(scaled) -> int:
    widths = [3, *map(scaled, [64, 64, 128, 128, 256, 256, 256, *[512] * 6])]
    return sum(9 * before * after for before, after in pairwise(widths))


@pytest.mark.parametrize(
    ("rule", "scaled"),
    [("floor8", lambda c: max(8, 8 * (3 * c // 80))), ("ceil", lambda c: -(-3 * c // 10))],
)
def test_rules_on_vgg(rule: str, scaled) -> None:
    result = depth_multiplier(on_meta_device("vgg16_bn"), 0.3, rule=rule, input_size=IMAGE)
    assert result.convolution_weights == (closed_form_of_vgg16(lambda c: c), closed_form_of_vgg16(scaled))
    classifier = [part for part in result.model.modules() if isinstance(part, nn.Linear)]
    hidden = scaled(4096)
    assert [tuple(part.weight.shape) for part in classifier] == [
        (hidden, 49 * scaled(512)),
        (hidden, hidden),
        (1000, hidden),
    ]


def test_factors_are_decimal() -> None:
    """In binary, 0.7 of 10 is a little more than 7."""
    result = depth_multiplier(
        nn.Sequential(nn.Conv2d(3, 10, 1), nn.Conv2d(10, 4, 1)), 0.7, rule="ceil", input_size=IMAGE
    )
    assert result.layers[0].weights == (30, 21)


@pytest.mark.parametrize(
    "name",
    [
        "squeezenet1_1",
        "alexnet",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "resnet50",
                "resnext50_32x4d",
                "densenet121",
                "mobilenet_v2",
                "mobilenet_v3_large",
                "efficientnet_b0",
                "mnasnet1_0",
                "shufflenet_v2_x1_0",
                "regnet_y_800mf",
            )
        ),
    ],
)
def test_torchvision_networks_need_a_quarter_of_the_macs_at_half_width(name: str) -> None:
    model = on_meta(torchvision.models.get_model(name))
    result = depth_multiplier(model, 0.5, input_size=IMAGE)
    assert 0.2 < result.macs[1] / result.macs[0] < 0.34
    assert result.model.eval()(torch.empty(1, *IMAGE, device="meta")).shape == (1, 1000)


SLOW = ["lcnet_035", "seresnet50", "dla34", "inception_v3", "hrnet_w18_small", "mobilenetv4_conv_small", "repvgg_a0"]
TIMM = ["resnet18d", "mobilenetv3_small_050", "vgg11", "tinynet_e"]


@pytest.mark.parametrize(("alpha", "pool"), [(1, None), (0.25, "catavgmax")])
@pytest.mark.parametrize("name", [*TIMM, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_timm_conventions_are_kept(name: str, pool: str | None, alpha: float) -> None:
    with torch.device("meta"):
        given = timm.create_model(name, **({"global_pool": pool} if pool else {}))
        model = depth_multiplier(given, alpha).model.eval()
        features = model.forward_features(torch.empty(2, *IMAGE))
        assert model.num_features == features.shape[1]
        assert model.head_hidden_size == model.forward_head(features, pre_logits=True).shape[1]
        model.reset_classifier(7)
        assert model(torch.empty(2, *IMAGE)).shape == (2, 7)
        if alpha == 1:
            assert (model.num_features, model.head_hidden_size) == (given.num_features, given.head_hidden_size)


@pytest.mark.parametrize("alpha", [1, 0.5])
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("preact_resnet56", dict(units=1)),
        ("vgg16n", {}),
        ("sparsenet_fast_64", dict(units=1)),
    ],
)
def test_own_networks(name: str, args: dict[str, object], alpha: float) -> None:
    with torch.device("meta"):
        result = depth_multiplier(skipweave.create_model(name, **args), alpha)
        model = result.model.eval()
        changes = {layer.name: layer.change for layer in result.layers}
        assert changes["head.fc"] == f"{model.num_classes} to {model.num_classes} channels"
        images = torch.empty(2, *model.pretrained_cfg["input_size"])
        features = model.forward_features(images)
        assert model.num_features == features.shape[1]
        assert model.head_hidden_size == model.get_classifier().in_features
        model.reset_classifier(3)
        assert model(images).shape == (2, 3)


@pytest.mark.slow
class OwnSizes(nn.Module):
    """Sizes of other things than features under the names that timm gives to those of heads."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features, self.hidden_size, self.in_width, self.num_features = 1, 16, 8, 32
        self.conv, self.wide = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 32, 3)
        self.fc = nn.Linear(32, 5)
        self.forward_features = lambda x: x.mean()

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.wide(self.conv(x).relu()).relu().mean((2, 3)))


def test_sizes_of_other_things_are_kept() -> None:
    model = depth_multiplier(OwnSizes(), 0.5, input_size=(1, 8, 8)).model
    assert (model.in_features, model.hidden_size, model.in_width) == (1, 16, 8)
    assert model.num_features == model.fc.in_features == 16


def test_auxiliary_classifiers() -> None:
    model = on_meta_device("inception_v3")
    result = depth_multiplier(model, 0.1, input_size=(3, 299, 299))
    logits, aux = result.model.train()(torch.empty(2, 3, 299, 299, device="meta"))
    assert (logits.shape, aux.shape) == ((2, 1000), (2, 1000))
    assert result.model.AuxLogits.fc.in_features == 72


class Tail(nn.Module):
    """Depthwise and grouped layers, another norm, and outputs made by a convolution that a norm follows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 20, 3)
        self.each = nn.Conv2d(20, 40, 3, groups=20)
        self.norm = nn.GroupNorm(4, 40)
        self.grouped = nn.Conv2d(40, 36, 3, groups=4)
        self.up = nn.ConvTranspose2d(36, 5, 3)
        self.last = nn.BatchNorm2d(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.up(self.grouped(self.norm(self.each(self.first(x))).relu())))


def test_depthwise_grouped_and_last_layers() -> None:
    model = depth_multiplier(Tail(), 0.5, rule="ceil", input_size=(3, 16, 16)).model
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters() if name.endswith("weight")}
    assert shapes == {
        "first.weight": (10, 3, 3, 3),
        "each.weight": (20, 1, 3, 3),
        "norm.weight": (20,),
        "grouped.weight": (16, 5, 3, 3),  # 18 is no multiple of 4 groups
        "up.weight": (16, 5, 3, 3),
        "last.weight": (5,),
    }
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 5, 12, 12)


def small_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 64, 3), nn.Flatten(), nn.Linear(64 * 16, 4)
    )


def test_input_is_unchanged_and_weights_come_from_the_global_generator() -> None:
    torch.manual_seed(0)
    given = small_net()
    with torch.no_grad():
        given[1].running_mean.fill_(3)
    before = {name: value.clone() for name, value in given.state_dict().items()}
    torch.manual_seed(1)
    result = depth_multiplier(given, 1.0, input_size=(3, 8, 8))
    torch.testing.assert_close(dict(given.state_dict()), before, rtol=0, atol=0)
    assert result.parameters[0] == result.parameters[1]
    assert not torch.equal(result.model[3].weight, given[3].weight)
    assert result.model[1].running_mean.eq(0).all()
    assert result.model[3].weight.std().item() == pytest.approx((2 / (9 * 16)) ** 0.5, rel=0.05)
    torch.manual_seed(1)
    again = depth_multiplier(given, 1.0, input_size=(3, 8, 8))
    torch.testing.assert_close(again.model.state_dict(), result.model.state_dict(), rtol=0, atol=0)


def test_dry_run_does_not_advance_the_generator() -> None:
    """Dropout included: what is drawn is the weights of a network of that size, and nothing else."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 1, bias=False))
    torch.manual_seed(0)
    drawn = depth_multiplier(model, 0.5, input_size=(2, 2, 3)).model[1].weight
    torch.manual_seed(0)
    torch.testing.assert_close(drawn, nn.Linear(3, 1, bias=False).weight, rtol=0, atol=0)


def test_report() -> None:
    result = depth_multiplier(small_net(), 0.5, rule="ceil", input_size=(3, 8, 8))
    assert isinstance(result, CompressedModel)
    assert result.convolution_weights == (432 + 9216, 216 + 2304)
    assert result.convolution_macs == (432 * 36 + 9216 * 16, 216 * 36 + 2304 * 16)
    lines = str(result).splitlines()
    assert lines[1].split() == ["0", "convolution", "3x3", "432", "216", "15,552", "7,776", "16", "to", "8", "channels"]
    assert lines[-4].split() == ["convolutions", "9,648", "2,520", "163,008", "44,640"]
    assert lines[-2].split() == ["normalizations", "32", "16"]


class Gain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gain


class Fixed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(len(x), 8, 36).mean(2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 8, 3), Gain()), r"\b1 .*Gain .*gain"),
        (
            nn.Sequential(nn.Conv2d(3, 8, 3), Fixed(), nn.Linear(8, 2)),
            r"1 \(Fixed\)",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 9, 3), nn.GroupNorm(3, 9), nn.Conv2d(9, 2, 1)),
            r"\b1 .*\b3 .*\b5\b",
        ),
        (nn.Sequential(nn.Conv2d(4, 8, 3)), r"0 \(Conv2d\).*\(3, 8, 8\)"),
    ],
)
def test_unsupported_layers_are_named(model: nn.Module, message: str) -> None:
    with pytest.raises(SkipweaveError, match=message):
        depth_multiplier(model, 0.5, rule="ceil", input_size=(3, 8, 8))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (dict(alpha=0), ("alpha", 0)),
        (dict(alpha=True), ("alpha", True)),
        (dict(alpha=0.5, rule="floor"), ("rule", "'floor'")),
        (dict(alpha=0.5, input_size=None), ("input_size",)),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], named: tuple[object, ...]) -> None:
    with raises(*named):
        depth_multiplier(small_net(), **{"input_size": (3, 8, 8), **arguments})
