"""Plain convolutional networks of "The Power of Sparsity in Convolutional Neural Networks".

Changpinyo, Sandler and Zhmoginov (2017) sparsify Inception-V3 (torchvision's model), VGG-16n and two networks of
TensorFlow's tutorials for MNIST and CIFAR-10. Hidden fully connected layers are convolutions over the whole map here:
they have the same parameters and accept images of any size. `skipweave.sparsify` keeps them, as the paper does, unless
it is asked for `fully_connected=True`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from skipweave.layers import Head, NormLayer, NormName, Stem, make_norm, recompute
from skipweave.models.arguments import Arguments
from skipweave.models.classifier import ClassifierNet, Nodes, depth_groups
from skipweave.models.registry import cifar_cfg, imagenet_cfg, register_variants

ArchitectureName = Literal["mnist", "cifar10", "vgg"]


@dataclass(frozen=True)
class _Architecture:
    """Properties of a network that do not depend on its widths.

    Attributes:
        depths: Number of convolutions of each stage; the first one of all is the stem.
        kernel: Side of the stages' kernels.
        make_pool: Creates the pool before every stage but the first.
        make_hidden_pool: Creates the pool before the hidden layers.
        response_norm: Whether stages have a local response norm.
        fully_connected: Whether the hidden layers are fully connected layers in convolution form.
        hidden_kernels: Sides of the hidden layers' kernels, which are not padded.
        min_side: Minimum side of the map before the hidden layers' pool; smaller maps are zero-padded.
    """

    depths: tuple[int, ...]
    kernel: int
    make_pool: Callable[[], nn.Module]
    make_hidden_pool: Callable[[], nn.Module]
    response_norm: bool
    fully_connected: bool
    hidden_kernels: tuple[int, ...]
    min_side: int


# TensorFlow pads maps of even sides on the right and below, which equals `ceil_mode`.
_POOL = partial(nn.MaxPool2d, 2)
_OVERLAPPING_POOL = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)


def _pool_twice() -> nn.Module:
    return nn.Sequential(_POOL(), _POOL())


_ARCHITECTURES: Mapping[ArchitectureName, _Architecture] = {
    "vgg": _Architecture((2, 2, 3, 3, 3), 3, _POOL, _pool_twice, False, False, (3,), 12),
    "mnist": _Architecture((1, 1), 5, _POOL, _POOL, False, True, (7,), 14),
    "cifar10": _Architecture((1, 1), 5, _OVERLAPPING_POOL, _OVERLAPPING_POOL, True, True, (6, 1), 12),
}


class ConvLayer(Stem):
    """Convolution with a bias (`norm` is None) or a norm, then ReLU; the first one of a network is its stem."""

    def __init__(self, in_width: int, width: int, kernel: int, *, padding: int, norm: NormName | None) -> None:
        super().__init__(in_width, width, stride=1)
        self.conv = nn.Conv2d(in_width, width, kernel, padding=padding, bias=norm is None)
        self.norm = nn.Identity() if norm is None else make_norm(width, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        return self.norm(self.conv(x)).relu()


class PlainStage(nn.Module):
    """The convolutions of one resolution.

    Args:
        entry: Applied first: a pool, or nothing in the first stage.
        layers: The convolutions.
        leave: Applied last.
        width: Number of channels of each convolution.

    Shape: (N, C, H, W) to (N, width, H', W').
    """

    def __init__(self, entry: nn.Module, layers: Sequence[ConvLayer], leave: nn.Module, width: int) -> None:
        super().__init__()
        self.entry = entry
        self.layers = nn.Sequential(*layers)
        self.leave = leave
        self.out_width = width
        self.widths = (width,)
        self.grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the stage's map."""
        x = self.entry(x)
        for layer in self.layers.children():
            x = recompute(layer, x) if self.grad_checkpointing and self.training else layer(x)
        return self.leave(x)


class PadToMinSize(nn.Module):
    """Zero-pads activated maps with sides smaller than `side`, equally on both sides."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Return the map, at least side x side."""
        return pad_to_min_size(x, self.side)


@torch.fx.wrap  # depends on the size of the map
def pad_to_min_size(x: Tensor, side: int) -> Tensor:
    """Zero-pad a map to at least side x side."""
    missing = [max(0, side - size) for size in (x.shape[-1], x.shape[-2])]
    if not any(missing):
        return x
    padded = functional.pad(x, [part for gap in missing for part in (gap // 2, gap - gap // 2)])
    # onnxruntime fuses padding into a following pool, and then rejects padding larger than the window.
    return padded.relu() if torch.compiler.is_exporting() else padded


class HiddenHead(Head):
    """Hidden layers, then pooling, dropout and a linear classifier.

    Args:
        hidden: The hidden layers, (N, C, H, W) to (N, hidden_width, H', W').
        hidden_width: Number of channels of the last hidden layer.
        num_classes: Number of classes; 0 omits the classifier.
        global_pool: timm's name of the pooling; `""` omits the hidden layers as well.
        drop_rate: Dropout rate before the classifier.

    Shape: (N, C, H, W) to (N, num_classes).
    """

    def __init__(
        self, hidden: nn.Module, hidden_width: int, num_classes: int, *, global_pool: str, drop_rate: float
    ) -> None:
        super().__init__(hidden_width, num_classes, global_pool=global_pool, drop_rate=drop_rate)
        self.hidden = hidden

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits, or the input of the classifier if `pre_logits`."""
        return super().forward(self.hidden(x), pre_logits) if self.global_pool else x


class PlainNet(ClassifierNet):
    """Convolutions and pools, hidden layers and a linear classifier.

    Every layer but the classifier has a norm: batch normalization "was used for all networks". The paper leaves open
    whether the CIFAR-10 network keeps the tutorial's local response norms; here it does.

    Deviation: the tutorials initialize weights with a fixed standard deviation; here it follows He et al. by fan-in, so
    that it suits any width. In the pools of the CIFAR-10 network, TensorFlow pads maps of odd sides on both sides; here
    they are padded on the right and below. Maps smaller than the hidden layers' kernels are zero-padded here.

    Args:
        architecture: `"mnist"` or `"cifar10"` (TensorFlow's tutorials: 5x5 convolutions), or `"vgg"` (VGG-16n: 3x3
            convolutions, and a 2x2 pool and a 3x3 convolution instead of VGG-16's hidden layers).
        widths: Number of channels of the convolutions, per stage.
        hidden: Number of channels of the hidden layers.
        num_classes: See `ClassifierNet`, also for `in_chans` and `drop_rate`.
        global_pool: timm's name of the pooling after the hidden layers, whose output has one position for images of the
            paper's size; `""` omits the hidden layers.
        norm_layer: See `ClassifierNet`; or `"none"` for biases instead of norms, as in the tutorials.

    Attributes:
        fully_connected: Names of the hidden layers that are fully connected layers in convolution form.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    def __init__(
        self,
        *,
        architecture: ArchitectureName = "vgg",
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        hidden: Sequence[int] = (1024,),
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        norm_layer: NormLayer = "batch",
    ) -> None:
        check = Arguments()
        shape = _ARCHITECTURES[check.one_of("architecture", architecture, list(_ARCHITECTURES))]
        widths = check.per_stage("widths", widths, len(shape.depths))
        hidden = check.per_stage("hidden", hidden, len(shape.hidden_kernels))
        check.classifier("last", shape.depths, num_classes, in_chans, global_pool, drop_rate)
        norm = None if norm_layer == "none" else check.norm_layer(norm_layer)
        check.done()

        stages = [_stage(shape, number, widths, norm) for number in range(len(widths))]
        hidden_layers = _hidden_layers(shape, widths[-1], hidden, norm)
        super().__init__(
            ConvLayer(in_chans, widths[0], shape.kernel, padding=shape.kernel // 2, norm=norm),
            nn.Sequential(*stages),
            nn.Identity(),
            HiddenHead(hidden_layers, hidden[-1], num_classes, global_pool=global_pool, drop_rate=drop_rate),
            {},
            [(width, 2**number, f"stages.{number}") for number, width in enumerate(widths)],
        )
        self.num_features = widths[-1]
        self.fully_connected = [
            f"head.hidden.{number}.conv"
            for number, layer in enumerate(hidden_layers.children())
            if shape.fully_connected and isinstance(layer, ConvLayer)
        ]
        _initialize(self)

    def run(self, x: Tensor, stops: Sequence[int] = ()) -> Iterator[Nodes]:
        """Run the stages and yield the input of the head; there are no early exits."""
        yield (self.stages(x),)

    def run_stages(self, x: Tensor) -> Iterator[Nodes]:
        """Run the stages lazily and yield the output of each, in a tuple."""
        for stage in self.stages.children():
            x = stage(x)
            yield (x,)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Save only the inputs of the stages' convolutions for the backward pass, and recompute these there."""
        for stage in self.stages.children():
            if isinstance(stage, PlainStage):
                stage.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, str] | Callable[[str], tuple[float, ...]]:
        """Parameter groups for timm's layer-wise learning rates: by stage, or by quarters of a stage."""
        if coarse:
            return dict(stem=r"^stem", stages=r"^stages\.(\d+)")
        lengths = [len(stage.layers) for stage in self.stages.children() if isinstance(stage, PlainStage)]
        return depth_groups(
            r"stages\.(\d+)\.layers\.(\d+)", lambda found: (int(found[1]), int(found[2]) / lengths[int(found[1])])
        )


def _stage(shape: _Architecture, number: int, widths: Sequence[int], norm: NormName | None) -> PlainStage:
    """Create a stage; the first convolution of the first stage is the stem."""
    width, first = widths[number], number == 0
    count = shape.depths[number] - first
    sources = [width if first else widths[number - 1], *[width] * count][:count]
    make = partial(ConvLayer, kernel=shape.kernel, padding=shape.kernel // 2, norm=norm)
    entry: list[nn.Module] = [] if first else [shape.make_pool()]
    leave: list[nn.Module] = []
    if shape.response_norm and not first:  # the tutorial's first norm follows a pool, the second one precedes one
        entry.append(_response_norm())
        leave.append(_response_norm())
    return PlainStage(nn.Sequential(*entry), [make(source, width) for source in sources], nn.Sequential(*leave), width)


def _response_norm() -> nn.Module:
    """TensorFlow's norm of radius 4 and alpha 0.001 / 9; torch divides alpha by the number of neighbors itself."""
    return nn.LocalResponseNorm(9, alpha=1e-3, beta=0.75, k=1.0)


def _hidden_layers(shape: _Architecture, in_width: int, widths: Sequence[int], norm: NormName | None) -> nn.Module:
    make = partial(ConvLayer, padding=0, norm=norm)
    sources = [in_width, *widths[:-1]]
    layers = [make(*sizes) for sizes in zip(sources, widths, shape.hidden_kernels, strict=True)]
    return nn.Sequential(PadToMinSize(shape.min_side), shape.make_hidden_pool(), *layers)


def _initialize(model: nn.Module) -> None:
    """He initialization by fan-in for convolutions, including hidden layers; biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


_PAPER = "1702.06257"
_MNIST: dict[str, Any] = dict(
    cifar_cfg(_PAPER), input_size=(1, 28, 28), pool_size=(14, 14), mean=(0.1307,), std=(0.3081,)
)
_CIFAR10: dict[str, Any] = dict(cifar_cfg(_PAPER), input_size=(3, 24, 24), pool_size=(12, 12))
_VGG: dict[str, Any] = dict(imagenet_cfg(_PAPER), pool_size=(14, 14))

_TUTORIAL_MNIST: dict[str, Any] = dict(architecture="mnist", widths=(32, 64), hidden=(512,), num_classes=10)
_TUTORIAL_CIFAR10: dict[str, Any] = dict(architecture="cifar10", widths=(64, 64), hidden=(384, 192), num_classes=10)
_VGG16N: dict[str, Any] = dict(architecture="vgg", widths=(64, 128, 256, 512, 512), hidden=(1024,))

register_variants(PlainNet, {"tutorial_mnist": dict(_TUTORIAL_MNIST, in_chans=1, drop_rate=0.5)}, _MNIST)
register_variants(PlainNet, {"tutorial_cifar10": _TUTORIAL_CIFAR10}, _CIFAR10)
register_variants(PlainNet, {"vgg16n": _VGG16N}, _VGG)
