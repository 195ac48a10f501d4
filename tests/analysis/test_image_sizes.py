"""Smallest image size of each family, and errors for smaller images."""

import pytest
import timm
import torch
import torchvision
from torch import nn

import skipweave
from skipweave.analysis.image_sizes import check_image_size
from skipweave.analysis.profile import profile
from skipweave_config.errors import SkipweaveError
from tests.errors import raises

# One network of each family and its smallest image side.
SMALLEST = {
    "densenet40_12": 4,
    "densenet121_32": 29,
    "sparsenet40_12": 4,
    "sparsenet_bc100_12": 4,
    "sparsenet121_32": 29,
    "preact_resnet56": 1,
    "sparsenet_sum56": 1,
    "logdensenet_v1_12_16": 1,
    "logdensenet_v2_12_16": 4,
    "logdensenet169": 29,
    "fc_densenet56": 32,
    "fc_logdensenet103": 1,
    "delugenet92": 1,
    "seqresnet_k8_r4_n1": 1,
    "seqresnet_b22": 1,
    "vgg16n": 16,
    "sparsenet_fast_64": 9,
    "resnet9_fast": 9,
    "resnet110": 1,
    "fractalnet20": 32,
    "hardnet68": 29,
    "tutorial_mnist": 2,
}


def make(name, device="meta", **options):
    with torch.device(device):
        return skipweave.create_model(name, num_classes=5, **options)


def works(network, shape, batch=1):
    try:
        network(torch.zeros(batch, *shape))
    except (RuntimeError, ValueError):
        return False
    return True


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_size_is_the_smallest_that_runs(name):
    network, least = make(name), SMALLEST[name]
    channels = network.pretrained_cfg["input_size"][0]
    check_image_size(network, (channels, least, least), batch=2, training=True)
    small = make(name, "cpu", units=1) if name.startswith(("densenet", "sparsenet")) else make(name, "cpu")
    assert works(small.eval(), (channels, least, least))
    if least > 1:
        for training in (False, True):
            with pytest.raises(SkipweaveError) as caught:
                check_image_size(network, (channels, least - 1, least + 9), batch=2, training=training)
            assert name in str(caught.value)
            assert f"{least - 1}x{least + 9}" in str(caught.value)
            assert str(caught.value).endswith(f"{least}x{least}")
        assert not works(small, (channels, least - 1, least + 9))


@pytest.mark.parametrize(("name", "side"), [("densenet121_32", 32), ("vgg16n", 16), ("seqresnet_b22", 32)])
def test_a_batch_of_one_image_needs_more_than_one_value_per_channel(name, side):
    network = make(name)
    check_image_size(network, (3, side, side), batch=1)
    check_image_size(network, (3, side, side), batch=2, training=True)
    with pytest.raises(SkipweaveError) as caught:
        check_image_size(network, (3, side, side), batch=1, training=True)
    message, least = str(caught.value), int(str(caught.value).rpartition("x")[2])
    assert name in message
    assert f"{side}x{side}" in message
    assert not works(make(name, "cpu").train(), (3, side, side))
    check_image_size(network, (3, least, least), batch=1, training=True)
    with pytest.raises(SkipweaveError):
        check_image_size(network, (3, least - 1, least - 1), batch=1, training=True)


@pytest.mark.parametrize(
    ("network", "shape", "named"),
    [
        (lambda: timm.create_model("vit_tiny_patch16_224"), (3, 32, 32), ("224x224",)),
        (lambda: torchvision.models.vgg11(), (3, 31, 31), ("VGG", "31x31", "32x32")),
        (lambda: make("densenet121_32"), (4, 64, 64), ((4, 64, 64), 3)),
    ],
)
def test_other_reasons_are_reported(network, shape, named):
    with torch.device("meta"):
        made = network()
    with raises(*named):
        check_image_size(made, shape)


class MultiplesOf8(nn.Module):
    """Network for images whose sides are multiples of 8."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(len(x), 3, x.shape[2] // 8, 8, x.shape[3] // 8, 8)


def test_a_size_that_is_not_a_lower_bound_is_an_example():
    check_image_size(MultiplesOf8(), (3, 16, 24))
    with pytest.raises(SkipweaveError, match=r"9x16 .*(\d+)x\1"):
        check_image_size(MultiplesOf8(), (3, 9, 16))


class ValueDependent(nn.Module):
    """Network that depends on values, which do not exist on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) * (1 if x.mean().item() > 0 else -1)


def test_a_network_that_depends_on_values_passes():
    check_image_size(ValueDependent(), (3, 8, 8))
    check_image_size(ValueDependent(), (3, 1, 1))
    with raises("ValueDependent", (3, 8, 8)):
        profile(ValueDependent(), (3, 8, 8))


def test_the_network_and_random_state_do_not_change():
    network = make("sparsenet40_12", "cpu", drop_rate=0.5).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(0)
    check_image_size(network, (3, 8, 8), batch=2, training=True)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_profile_of_too_small_images_raises():
    with raises("densenet121_32", "16x16", "29x29"):
        profile(make("densenet121_32"), (3, 16, 16))
