"""Folding of batch norms into the layers before or after them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from skipweave.layers import ChannelSparseConv2d, ConcatRead, CrossConv, DilatedAvgPool, NodeNorm
from skipweave.layers.seqconv import ConvUnit
from skipweave.tracing.copies import HOOKS
from skipweave.tracing.dataflow import Flow, Step
from skipweave.transforms.attachments import attached, carry_over, own_tensors
from skipweave.transforms.inference.channel_affine import (
    affine_of_norm,
    is_invertible,
    output_channels,
    scale_input,
    scale_output,
    scale_source,
)

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, NodeNorm, BatchNormAct2d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2dSame, *_TRANSPOSED)
_PRODUCERS = (*_CONVOLUTIONS, ChannelSparseConv2d, CrossConv)
_RUNNING = {"forward", "_conv_forward", "__call__", "__getattr__", "weight", "bias", "running_mean", "running_var"}
_WHOLE = (_BatchNorm, _ConvNd, ChannelSparseConv2d, CrossConv, nn.AvgPool2d, DilatedAvgPool, ConcatRead)


@dataclass(frozen=True)
class Folding:
    """Report of the batch norms of a network.

    Attributes:
        folded: Layers into which each folded batch norm was folded, by its name; empty if nothing reads its output.
        left: Why each other batch norm was not folded, by its name.
    """

    folded: Mapping[str, tuple[str, ...]]
    left: Mapping[str, str]

    def __str__(self) -> str:
        """List the folded and the other batch norms, one per line."""
        return "\n".join(
            [
                f"{len(self.folded)} batch norms folded",
                *(f"  {name}: into {', '.join(into) or 'nothing'}" for name, into in self.folded.items()),
                f"{len(self.left)} batch norms left",
                *(f"  {name}: {reason}" for name, reason in self.left.items()),
            ]
        )


def is_step(part: nn.Module) -> bool:
    """Whether `fold_norms` treats a module as a single step."""
    return isinstance(part, _WHOLE)


def fold_norms(model: nn.Module, flows: Sequence[Flow], skipped: Mapping[str, str]) -> Folding:
    """Fold the batch norms of a network in place, without changing its outputs.

    Args:
        model: The network in evaluation mode.
        flows: Its `data_flows`, with the modules of `is_step` as steps.
        skipped: Batch norms that are not folded, with the reasons.
    """
    network = _Network(model, flows)
    folded: dict[str, tuple[str, ...]] = {}
    left: dict[str, str] = {}
    for name, part in network.parts.items():
        if name in skipped:
            left[name] = skipped[name]
        elif isinstance(part, _BatchNorm):
            try:
                folded[name] = _fold(network, name, part)
            except _CannotFoldError as reason:
                left[name] = str(reason)
    return Folding(folded, left)


class FoldedConvUnit(nn.Module):
    """A `ConvUnit` with a folded batch norm, whose raw map has other readers.

    Shape: (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        return self.raw_and_activated(x)[1]

    def raw_and_activated(self, x: Tensor, shortcut: None = None) -> tuple[Tensor, Tensor]:
        """Return the raw and the activated map."""
        raw = self.conv(x)
        return raw, raw.relu()


class _CannotFoldError(Exception):
    """A batch norm cannot be folded, with the reason."""


class _Network:
    """A network that is modified, with its data flows."""

    def __init__(self, model: nn.Module, flows: Sequence[Flow]) -> None:
        self.model = model
        self.flows = flows
        self.parts = dict(model.named_modules())
        self.unit_of = {f"{name}.norm": name for name, part in self.parts.items() if type(part) is ConvUnit}
        self._attached = attached(model, new_parameters=False)
        self._borrowed = frozenset[str]().union(*(flow.shared for flow in flows))
        self._names: dict[nn.Module, list[str]] = {}
        for name, part in model.named_modules(remove_duplicate=False):
            self._names.setdefault(part, []).append(name)

    def replace(self, name: str, part: nn.Module) -> None:
        """Replace a module under all of its names."""
        carry_over(self.parts[name], part)
        for known in self._names[self.parts[name]]:
            self.model.set_submodule(known, part)

    def run(self, flow: Flow, name: str) -> Step:
        """The only run of a module."""
        if len(flow.runs(name)) != 1:
            raise _CannotFoldError(f"{name} runs several times")
        return flow.runs(name)[0]

    def plain(self, name: str, kinds: tuple[type[nn.Module], ...]) -> bool:
        """Whether a module is of one of these classes and may be modified."""
        return _is_any(self.parts[name], kinds) and not self.special(name)

    def special(self, name: str) -> str:
        """Reason why a module must not be modified; empty if it may."""
        part = self.parts[name]
        if any(getattr(part, hooks) for hooks in HOOKS):
            return "it has hooks"
        if name in self._borrowed:
            return "its tensors are also used outside the layer"
        if isinstance(part, _PRODUCERS[:-2]) and (own := [*own_tensors(part), *part._modules]):
            return f"it has additional tensors or modules ({', '.join(own)})"
        return self._attached.get(name, "")


def _is_any(part: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module is of one of these classes, or of a subclass with the same forward pass."""
    return any(isinstance(part, kind) and _runs_as(type(part), kind) for kind in kinds)


def _runs_as(kind: type[nn.Module], base: type[nn.Module]) -> bool:
    own = set().union(*(vars(between) for between in kind.__mro__[: kind.__mro__.index(base)]))
    return kind is base or own.isdisjoint(_RUNNING)


def _fold(network: _Network, name: str, norm: _BatchNorm) -> tuple[str, ...]:
    """Fold a batch norm into the convolutions before it, or else into the readers of its output or of theirs."""
    _check(network, name, norm)
    reasons = []
    for fold in (_fold_into_producers, _fold_into_readers, _fold_in_unit):
        try:
            return fold(network, name, norm)
        except _CannotFoldError as reason:
            reasons.append(reason)
    raise reasons[0]


def _check(network: _Network, name: str, norm: _BatchNorm) -> None:
    """Raise unless a norm is known to be a scale and shift per channel."""
    if not name:
        raise _CannotFoldError("it is the network itself")
    if not _is_any(norm, _NORMS):
        raise _CannotFoldError(f"it is a {type(norm).__name__}")
    if reason := network.special(name):
        raise _CannotFoldError(reason)
    if norm.running_mean is None:
        raise _CannotFoldError("it has no running statistics")


def _fold_into_producers(network: _Network, name: str, norm: _BatchNorm) -> tuple[str, ...]:
    """Fold a batch norm into the convolutions that compute its input."""
    found = {_producers(network, flow, network.run(flow, name).reads[0]) for flow in network.flows if flow.runs(name)}
    if not found:
        raise _CannotFoldError("it does not run in evaluation mode")
    if len(found) > 1:
        raise _CannotFoldError("the layers before it depend on the called method")
    (producers,) = found
    if any(flow.runs(producer) and not flow.runs(name) for flow in network.flows for producer in producers):
        raise _CannotFoldError("others need the layer before it as it is")
    layers = [network.parts[producer] for producer in producers]
    parts = affine_of_norm(norm).split([output_channels(layer) for layer in layers])
    for layer, part in zip(layers, parts, strict=True):
        scale_output(layer, part)
    network.replace(name, nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity())
    return producers


def _producers(network: _Network, flow: Flow, value: int) -> tuple[str, ...]:
    """Convolutions whose channels, side by side, are a value that a single step reads."""
    if value in flow.shown:
        raise _CannotFoldError("its input is an output of the network")
    if len(flow.readers(value)) != 1:
        raise _CannotFoldError("its input has other readers")
    step = flow.producer(value)
    if step is None:
        raise _CannotFoldError("its input is not computed by a layer")
    if _keeps_affine(network, step):
        return _producers(network, flow, step.reads[0])
    if step.is_module and _is_any(network.parts[step.name], _PRODUCERS):
        if reason := network.special(step.name):
            raise _CannotFoldError(f"it follows {step.name}, and {reason}")
        return (network.run(flow, step.name).name,)
    if step.name == "aten.cat.default" and step.args[1:] == (1,):
        producers = tuple(producer for part in step.reads for producer in _producers(network, flow, part))
        if len(set(producers)) == len(producers):
            return producers
    raise _CannotFoldError(f"it follows {step.name}")


def _keeps_affine(network: _Network, step: Step) -> bool:
    """Whether a step commutes with a scale and shift per channel: averages of pixels, and crops."""
    if not step.is_module:
        return step.name == "aten.slice.Tensor" and step.args[1:2] in ((2,), (3,), (4,))
    pool = network.parts[step.name]
    if network.plain(step.name, (nn.AvgPool2d,)):
        return (pool.padding in (0, (0, 0)) or not pool.count_include_pad) and pool.divisor_override is None
    return network.plain(step.name, (DilatedAvgPool,))


def _fold_into_readers(network: _Network, name: str, norm: _BatchNorm) -> tuple[str, ...]:
    """Fold a batch norm into scale and shift of its readers, if all readers have them."""
    runs = [(flow, network.run(flow, name)) for flow in network.flows if flow.runs(name)]
    if isinstance(norm, BatchNormAct2d) or not runs:
        raise _CannotFoldError("it has an activation, or does not run")
    if any(other.in_place for flow, step in runs for other in flow.readers(step.reads[0])):
        raise _CannotFoldError("its input is modified in place")
    places = dict.fromkeys(place for flow, step in runs for place in _places(network, flow, step.makes[0]))
    for reader, place in places:
        sources = {flow.producer(step.reads[place]) for flow in network.flows for step in flow.runs(reader)}
        if not sources <= {step for _, step in runs}:
            raise _CannotFoldError("a reader reads other maps at the same position")
    for reader, place in places:
        read = network.parts[reader]
        assert isinstance(read, ConcatRead)
        scale_source(read, place, affine_of_norm(norm))
    network.replace(name, nn.Identity())
    return tuple(dict.fromkeys(reader for reader, _ in places))


def _places(network: _Network, flow: Flow, value: int) -> Iterator[tuple[str, int]]:
    """Readers of a value and its position among their nodes; raises if other modules read it."""
    if value in flow.shown:
        raise _CannotFoldError("its output is an output of the network")
    for step in flow.readers(value):
        if not (step.is_module and network.plain(step.name, (ConcatRead,))):
            raise _CannotFoldError("its output has other readers")
        reads = network.run(flow, step.name).reads
        yield from ((step.name, place) for place, read in enumerate(reads) if read == value)


def _fold_in_unit(network: _Network, name: str, norm: _BatchNorm) -> tuple[str, ...]:
    """Fold the batch norm of a SeqConv unit into its convolution, and invert it in other readers of the raw map."""
    unit = network.unit_of.get(name, "")
    if not (unit and network.plain(unit, (ConvUnit,)) and is_invertible(norm)):
        raise _CannotFoldError("its input has other readers")
    found = {_raw_readers(network, flow, network.run(flow, name)) for flow in network.flows if flow.runs(name)}
    if len(found) != 1:
        raise _CannotFoldError("the readers of its input depend on the called method")
    ((producer, readers),) = found
    names = (producer, *dict(readers))
    if any(flow.runs(other) and not flow.runs(name) for flow in network.flows for other in names):
        raise _CannotFoldError("others need the layer before it as it is")
    affine = affine_of_norm(norm)
    scale_output(network.parts[producer], affine)
    for reader, start in readers:
        other = network.parts[reader]
        assert isinstance(other, _BatchNorm)
        scale_input(other, start, affine)
    whole = network.parts[unit]
    assert isinstance(whole, ConvUnit)
    network.replace(unit, FoldedConvUnit(whole.conv))
    return names


def _raw_readers(network: _Network, flow: Flow, norm: Step) -> tuple[str, tuple[tuple[str, int], ...]]:
    """The convolution before a batch norm, and other batch norms that read its output with their first channel."""
    (raw,) = norm.reads
    step = flow.producer(raw)
    if raw in flow.shown or step is None or not (step.is_module and network.plain(step.name, _PRODUCERS)):
        raise _CannotFoldError("its input is not the output of a single convolution")
    found = []
    for other in flow.readers(raw):
        if other is not norm:
            is_cat = other.name == "aten.cat.default" and other.args[1:] == (1,) and other.reads.count(raw) == 1
            start = sum(flow.shapes[value][1] for value in other.reads[: other.reads.index(raw)]) if is_cat else 0
            found += [(reader, start) for reader in _norms(network, flow, other.makes[0] if is_cat else raw, {norm})]
    return network.run(flow, step.name).name, tuple(dict.fromkeys(found))


def _norms(network: _Network, flow: Flow, value: int, without: Collection[Step]) -> Iterator[str]:
    """Affine batch norms that read a value; raises if other modules read it."""
    if value in flow.shown:
        raise _CannotFoldError("its input is an output of the network")
    for step in flow.readers(value):
        if step not in without:
            part = network.parts[step.name] if step.is_module else None
            if not (isinstance(part, _BatchNorm) and part.affine and network.plain(step.name, _NORMS)):
                raise _CannotFoldError("its input has readers other than batch norms")
            yield network.run(flow, step.name).name
