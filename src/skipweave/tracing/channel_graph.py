"""`channel_graph`: which layers read which channels of which other layers, determined by gradients."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from skipweave.tracing.channel_layers import PRODUCERS, channel_dim
from skipweave.tracing.channel_pairs import Pairs, channel_pairs, reached_channels, seen_channels
from skipweave.tracing.copies import on_meta, replica, tensors_of
from skipweave.tracing.example_inputs import Inputs
from skipweave.tracing.held_tensors import tensors_in
from skipweave.tracing.replicas import NORMS, Trials, identity_forward, run

# Magnitudes of the substitutes' outputs, and whether they have both signs: small positive values pass saturating
# activations and sums of many maps; large values of both signs pass those that are 0 near 0 or for positive values.
_VALUES = ((1e-3, False), (3.0, True))


@dataclass(frozen=True)
class ChannelGraph:
    """The paths of channels between the layers of a network in evaluation mode.

    Layers are convolutions and linear layers; between them may be any differentiable operations.

    Attributes:
        layers: Names, in the order in which they first run.
        feeds: For each reader and producer, pairs of a channel of the producer and the input channel of the reader that
            it becomes; for linear layers, input 0 stands for all.
        shown: For each producer, whether each channel reaches the network's output without passing another layer.
    """

    layers: tuple[str, ...]
    feeds: Mapping[str, Mapping[str, Pairs]]
    shown: Mapping[str, NDArray[np.bool_]]

    def readers_of(self, producer: str) -> tuple[str, ...]:
        """Layers that read any channel of a producer."""
        return tuple(reader for reader, producers in self.feeds.items() if producer in producers)


def channel_graph(model: nn.Module, trials: Trials) -> ChannelGraph:
    """Trace the channels of a network.

    A replica runs on the CPU in which every convolution and linear layer returns random numbers of the shape of its
    output, every normalization is the identity, and all other parameters are ones. The gradient of a random sum over a
    layer's input then shows which channels it depends on, and the gradient of a sum weighted by channel index shows
    which input channels they become.

    Raises:
        SkipweaveError: The replica cannot run.
    """
    feeds: dict[str, dict[str, list[Pairs]]] = defaultdict(dict)
    shown: dict[str, NDArray[np.bool_]] = {}
    for number, (magnitude, signed) in enumerate(_VALUES):
        tracer = _Tracer(model, magnitude, signed, torch.Generator().manual_seed(number))
        with torch.device("cpu"), _Differentiable():
            returned = run(tracer.twin, _on_cpu(trials.inputs[0]))
        with torch.device("cpu"), torch.inference_mode(False), torch.enable_grad():
            tracer.trace(returned, feeds, shown)
    layers = tuple(dict.fromkeys(name for name, _ in tracer.made))
    merged = {
        reader: {
            producer: np.unique(np.concatenate(pairs, axis=1), axis=1) for producer, pairs in feeds[reader].items()
        }
        for reader in layers
    }
    return ChannelGraph(
        layers, merged, {name: shown.get(name, np.zeros(width, bool)) for name, width in tracer.widths().items()}
    )


def _on_cpu(inputs: Inputs) -> Inputs:
    def change(tensor: Tensor) -> Tensor:
        tensor = torch.ones_like(tensor, device="cpu") if tensor.is_meta else tensor.cpu()
        return tensor.double() if tensor.is_floating_point() else tensor

    return inputs.map(change)


def _neutral(model: nn.Module) -> nn.Module:
    """Copy a network to the CPU with neutral parameters; those of layers are expanded scalars without memory."""
    of_layers = {id(p) for part in model.modules() if isinstance(part, PRODUCERS) for p in part.parameters()}

    def change(place: str, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return torch.ones_like(tensor, device="cpu") if tensor.is_meta else tensor.cpu()
        value = torch.tensor(0.0 if place.endswith(("bias", "mean")) else 1.0, dtype=torch.float64, device="cpu")
        return value.expand(tensor.shape) if id(tensor) in of_layers else value.repeat(tensor.shape)

    return replica(model, change)


class _Differentiable(TorchFunctionMode):
    """Mode in which gradients pass through `no_grad`, `detach` and `data`, whose results depend on maps as well."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.detach, Tensor.detach_, Tensor.data.__get__):  # type: ignore[attr-defined]
            return args[0]
        with torch.inference_mode(False), torch.enable_grad():
            return func(*args, **(kwargs or {}))


class _Tracer:
    """Records inputs and outputs of every layer of a replica while it runs."""

    def __init__(self, model: nn.Module, magnitude: float, signed: bool, generator: torch.Generator) -> None:
        self.twin = _neutral(model)
        self.read: list[tuple[str, Tensor, int]] = []
        self.made: list[tuple[str, Tensor]] = []
        self._magnitude, self._signed, self._generator = magnitude, signed, generator
        self._dims: dict[str, int] = {}  # channel dimension of each layer's output
        self._convolutions: set[str] = set()
        sizes = on_meta(model)
        for name, part in self.twin.named_modules():
            if isinstance(part, PRODUCERS):
                self._convolutions |= {name} if not isinstance(part, nn.Linear) else set()
                part.forward = self._stand_in(name, sizes.get_submodule(name))  # type: ignore[method-assign]
            elif isinstance(part, NORMS):
                part.forward = identity_forward  # type: ignore[method-assign]

    def _stand_in(self, name: str, part: nn.Module) -> Callable[..., Tensor]:
        dtype = next(part.parameters()).dtype

        def forward(input: Tensor, *rest: Any) -> Tensor:
            shape = type(part).forward(part, input.to("meta", dtype), *rest).shape
            leaf = self._numbers(shape).requires_grad_()
            dim = self._dims[name] = channel_dim(part, leaf)
            self.read.append((name, input.clone(), dim))  # a copy, since the network may modify its own in place
            self.made.append((name, leaf))
            return leaf.clone()

        return forward

    def _numbers(self, shape: torch.Size) -> Tensor:
        numbers = torch.rand(shape, dtype=torch.float64, device="cpu", generator=self._generator).add_(0.1)
        if self._signed:
            numbers *= torch.randint(0, 2, shape, device="cpu", generator=self._generator) * 2 - 1
        return numbers.mul_(self._magnitude)

    def widths(self) -> dict[str, int]:
        """Number of output channels of each layer."""
        return {name: leaf.shape[self._dims[name]] for name, leaf in self.made}

    def trace(
        self, returned: object, feeds: dict[str, dict[str, list[Pairs]]], shown: dict[str, NDArray[np.bool_]]
    ) -> None:
        """Add the paths of this run to `feeds` and `shown`, given the network's output."""
        leaves = [(leaf, self._dims[name]) for name, leaf in self.made]
        for reader, x, dim in self.read:
            ways = channel_pairs(x, dim, leaves) if reader in self._convolutions else seen_channels(x, leaves)
            for place, pairs in ways:
                feeds[reader].setdefault(self.made[place][0], []).append(pairs)
        for output in (*tensors_in(returned), *(tensor for _, tensor in tensors_of(self.twin))):
            if output.requires_grad and not output.is_leaf:
                for place, reached in reached_channels(output, leaves):
                    producer, _ = self.made[place]
                    shown[producer] = shown.get(producer, False) | reached
