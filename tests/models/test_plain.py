"""Plain networks of the paper on channel-wise sparsity."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import skipweave
from skipweave.analysis.operation_counts import count
from tests.errors import raises


def on_meta(name: str, **overrides: object) -> nn.Module:
    with torch.device("meta"):
        return skipweave.create_model(name, **overrides)


def convolution_weights(part: nn.Module) -> int:
    return sum(conv.weight.numel() for conv in part.modules() if isinstance(conv, nn.Conv2d))


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_mnist_network_of_the_tutorial() -> None:
    model = on_meta("tutorial_mnist")
    assert parameters(model) == 1_663_978
    assert parameters(on_meta("tutorial_mnist", norm_layer="none")) == 1_663_370
    assert convolution_weights(model.stem) + convolution_weights(model.stages) == 52_000
    assert convolution_weights(model.head) + model.head.fc.weight.numel() == 1_610_752
    counts = count(model, torch.empty(1, 1, 28, 28, device="meta"))
    assert counts.macs == {
        "convolution 5x5": 28**2 * 800 + 14**2 * 51_200,
        "convolution 7x7": 1_605_632,
        "linear": 5_120,
    }
    assert parameters(on_meta("tutorial_mnist", hidden=[1024], norm_layer="none")) == 3_274_634


def test_cifar10_network_of_the_tutorial() -> None:
    model = on_meta("tutorial_cifar10")
    assert parameters(model) == 1_069_002
    assert parameters(on_meta("tutorial_cifar10", norm_layer="none")) == 1_068_298
    assert convolution_weights(model.stem) + convolution_weights(model.stages) == 107_200
    assert [tuple(layer.conv.weight.shape) for layer in model.head.hidden[2:]] == [(384, 64, 6, 6), (192, 384, 1, 1)]
    counts = count(model, torch.empty(1, 3, 24, 24, device="meta"))
    assert counts.macs["convolution 5x5"] == 24**2 * 4_800 + 12**2 * 102_400


def test_vgg16n() -> None:
    model = on_meta("vgg16n")
    assert convolution_weights(model) == 19_429_056
    assert parameters(model.head.fc) == 1_025_000
    assert count(model, torch.empty(1, 3, 224, 224, device="meta")).convolution_macs == 15_351_349_248


@pytest.mark.parametrize(("name", "side"), [("tutorial_mnist", 28), ("tutorial_cifar10", 24)])
def test_hidden_layers_equal_linear_layers_at_the_size_of_the_paper(name: str, side: int) -> None:
    torch.manual_seed(0)
    model = skipweave.create_model(name, norm_layer="none").double().eval()
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(std=0.05)
    image = torch.randn(2, model.in_chans, side, side, dtype=torch.float64)
    x = model.head.hidden[1](model.forward_features(image)).flatten(1)
    for layer in [*model.head.hidden[2:]]:
        x = functional.linear(x, layer.conv.weight.flatten(1), layer.conv.bias).relu()
    torch.testing.assert_close(model(image), model.head.fc(x))


def test_pools_of_the_cifar10_network_pad_as_tensorflow_does() -> None:
    """TensorFlow pads even sides only on the right and below."""
    pool = skipweave.create_model("tutorial_cifar10").stages[1].entry[0]
    x = torch.randn(2, 3, 24, 24)
    padded = functional.pad(x, (0, 1, 0, 1), value=-torch.inf)
    torch.testing.assert_close(pool(x), functional.max_pool2d(padded, 3, 2), rtol=0, atol=0)


def test_response_norm_is_tensorflows() -> None:
    """x / (1 + 0.001 / 9 * sum of squares over nine channels) ** 0.75."""
    norm = skipweave.create_model("tutorial_cifar10").stages[1].leave[0]
    x = torch.randn(1, 64, 3, 3, dtype=torch.float64) * 30
    squares = functional.pad(x.square(), (0, 0, 0, 0, 4, 4)).unfold(1, 9, 1).sum(-1)
    torch.testing.assert_close(norm(x), x / (1 + 0.001 / 9 * squares) ** 0.75)


@pytest.mark.parametrize(("name", "size"), [("tutorial_mnist", 8), ("tutorial_cifar10", 33), ("vgg16n", 48)])
def test_smaller_and_larger_images(name: str, size: int) -> None:
    model = on_meta(name).eval()
    assert model(torch.empty(1, model.in_chans, size, size, device="meta")).shape == (1, model.num_classes)


def test_small_maps_are_zero_padded() -> None:
    pad = on_meta("tutorial_mnist").head.hidden[0]
    x = torch.ones(1, 1, 14, 11)
    assert pad(x).shape == (1, 1, 14, 14)
    torch.testing.assert_close(pad(x)[..., 1:12], x, rtol=0, atol=0)
    assert pad(torch.ones(1, 1, 14, 14)).sum() == 196


def test_dropout_of_the_tutorial() -> None:
    assert on_meta("tutorial_mnist").head.drop.p == 0.5
    assert on_meta("tutorial_cifar10").head.drop.p == 0


def test_all_invalid_arguments_are_named() -> None:
    with raises("widths", (8, 8), "hidden", ()):
        skipweave.create_model("vgg16n", widths=(8, 8), hidden=())
