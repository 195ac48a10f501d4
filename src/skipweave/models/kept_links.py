"""Weights of a DenseNet carried into a network with fewer links, as a start for training it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from skipweave.layers import Stage
from skipweave.models.densenet_state_dict import DenseReader, readers_of, require_batch_norm
from skipweave.models.exit_weights import exits_of, fit_exits
from skipweave.models.sparsenet import SparseNet
from skipweave_config.errors import SkipweaveError


def keep_links(dense: SparseNet, sparse: SparseNet) -> dict[str, Tensor]:
    """Select the weights of the links that a sparser network keeps.

    For each reader, the channels of the sources that it no longer reads are left out of scale, shift and convolution.
    A transition that reads fewer nodes has fewer outputs: those with the largest filters are kept. The result is not
    the same function: it is a start for training.

    Args:
        dense: The trained network.
        sparse: A network with the same units and growth, each of whose links `dense` has; its weights are not used.

    Returns:
        A state dict of `sparse`; classifiers and first convolutions are those of `dense`, and so are early exits after
        the same unit that read the same nodes (`fit_exits`).

    Raises:
        SkipweaveError: The networks differ in units or growth, `sparse` has a link that `dense` has not, or one of them
            has other norms than batch norms.
    """
    require_batch_norm(dense)
    require_batch_norm(sparse)
    _check_links(dense, sparse)
    theirs = dense.state_dict()
    ours = {name: value for name, value in theirs.items() if name in sparse.state_dict()}
    stages = list(zip(_stages(dense), _stages(sparse), strict=True))
    entry = torch.arange(stages[0][0].widths[0])
    for index, (wide, narrow) in enumerate(stages):
        last = index + 1 == len(stages)
        ours |= _of_entry(ours, f"stages.{index}.entry.norm", entry)
        for reader, kept in zip(readers_of(index, wide, last), readers_of(index, narrow, last), strict=True):
            channels = _channels(wide.widths, reader.sources, kept.sources, entry)
            ours |= _read(theirs, reader, channels)
        if not last:
            [(_, carry)] = reader.convs
            norms = ours[f"{carry}.weight"].flatten(1).norm(dim=1)
            entry = norms.topk(stages[index + 1][1].widths[0]).indices.sort().values
            ours[f"{carry}.weight"] = ours[f"{carry}.weight"][entry]
    return fit_exits({**ours, **exits_of(theirs)}, dense.exit_units, sparse)[0]


def _stages(network: SparseNet) -> list[Stage]:
    return list(network.stages)  # type: ignore[arg-type]


def _check_links(dense: SparseNet, sparse: SparseNet) -> None:
    wide, narrow = _stages(dense), _stages(sparse)
    if [stage.widths[1:] for stage in wide] != [stage.widths[1:] for stage in narrow]:
        raise SkipweaveError("networks have other units or growth: expected networks that differ in topology only")
    for index in range(len(wide)):
        pairs = zip(wide[index].topology.reads, narrow[index].topology.reads, strict=True)
        for node, (theirs, ours) in enumerate(pairs, start=1):
            if missing := set(ours) - set(theirs):
                raise SkipweaveError(
                    f"node {node} of stage {index} reads node {min(missing)}, which it does not read in the network "
                    f"that weights are taken from: expected a topology with fewer links"
                )


def _channels(widths: Sequence[int], dense: Sequence[int], kept: Sequence[int], entry: Tensor) -> Tensor:
    """Positions of the kept sources' channels in the concatenation of the dense network."""
    starts, position = {}, 0
    for source in dense:
        starts[source] = position
        position += widths[source]
    return torch.cat([starts[node] + (entry if node == 0 else torch.arange(widths[node])) for node in kept])


def _read(state: Mapping[str, Tensor], reader: DenseReader, channels: Tensor) -> dict[str, Tensor]:
    affine = [name for name in state if name.rpartition(".")[0] == reader.our_read]
    read = {name: state[name][channels] for name in affine}
    if not reader.convs:  # the classifier, on pooled maps of one or more positions per channel
        if "head.fc.weight" not in state:
            return read
        weight = state["head.fc.weight"]
        positions = weight.shape[1] // len(state[f"{reader.our_read}.bias"])
        return {**read, "head.fc.weight": weight.unflatten(1, (-1, positions))[:, channels].flatten(1)}
    _, first = reader.convs[0]
    return {**read, f"{first}.weight": state[f"{first}.weight"][:, channels]}


def _of_entry(state: Mapping[str, Any], norm: str, entry: Tensor) -> dict[str, Tensor]:
    return {f"{norm}.{name}": state[f"{norm}.{name}"][entry] for name in ("running_mean", "running_var")}
