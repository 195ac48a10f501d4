"""Plain networks, a chain of convolutions: those of "The Power of Sparsity in Convolutional Neural Networks".

Changpinyo, Sandler and Zhmoginov 2017 thin Inception-V3 (torchvision's, layer by layer), VGG-16n, and two networks of
TensorFlow's tutorials for MNIST and CIFAR-10. Hidden fully-connected layers are convolutions over the whole map here,
which have the same parameters and take images of any size; so the paper's way to sparsify reaches them too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from skipweave.layers import Head, recompute
from skipweave.models.arguments import Arguments
from skipweave.models.classifier import ClassifierNet, depth_groups
from skipweave.models.exits import Nodes
from skipweave.models.registry import cifar_cfg, imagenet_cfg, register_variants

FormName = Literal["mnist", "cifar10", "vgg"]


@dataclass(frozen=True)
class _Form:
    """What is the same in all sizes of a network.

    Attributes:
        depths: Convolutions of each stage; the very first one is the stem.
        kernel: Side of the stages' kernels.
        make_pool: Makes the pool in front of every stage but the first.
        make_hidden_pool: Makes that in front of the hidden layers.
        response_norm: Whether every stage is normalized across neighboring channels.
        batch_norm: Whether every convolution has a batch norm, in place of a bias.
        hidden_kernels: Sides of the hidden layers' kernels, which see no zeros around the map.
        least_side: Of the map at the hidden layers' pool, which smaller ones are brought to by zeros around them.
    """

    depths: tuple[int, ...]
    kernel: int
    make_pool: Callable[[], nn.Module]
    make_hidden_pool: Callable[[], nn.Module]
    response_norm: bool
    batch_norm: bool
    hidden_kernels: tuple[int, ...]
    least_side: int


# TensorFlow pads maps of even sides on the right and below, which is to let the last window hang over (`ceil_mode`).
_POOL = partial(nn.MaxPool2d, 2)
_OVERLAPPING_POOL = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)


def _pool_twice() -> nn.Module:
    return nn.Sequential(_POOL(), _POOL())


_FORMS: Mapping[str, _Form] = {
    "mnist": _Form((1, 1), 5, _POOL, _POOL, False, False, (7,), 14),
    "cifar10": _Form((1, 1), 5, _OVERLAPPING_POOL, _OVERLAPPING_POOL, True, False, (6, 1), 12),
    "vgg": _Form((2, 2, 3, 3, 3), 3, _POOL, _pool_twice, False, True, (3,), 12),
}


class ConvLayer(nn.Module):
    """Convolution with a bias, or with a batch norm in place of it; ReLU."""

    def __init__(self, in_width: int, width: int, kernel: int, *, padding: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_width, width, kernel, padding=padding, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(width) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        return self.norm(self.conv(x)).relu()


class PlainStem(ConvLayer):
    """The network's first convolution."""

    stride = 1


class PlainStage(nn.Module):
    """The convolutions at one resolution.

    Args:
        entry: What comes before them: a pool, or nothing in the first stage.
        layers: The convolutions.
        leave: What comes after them.
        width: Channels of each.

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
            recomputed = self.grad_checkpointing and self.training
            x = recompute(layer, x) if recomputed else layer(x)
        return self.leave(x)


class Enlarge(nn.Module):
    """Put zeros around activated maps smaller than a side, as many on each side as can be."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Return the map, at least side x side."""
        return enlarge(x, self.side)


@torch.fx.wrap
def enlarge(x: Tensor, side: int) -> Tensor:
    """Put zeros around a map, which may be as large as it should be: its size decides, so torch.fx does not look in."""
    missing = [max(0, side - size) for size in (x.shape[-1], x.shape[-2])]
    if not any(missing):
        return x
    enlarged = functional.pad(x, [part for gap in missing for part in (gap // 2, gap - gap // 2)])
    # onnxruntime hands zeros on to a pool right behind them, and then finds them too many for its window.
    return enlarged.relu() if torch.compiler.is_exporting() else enlarged


class HiddenHead(Head):
    """Hidden layers, then pooling, dropout and a linear classifier.

    Args:
        hidden: (N, C, H, W) to (N, hidden_width, H', W').
        hidden_width: Channels of the last hidden layer.
        num_classes: Classes; 0 leaves the classifier out.
        global_pool: timm's name of the pooling; `""` leaves the hidden layers out too.
        drop_rate: Dropout before the classifier.

    Shape: (N, C, H, W) to (N, num_classes).
    """

    def __init__(
        self, hidden: nn.Module, hidden_width: int, num_classes: int, *, global_pool: str, drop_rate: float
    ) -> None:
        super().__init__(hidden_width, num_classes, global_pool=global_pool, drop_rate=drop_rate)
        self.hidden = hidden

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits, or with `pre_logits` what the classifier would read."""
        return super().forward(self.hidden(x), pre_logits) if self.global_pool else x


class PlainNet(ClassifierNet):
    """A chain of convolutions and pools, hidden layers, a linear classifier.

    Deviation: the tutorials draw weights of one standard deviation whatever the width; here it is He's by fan-in, so
    that networks of any width begin alike. TensorFlow pads maps of odd sides on both sides in the CIFAR-10 network's
    pools; here always on the right and below. Images for which the hidden layers' kernels are too large are refused
    there; here maps are enlarged by zeros.

    Args:
        form: `"mnist"`, `"cifar10"` (TensorFlow's tutorials: 5x5 convolutions with biases) or `"vgg"` (VGG-16n: 3x3
            convolutions with batch norms, and a 2x2 pool and a 3x3 convolution in place of VGG-16's hidden layers).
        widths: Channels of the convolutions, one number a stage.
        hidden: Channels of the hidden layers.
        num_classes: Classes; 0 leaves the classifier out.
        in_chans: Channels of the images.
        global_pool: timm's name of the pooling behind the hidden layers, which give one position for images of the
            papers' size; `""` leaves the hidden layers out.
        drop_rate: Dropout before the classifier.

    Raises:
        SkipweaveError: An argument does not fit; all that do not are named.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    def __init__(
        self,
        *,
        form: FormName = "vgg",
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        hidden: Sequence[int] = (1024,),
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        check = Arguments()
        check.one_of("form", form, list(_FORMS))
        shape = _FORMS.get(form, _FORMS["vgg"])
        widths = check.per_stage("widths", widths, len(shape.depths))
        hidden = check.per_stage("hidden", hidden, len(shape.hidden_kernels))
        check.classifier(
            heads="last", units=shape.depths, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate
        )
        check.done()

        stages = [_stage(shape, number, widths) for number in range(len(widths))]
        super().__init__(
            PlainStem(in_chans, widths[0], shape.kernel, padding=shape.kernel // 2, batch_norm=shape.batch_norm),
            nn.Sequential(*stages),
            nn.Identity(),
            HiddenHead(
                _hidden_layers(shape, widths[-1], hidden),
                hidden[-1],
                num_classes,
                global_pool=global_pool,
                drop_rate=drop_rate,
            ),
            {},
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
        )
        self.num_features = widths[-1]
        self.feature_info = [
            dict(num_chs=width, reduction=2**number, module=f"stages.{number}") for number, width in enumerate(widths)
        ]
        _initialize(self)

    def run(self, x: Tensor, places: Sequence[int] = ()) -> Iterator[Nodes]:
        """Run on the stem's output; yield what the head reads. There are no exits."""
        yield (self.stages(x),)

    def run_stages(self, x: Tensor) -> Iterator[Nodes]:
        """Run stage by stage and yield each one's output, alone in a tuple."""
        for stage in self.stages.children():
            x = stage(x)
            yield (x,)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only what the convolutions of the stages read for the backward pass, and run them again there."""
        for stage in self.stages.children():
            if isinstance(stage, PlainStage):
                stage.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, str] | Callable[[str], tuple[float, ...]]:
        """Groups of parameters for timm's layer-wise settings: by stage, or by quarters of a stage."""
        if coarse:
            return dict(stem=r"^stem", stages=r"^stages\.(\d+)")
        lengths = [len(stage.layers) for stage in self.stages.children() if isinstance(stage, PlainStage)]
        return depth_groups(
            r"stages\.(\d+)\.layers\.(\d+)", lambda found: (int(found[1]), int(found[2]) / lengths[int(found[1])])
        )


def _stage(shape: _Form, number: int, widths: Sequence[int]) -> PlainStage:
    """Build a stage; the first one's first convolution is the stem."""
    width, first = widths[number], number == 0
    count = shape.depths[number] - first
    sources = [width if first else widths[number - 1], *[width] * count][:count]
    make = partial(ConvLayer, kernel=shape.kernel, padding=shape.kernel // 2, batch_norm=shape.batch_norm)
    entry: list[nn.Module] = [] if first else [shape.make_pool()]
    leave: list[nn.Module] = []
    if shape.response_norm and not first:  # the tutorial's first norm stands behind the pool, its second one before it
        entry.append(_response_norm())
        leave.append(_response_norm())
    return PlainStage(nn.Sequential(*entry), [make(source, width) for source in sources], nn.Sequential(*leave), width)


def _response_norm() -> nn.Module:
    """TensorFlow's of radius 4 and alpha 0.001 / 9 a neighbor; torch divides alpha by the neighbors itself."""
    return nn.LocalResponseNorm(9, alpha=1e-3, beta=0.75, k=1.0)


def _hidden_layers(shape: _Form, in_width: int, widths: Sequence[int]) -> nn.Module:
    make = partial(ConvLayer, padding=0, batch_norm=shape.batch_norm)
    sources = [in_width, *widths[:-1]]
    layers = [make(*sizes) for sizes in zip(sources, widths, shape.hidden_kernels, strict=True)]
    return nn.Sequential(Enlarge(shape.least_side), shape.make_hidden_pool(), *layers)


def _initialize(model: nn.Module) -> None:
    """He initialization by fan-in for convolutions, for hidden layers too; biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


_PAPER = "1702.06257"
_MNIST: dict[str, Any] = dict(
    cifar_cfg(_PAPER), input_size=(1, 28, 28), pool_size=(1, 1), mean=(0.1307,), std=(0.3081,)
)
_CIFAR10: dict[str, Any] = dict(cifar_cfg(_PAPER), input_size=(3, 24, 24), pool_size=(1, 1))
_VGG: dict[str, Any] = dict(imagenet_cfg(_PAPER), pool_size=(1, 1))

register_variants(
    PlainNet,
    {"tutorial_mnist": dict(form="mnist", widths=(32, 64), hidden=(512,), num_classes=10, in_chans=1, drop_rate=0.5)},
    _MNIST,
)
register_variants(
    PlainNet, {"tutorial_cifar10": dict(form="cifar10", widths=(64, 64), hidden=(384, 192), num_classes=10)}, _CIFAR10
)
register_variants(PlainNet, {"vgg16n": dict(form="vgg", widths=(64, 128, 256, 512, 512), hidden=(1024,))}, _VGG)
