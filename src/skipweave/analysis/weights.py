"""How strongly readers weigh the nodes that they read, from their weights alone."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch import Tensor, nn

from skipweave.errors import SkipweaveError
from skipweave.layers import ConcatRead, CrossConv, SpanningStages, Stage, Unit


def cross_norms(model: nn.Module) -> tuple[np.ndarray, ...]:
    """Weights of the cross-layer convolutions that read whole stages: the transitions' and the classifier's.

    The value of a node is the L2 norm of its weights over the channels, divided by the largest such norm of the reader
    (DelugeNets, Fig. 3). With `cross="normalised"` the weights apply to normalised nodes, so they can be compared.

    Returns:
        One array a stage, (n + 1,): the values of the nodes 0..n, NaN where a node is not read.

    Raises:
        SkipweaveError: Nothing in the network reads a stage through such a convolution.
    """
    found = []
    for stage in _stages(model):
        if isinstance(stage.collect, CrossConv):
            norms = _numbers(stage.collect.weight).astype(np.float64)
            values = np.full(stage.topology.units + 1, np.nan)
            values[list(stage.topology.output)] = np.linalg.norm(norms, axis=1)
            found.append(_relative(values))
    if not found:
        raise SkipweaveError("no cross-layer convolution reads a stage of this network: expected a DelugeNet")
    return tuple(found)


def reuse_maps(model: nn.Module) -> tuple[np.ndarray, ...]:
    """Weights of the convolutions that read concatenated nodes (SparseNet, Fig. 3).

    The value of a node is the mean absolute weight, in the first convolution of the unit that reads it, of the node's
    channels, divided by the largest such mean of that unit.

    Returns:
        One array a stage, (n, n), or one in all where one topology spans the stages: row s is the node 0..n-1 that is
        read, column i the node i + 1 that is made; NaN where a node is not read.

    Raises:
        SkipweaveError: The network has no units that read concatenated nodes.
    """
    maps = [_reuse(units) for units in _units_by_map(model) if units]
    if not maps:
        raise SkipweaveError("no unit of this network reads concatenated nodes: expected a DenseNet or one of its kin")
    return tuple(maps)


def _units_by_map(model: nn.Module) -> Iterator[list[tuple[Unit, Sequence[int]]]]:
    """Units that concatenate, in order, with the nodes that each reads; one list a map."""
    stages = getattr(model, "stages", ())
    if isinstance(stages, SpanningStages):
        steps = (step for steps in stages.plan.steps for step in steps if not step.is_carry)
        reads = [[version.node for version in step.reads] for step in steps]
        yield _concatenating(stages.units, reads)
    for stage in _stages(model):
        yield _concatenating(stage.units, stage.topology.reads[:-1])


def _concatenating(units: Iterable[nn.Module], reads: Sequence[Sequence[int]]) -> list[tuple[Unit, Sequence[int]]]:
    """Pairs of units and what they read; none where the aggregation is another one."""
    pairs = [(unit, nodes) for unit, nodes in zip(units, reads, strict=True) if isinstance(unit, Unit)]
    return pairs if all(isinstance(unit.read, ConcatRead) for unit, _ in pairs) else []


def _reuse(units: Sequence[tuple[Unit, Sequence[int]]]) -> np.ndarray:
    values = np.full((len(units), len(units)), np.nan)
    for column, (unit, nodes) in enumerate(units):
        assert isinstance(unit.read, ConcatRead)
        convolution = next(module for module in unit.body.modules() if isinstance(module, nn.Conv2d))
        means = np.abs(_numbers(convolution.weight)).mean(axis=(0, 2, 3), dtype=np.float64)
        parts = np.split(means, np.cumsum(unit.read.widths)[:-1])
        values[list(nodes), column] = [part.mean() for part in parts]
        values[:, column] = _relative(values[:, column])
    return values


def _stages(model: nn.Module) -> list[Stage]:
    stages = getattr(model, "stages", ())
    return [stage for stage in stages if isinstance(stage, Stage)] if isinstance(stages, Iterable) else []


def _numbers(weight: Tensor) -> np.ndarray:
    return weight.detach().float().cpu().numpy()


def _relative(values: np.ndarray) -> np.ndarray:
    """Divide by the largest value, unless all are zero."""
    return values / (np.nanmax(values) or 1.0)
