"""Which layer reads which channels of which other layer, found by running a network of stand-ins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from skipweave.compress.dry_run import shape_twin
from skipweave.compress.widths import MAKERS
from skipweave.errors import SkipweaveError

Places = NDArray[np.int64]


@dataclass(frozen=True)
class ChannelGraph:
    """The ways of channels through a network in evaluation mode, from the layer that makes one to those that read it.

    Layers are convolutions and linear layers. What lies between them (norms, activations, pools, sums, concatenations,
    gates) must give each channel a place of its own, as it does in all common networks.

    Attributes:
        layers: Names, in the order in which they first run.
        feeds: By reader, then by maker: the input channel of the reader that each of the maker's channels becomes; -1
            for those it does not see. Of linear layers behind a flattened map only whether there is one counts.
        shown: By maker: which channels reach the network's output without passing another layer.
    """

    layers: tuple[str, ...]
    feeds: Mapping[str, Mapping[str, Places]]
    shown: Mapping[str, NDArray[np.bool_]]

    def readers_of(self, maker: str) -> tuple[str, ...]:
        """Layers that see some channel of a layer."""
        return tuple(reader for reader, makers in self.feeds.items() if maker in makers)


def channel_graph(model: nn.Module, input_size: tuple[int, int, int]) -> ChannelGraph:
    """Trace the channels of a network.

    A twin of it is run, in which every convolution and linear layer gives ones in the shape of its output, every
    normalisation its input, and all other parameters are such that they change nothing. The gradient of a layer's input
    then tells which outputs it comes from, and a weighted one their places. No weight of the model is read or held.

    Args:
        model: On any device; not changed.
        input_size: Channels, height and width of an image.

    Raises:
        SkipweaveError: The model cannot take such images.
    """
    twin = _neutral(shape_twin(model)).eval()
    tracer = _Tracer(twin)
    with torch.device("cpu"), torch.enable_grad():
        try:
            outputs = twin(torch.ones(1, *input_size, dtype=torch.float64))
        except (RuntimeError, ValueError) as error:
            raise SkipweaveError(f"the model cannot run for images of size {input_size}: {error}") from error
        return tracer.graph([leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)])


def _neutral(twin: nn.Module) -> nn.Module:
    """Put all tensors of a model on the CPU in place of the meta device, but for those of layers: ones, biases zero."""
    for part in twin.modules():
        if isinstance(part, MAKERS):
            continue
        for name, parameter in part.named_parameters(recurse=False):
            fill = torch.zeros if name.endswith("bias") else torch.ones
            setattr(part, name, nn.Parameter(fill(parameter.shape, dtype=torch.float64, device="cpu"), False))
        for name, buffer in part.named_buffers(recurse=False):
            fill = torch.zeros if name.endswith("mean") else torch.ones
            dtype = torch.float64 if buffer.is_floating_point() else buffer.dtype
            setattr(part, name, fill(buffer.shape, dtype=dtype, device="cpu"))
    return twin


class _Tracer:
    """Notes what every layer of a twin reads and makes while it runs."""

    def __init__(self, twin: nn.Module) -> None:
        self.read: list[tuple[str, Tensor]] = []
        self.made: list[tuple[str, Tensor]] = []
        self.last: set[str] = set()  # layers whose channels are the last dimension of what they read and make
        for name, part in twin.named_modules():
            if isinstance(part, MAKERS):
                part.forward = self._stand_in(name, part)  # type: ignore[method-assign]
                self.last |= {name} if isinstance(part, nn.Linear) else set()

    def _stand_in(self, name: str, part: nn.Module) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            weight = part.weight
            assert isinstance(weight, Tensor)
            shape = type(part).forward(part, x.detach().to("meta", weight.dtype)).shape
            ones = torch.ones(shape, dtype=torch.float64, requires_grad=True)
            self.read.append((name, x.clone()))  # a copy: the network may go on to change its own in place
            self.made.append((name, ones))
            return ones.clone()

        return forward

    def graph(self, outputs: list[Tensor]) -> ChannelGraph:
        """Put together what was noted."""
        feeds: dict[str, dict[str, Places]] = {}
        for reader, x in self.read:
            found = feeds.setdefault(reader, {})
            for maker, places in self._places(x, -1 if reader in self.last else 1):
                found[maker] = np.maximum(found[maker], places) if maker in found else places
        shown: dict[str, NDArray[np.bool_]] = {}
        for output in outputs:
            for maker, places in self._places(output, 1):
                shown[maker] = shown.get(maker, False) | (places >= 0)
        return ChannelGraph(tuple(dict.fromkeys(name for name, _ in self.made)), feeds, shown)

    def _places(self, x: Tensor, dim: int) -> list[tuple[str, Places]]:
        """Layers that a tensor comes from, each with the places of its channels along a dimension of the tensor."""
        if not x.requires_grad:
            return []
        numbers = torch.arange(x.shape[dim], dtype=x.dtype)
        numbers = numbers if dim == -1 else numbers.view(-1, *[1] * (x.dim() - 2))
        leaves = [leaf for _, leaf in self.made]
        plain = torch.autograd.grad(x.sum(), leaves, retain_graph=True, allow_unused=True)
        weighted = torch.autograd.grad((x * numbers).sum(), leaves, retain_graph=True, allow_unused=True)
        found = []
        for (maker, _), once, places in zip(self.made, plain, weighted, strict=True):
            if once is not None and places is not None and once.any():
                once, places = self._by_channel(maker, once), self._by_channel(maker, places)
                found.append((maker, torch.where(once > 0, (places / once).round(), -1).long().numpy()))
        return found

    def _by_channel(self, maker: str, gradient: Tensor) -> Tensor:
        dim = gradient.dim() - 1 if maker in self.last else 1
        return gradient.sum([other for other in range(gradient.dim()) if other != dim])
