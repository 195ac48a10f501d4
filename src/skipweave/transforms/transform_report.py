"""What thinning did to a network, layer by layer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from skipweave.errors import SkipweaveError
from skipweave.tracing.channel_layers import MAKERS, channel_dim
from skipweave.tracing.copies import in_mode
from skipweave.tracing.replicas import NORMS, Trials, run, shape_twin


@dataclass(frozen=True)
class ThinnedLayer:
    """One convolution or linear layer, each figure before and after.

    Attributes:
        name: In the network.
        kind: "convolution 3x3" or "linear".
        weights: Without biases.
        macs: Multiply-accumulates for one image.
        change: What was done to the layer, or why nothing was.
    """

    name: str
    kind: str
    weights: tuple[int, int]
    macs: tuple[int, int]
    change: str


@dataclass(frozen=True)
class Thinned:
    """A thinned network and what was done to it.

    Attributes:
        model: The thinned network, a copy.
        layers: Its convolutions and linear layers, in the order of the network's names.
        parameters: All learnable parameters, before and after.
        norms: Those of them that are gains and biases of normalizations.
    """

    model: nn.Module
    layers: tuple[ThinnedLayer, ...]
    parameters: tuple[int, int]
    norms: tuple[int, int]

    @property
    def convolution_weights(self) -> tuple[int, int]:
        """Weights of all convolutions, before and after: what the paper's tables count."""
        return _sum(layer.weights for layer in self.convolutions)

    @property
    def convolution_macs(self) -> tuple[int, int]:
        """Multiply-accumulates of all convolutions for one image, before and after."""
        return _sum(layer.macs for layer in self.convolutions)

    @property
    def macs(self) -> tuple[int, int]:
        """Multiply-accumulates of convolutions and linear layers for one image, before and after."""
        return _sum(layer.macs for layer in self.layers)

    @property
    def convolutions(self) -> tuple[ThinnedLayer, ...]:
        """The layers without the linear ones."""
        return tuple(layer for layer in self.layers if layer.kind != "linear")

    def __str__(self) -> str:
        """Lay out the layers as a table, with sums below it."""
        head = ("layer", "kind", "weights", "after", "MACs", "after", "change")
        body = [
            (layer.name, layer.kind, *_figures(layer.weights), *_figures(layer.macs), layer.change)
            for layer in self.layers
        ]
        sums = [
            ("convolutions", "", *_figures(self.convolution_weights), *_figures(self.convolution_macs), ""),
            (
                "and linear layers",
                "",
                *_figures(_sum(layer.weights for layer in self.layers)),
                *_figures(self.macs),
                "",
            ),
            ("normalizations", "", *_figures(self.norms), "", "", ""),
            ("all parameters", "", *_figures(self.parameters), "", "", ""),
        ]
        return _table([head, *body, *sums], left=(0, 1, 6))


def thinned(before: nn.Module, after: nn.Module, changes: Mapping[str, str], trials: Trials) -> Thinned:
    """Compare a network with what became of it.

    Args:
        before: As it was given.
        after: A copy whose layers have the same names and give maps of the same size.
        changes: What was done to a layer, by its name.
        trials: What the network given is run with.
    """
    layers = []
    for name, positions in output_positions(before, trials).items():
        old, new = before.get_submodule(name), after.get_submodule(name)
        weights = _weights(old), _weights(new)
        kind = "convolution " + "x".join(map(str, old.kernel_size)) if isinstance(old, _ConvNd) else "linear"
        macs = weights[0] * positions, weights[1] * positions
        layers.append(ThinnedLayer(name, kind, weights, macs, changes.get(name, "")))
    parameters = _parameters(before), _parameters(after)
    return Thinned(after, tuple(layers), parameters, (_norm_parameters(before), _norm_parameters(after)))


def output_positions(model: nn.Module, trials: Trials) -> dict[str, int]:
    """How often each weight of a convolution or linear layer is used for one image, by the layer's name.

    Layers that run in training only, as auxiliary classifiers do, count as if they always ran.
    """
    twin = shape_twin(trials, model)
    names: dict[nn.Module, str] = {part: name for name, part in twin.named_modules() if isinstance(part, MAKERS)}
    uses = dict.fromkeys(names.values(), 0)
    inputs = next(trials.here())

    def note(part: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor) -> None:
        where = output
        if isinstance(part, _ConvTransposeNd):
            where = args[0] if args else kwargs["input"]
        found[names[part]] = found.get(names[part], 0) + where.numel() // where.shape[channel_dim(part, where)]

    for part in names:
        part.register_forward_hook(note, with_kwargs=True)
    for training in (True, False):
        found: dict[str, int] = {}
        try:
            run(in_mode(twin, training=training), inputs)
        except SkipweaveError:  # detectors want targets in training
            continue
        uses |= found
    return {name: positions // inputs.batch for name, positions in uses.items()}


def _weights(layer: nn.Module) -> int:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.numel()


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _norm_parameters(model: nn.Module) -> int:
    return sum(_parameters(part) for part in model.modules() if isinstance(part, NORMS))


def _sum(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    before, after = zip(*pairs, strict=True) if (pairs := list(pairs)) else ((), ())
    return sum(before), sum(after)


def _figures(pair: tuple[int, int]) -> tuple[str, str]:
    return f"{pair[0]:,}", f"{pair[1]:,}"


def _table(rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Rows of cells as lines, set flush left in some columns and right in the others."""
    rows = [[*row, *[""] * (len(rows[0]) - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = (
        [cell.ljust(width) if place in left else cell.rjust(width) for place, (cell, width) in enumerate(line)]
        for line in (zip(row, widths, strict=True) for row in rows)
    )
    return "\n".join("  ".join(line).rstrip() for line in cells)
