"""`CompressedModel`: a compressed network with its layers' costs before and after."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from skipweave.tracing.channel_layers import PRODUCERS, channel_dim
from skipweave.tracing.copies import in_mode
from skipweave.tracing.replicas import NORMS, Trials, run, shape_replica
from skipweave_config.errors import SkipweaveError


@dataclass(frozen=True)
class CompressedLayer:
    """A convolution or linear layer, with numbers before and after compression.

    Attributes:
        name: Name in the network.
        kind: "convolution 3x3", "fully connected 7x7" (a classifier or hidden layer in convolution form) or "linear".
        weights: Number of weights, without biases.
        macs: Multiply-accumulates per image.
        change: What was changed, or why nothing was.
    """

    name: str
    kind: str
    weights: tuple[int, int]
    macs: tuple[int, int]
    change: str


@dataclass(frozen=True)
class CompressedModel:
    """A compressed network and its report.

    Attributes:
        model: The compressed network, a copy.
        layers: Its convolutions and linear layers, in the order of the network.
        parameters: Number of learnable parameters before and after.
        norms: Number of learnable parameters of normalizations before and after.
    """

    model: nn.Module
    layers: tuple[CompressedLayer, ...]
    parameters: tuple[int, int]
    norms: tuple[int, int]

    @property
    def convolution_weights(self) -> tuple[int, int]:
        """Weights of all convolutions before and after, as counted in the paper's tables."""
        return _sum(layer.weights for layer in self.convolutions)

    @property
    def convolution_macs(self) -> tuple[int, int]:
        """Multiply-accumulates of all convolutions per image, before and after."""
        return _sum(layer.macs for layer in self.convolutions)

    @property
    def fully_connected_weights(self) -> tuple[int, int]:
        """Weights of all linear layers, and of those in convolution form, before and after."""
        return _sum(layer.weights for layer in self.layers if layer not in self.convolutions)

    @property
    def fully_connected_macs(self) -> tuple[int, int]:
        """Multiply-accumulates of these layers per image, before and after."""
        return _sum(layer.macs for layer in self.layers if layer not in self.convolutions)

    @property
    def macs(self) -> tuple[int, int]:
        """Multiply-accumulates of convolutions and linear layers per image, before and after."""
        return _sum(layer.macs for layer in self.layers)

    @property
    def convolutions(self) -> tuple[CompressedLayer, ...]:
        """The convolutions among the layers, without fully connected layers in convolution form."""
        return tuple(layer for layer in self.layers if layer.kind.startswith("convolution"))

    def __str__(self) -> str:
        """Format the layers as a table with totals."""
        head = ("layer", "kind", "weights", "after", "MACs", "after", "change")
        body = [
            (layer.name, layer.kind, *_figures(layer.weights), *_figures(layer.macs), layer.change)
            for layer in self.layers
        ]
        sums = [
            ("convolutions", "", *_figures(self.convolution_weights), *_figures(self.convolution_macs), ""),
            (
                "fully connected layers",
                "",
                *_figures(self.fully_connected_weights),
                *_figures(self.fully_connected_macs),
                "",
            ),
            ("normalizations", "", *_figures(self.norms), "", "", ""),
            ("all parameters", "", *_figures(self.parameters), "", "", ""),
        ]
        return _table([head, *body, *sums], left=(0, 1, 6))


def compare(
    before: nn.Module,
    after: nn.Module,
    changes: Mapping[str, str],
    trials: Trials,
    fully_connected: Collection[str] = (),
) -> CompressedModel:
    """Compare a network before and after compression; fully connected layers in convolution form are named."""
    layers = []
    for name, positions in output_positions(before, trials).items():
        old, new = before.get_submodule(name), after.get_submodule(name)
        weights = _weights(old), _weights(new)
        word = "fully connected " if name in fully_connected else "convolution "
        kind = word + "x".join(map(str, old.kernel_size)) if isinstance(old, _ConvNd) else "linear"
        macs = weights[0] * positions, weights[1] * positions
        layers.append(CompressedLayer(name, kind, weights, macs, changes.get(name, "")))
    parameters = count_parameters(before), count_parameters(after)
    return CompressedModel(after, tuple(layers), parameters, (_norm_parameters(before), _norm_parameters(after)))


def output_positions(model: nn.Module, trials: Trials) -> dict[str, int]:
    """Number of uses per image of each weight of a convolution or linear layer, by layer name.

    Layers that run only in training, such as auxiliary classifiers, are counted.
    """
    twin = shape_replica(trials, model)
    names: dict[nn.Module, str] = {part: name for name, part in twin.named_modules() if isinstance(part, PRODUCERS)}
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
        except SkipweaveError:  # detectors require targets in training
            continue
        uses |= found
    return {name: positions // inputs.batch for name, positions in uses.items()}


def _weights(layer: nn.Module) -> int:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.numel()


def count_parameters(model: nn.Module) -> int:
    """Number of learnable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _norm_parameters(model: nn.Module) -> int:
    return sum(count_parameters(part) for part in model.modules() if isinstance(part, NORMS))


def _sum(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    before, after = zip(*pairs, strict=True) if (pairs := list(pairs)) else ((), ())
    return sum(before), sum(after)


def _figures(pair: tuple[int, int]) -> tuple[str, str]:
    return f"{pair[0]:,}", f"{pair[1]:,}"


def _table(rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Format rows of cells as lines; the columns `left` are left-aligned, the others right-aligned."""
    rows = [[*row, *[""] * (len(rows[0]) - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = (
        [cell.ljust(width) if place in left else cell.rjust(width) for place, (cell, width) in enumerate(line)]
        for line in (zip(row, widths, strict=True) for row in rows)
    )
    return "\n".join("  ".join(line).rstrip() for line in cells)
