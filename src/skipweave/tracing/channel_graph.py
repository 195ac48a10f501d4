"""Which layer reads which channels of which other layer, found by running a network of stand-ins."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from skipweave.tracing.channel_layers import MAKERS, channel_dim
from skipweave.tracing.channel_pairs import Pairs, channel_pairs, reached_channels, seen_channels
from skipweave.tracing.copies import on_meta, replica, tensors_of
from skipweave.tracing.example_inputs import Inputs
from skipweave.tracing.held_tensors import tensors_in
from skipweave.tracing.replicas import NORMS, Trials, given_back, run

# Magnitudes of what stand-ins make, and whether signs differ: small positive numbers pass activations that saturate and
# sums of many maps; large ones of both signs pass those that give 0 near 0 or for positive numbers.
_VALUES = ((1e-3, False), (3.0, True))


@dataclass(frozen=True)
class ChannelGraph:
    """The ways of channels through a network in evaluation mode, from the layer that makes one to those that read it.

    Layers are convolutions and linear layers. What lies between them may be any differentiable operation.

    Attributes:
        layers: Names, in the order in which they first run.
        feeds: By reader, then by maker: which of the reader's input channels each of the maker's channels becomes; of
            linear layers, input 0 stands for all.
        shown: By maker: which channels reach the network's output without passing another layer.
    """

    layers: tuple[str, ...]
    feeds: Mapping[str, Mapping[str, Pairs]]
    shown: Mapping[str, NDArray[np.bool_]]

    def readers_of(self, maker: str) -> tuple[str, ...]:
        """Layers that see some channel of a layer."""
        return tuple(reader for reader, makers in self.feeds.items() if maker in makers)


def channel_graph(model: nn.Module, trials: Trials) -> ChannelGraph:
    """Trace the channels of a network.

    A replica of it is run on the CPU, in which every convolution and linear layer makes random numbers in the shape of
    its output, every normalization returns its input, and all other parameters are ones. The gradient of a random sum
    of what a layer reads then tells which channels it comes from, and that of a sum weighted by their numbers, which
    ones they become.

    Args:
        model: On any device; not changed.
        trials: What it is run with.

    Raises:
        SkipweaveError: The network cannot run in this form.
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
    joined = {
        reader: {maker: np.unique(np.concatenate(pairs, axis=1), axis=1) for maker, pairs in feeds[reader].items()}
        for reader in layers
    }
    return ChannelGraph(
        layers, joined, {name: shown.get(name, np.zeros(width, bool)) for name, width in tracer.widths().items()}
    )


def _on_cpu(inputs: Inputs) -> Inputs:
    def change(tensor: Tensor) -> Tensor:
        tensor = torch.ones_like(tensor, device="cpu") if tensor.is_meta else tensor.cpu()
        return tensor.double() if tensor.is_floating_point() else tensor

    return inputs.map(change)


def _neutral(model: nn.Module) -> nn.Module:
    """Copy a network to the CPU, with numbers that change nothing; those of its layers take no memory."""
    of_layers = {id(p) for part in model.modules() if isinstance(part, MAKERS) for p in part.parameters()}

    def change(place: str, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return torch.ones_like(tensor, device="cpu") if tensor.is_meta else tensor.cpu()
        value = torch.tensor(0.0 if place.endswith(("bias", "mean")) else 1.0, dtype=torch.float64, device="cpu")
        return value.expand(tensor.shape) if id(tensor) in of_layers else value.repeat(tensor.shape)

    return replica(model, change)


class _Differentiable(TorchFunctionMode):
    """While it lasts, gradients pass `no_grad`, `detach` and `data`: what these give depends on maps, too."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.detach, Tensor.detach_, Tensor.data.__get__):  # type: ignore[attr-defined]
            return args[0]
        with torch.inference_mode(False), torch.enable_grad():
            return func(*args, **(kwargs or {}))


class _Tracer:
    """Notes what every layer of a replica reads and makes while it runs.

    Args:
        model: The network.
        magnitude: Largest of the numbers that stand-ins make.
        signed: Whether some are negative.
        generator: Draws them.
    """

    def __init__(self, model: nn.Module, magnitude: float, signed: bool, generator: torch.Generator) -> None:
        self.twin = _neutral(model)
        self.read: list[tuple[str, Tensor, int]] = []
        self.made: list[tuple[str, Tensor]] = []
        self._magnitude, self._signed, self._generator = magnitude, signed, generator
        self._dims: dict[str, int] = {}  # of the channels of what layers make
        self._convolutions: set[str] = set()
        sizes = on_meta(model)
        for name, part in self.twin.named_modules():
            if isinstance(part, MAKERS):
                self._convolutions |= {name} if not isinstance(part, nn.Linear) else set()
                part.forward = self._stand_in(name, sizes.get_submodule(name))  # type: ignore[method-assign]
            elif isinstance(part, NORMS):
                part.forward = given_back  # type: ignore[method-assign]

    def _stand_in(self, name: str, part: nn.Module) -> Callable[..., Tensor]:
        dtype = next(part.parameters()).dtype

        def forward(input: Tensor, *rest: Any) -> Tensor:
            shape = type(part).forward(part, input.to("meta", dtype), *rest).shape
            leaf = self._numbers(shape).requires_grad_()
            dim = self._dims[name] = channel_dim(part, leaf)
            self.read.append((name, input.clone(), dim))  # a copy: the network may go on to change its own in place
            self.made.append((name, leaf))
            return leaf.clone()

        return forward

    def _numbers(self, shape: torch.Size) -> Tensor:
        numbers = torch.rand(shape, dtype=torch.float64, device="cpu", generator=self._generator).add_(0.1)
        if self._signed:
            numbers *= torch.randint(0, 2, shape, device="cpu", generator=self._generator) * 2 - 1
        return numbers.mul_(self._magnitude)

    def widths(self) -> dict[str, int]:
        """Channels that each layer makes."""
        return {name: leaf.shape[self._dims[name]] for name, leaf in self.made}

    def trace(
        self, returned: object, feeds: dict[str, dict[str, list[Pairs]]], shown: dict[str, NDArray[np.bool_]]
    ) -> None:
        """Add what this run shows to what is known, given what the network has returned."""
        leaves = [(leaf, self._dims[name]) for name, leaf in self.made]
        for reader, x, dim in self.read:
            ways = channel_pairs(x, dim, leaves) if reader in self._convolutions else seen_channels(x, leaves)
            for place, pairs in ways:
                feeds[reader].setdefault(self.made[place][0], []).append(pairs)
        for output in (*tensors_in(returned), *(tensor for _, tensor in tensors_of(self.twin))):
            if output.requires_grad and not output.is_leaf:
                for place, reached in reached_channels(output, leaves):
                    maker, _ = self.made[place]
                    shown[maker] = shown.get(maker, False) | reached
