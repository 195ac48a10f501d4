"""Batch norms of a network folded into the layers around them."""

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
from skipweave.transforms.scale_and_shift import (
    absorb_before,
    absorb_behind,
    absorb_source,
    affine_of_norm,
    can_be_undone,
    width_made,
)

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, NodeNorm, BatchNormAct2d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2dSame, *_TRANSPOSED)
_MAKERS = (*_CONVOLUTIONS, ChannelSparseConv2d, CrossConv)
_RUNNING = {"forward", "_conv_forward", "__call__", "__getattr__", "weight", "bias", "running_mean", "running_var"}
_WHOLE = (_BatchNorm, _ConvNd, ChannelSparseConv2d, CrossConv, nn.AvgPool2d, DilatedAvgPool, ConcatRead)


@dataclass(frozen=True)
class Folding:
    """What became of a network's batch norms.

    Attributes:
        folded: Layers that took over a batch norm, by its name; none where nobody reads what it makes.
        left: Why a batch norm stays as it is, by its name.
    """

    folded: Mapping[str, tuple[str, ...]]
    left: Mapping[str, str]

    def __str__(self) -> str:
        """Say what was folded into what, and what was not and why, a line each."""
        return "\n".join(
            [
                f"{len(self.folded)} batch norms folded",
                *(f"  {name}: into {', '.join(into) or 'nothing'}" for name, into in self.folded.items()),
                f"{len(self.left)} batch norms left",
                *(f"  {name}: {reason}" for name, reason in self.left.items()),
            ]
        )


def is_step(part: nn.Module) -> bool:
    """Whether `fold_norms` looks at a module as a whole."""
    return isinstance(part, _WHOLE)


def fold_norms(model: nn.Module, flows: Sequence[Flow], skipped: Mapping[str, str]) -> Folding:
    """Fold the batch norms of a network, in place; what the flows show stays the same function.

    Args:
        model: In evaluation mode.
        flows: Its `data_flows`, with the modules of `is_step` as steps.
        skipped: Batch norms to be left as they are, and why.
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


class RawAndActivated(nn.Module):
    """A `ConvUnit` whose batch norm has been folded, and whose raw map others read, too.

    Args:
        conv: Its convolution.

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
    """Says why."""


class _Network:
    """A network that is being changed, and what is known of its runs."""

    def __init__(self, model: nn.Module, flows: Sequence[Flow]) -> None:
        self.model = model
        self.flows = flows
        self.parts = dict(model.named_modules())
        self.unit_of = {f"{name}.norm": name for name, part in self.parts.items() if type(part) is ConvUnit}
        self._attached = attached(model, new_parameters=False)
        self._borrowed = frozenset[str]().union(*(flow.borrowed for flow in flows))
        self._names: dict[nn.Module, list[str]] = {}
        for name, part in model.named_modules(remove_duplicate=False):
            self._names.setdefault(part, []).append(name)

    def replace(self, name: str, part: nn.Module) -> None:
        """Put a module in another's place, under all of its names."""
        carry_over(self.parts[name], part)
        for known in self._names[self.parts[name]]:
            self.model.set_submodule(known, part)

    def run(self, flow: Flow, name: str) -> Step:
        """The only run of a module."""
        if len(flow.runs(name)) != 1:
            raise _CannotFoldError(f"{name} runs several times")
        return flow.runs(name)[0]

    def plain(self, name: str, kinds: tuple[type[nn.Module], ...]) -> bool:
        """Whether a module is of one of these very classes and nothing else is known to depend on it."""
        return _is_any(self.parts[name], kinds) and not self.special(name)

    def special(self, name: str) -> str:
        """Say what keeps a module from being changed; empty where nothing does."""
        part = self.parts[name]
        if any(getattr(part, hooks) for hooks in HOOKS):
            return "it has hooks"
        if name in self._borrowed:
            return "its tensors are used by more than the layer itself"
        if isinstance(part, _MAKERS[:-2]) and (own := [*own_tensors(part), *part._modules]):
            return f"it has tensors or modules of its own ({', '.join(own)})"
        return self._attached.get(name, "")


def _is_any(part: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module is of one of these classes, or of a subclass that runs as that does."""
    return any(isinstance(part, kind) and _runs_as(type(part), kind) for kind in kinds)


def _runs_as(kind: type[nn.Module], base: type[nn.Module]) -> bool:
    own = set().union(*(vars(between) for between in kind.__mro__[: kind.__mro__.index(base)]))
    return kind is base or own.isdisjoint(_RUNNING)


def _fold(network: _Network, name: str, norm: _BatchNorm) -> tuple[str, ...]:
    """Fold a batch norm into the convolutions before it, or else into what reads its map or theirs."""
    _check(network, name, norm)
    reasons = []
    for way in (_fold_back, _fold_forth, _fold_in_unit):
        try:
            return way(network, name, norm)
        except _CannotFoldError as reason:
            reasons.append(reason)
    raise reasons[0]


def _check(network: _Network, name: str, norm: _BatchNorm) -> None:
    """Refuse what is not known for certain to be a gain and a bias a channel."""
    if not name:
        raise _CannotFoldError("it is the network itself")
    if not _is_any(norm, _NORMS):
        raise _CannotFoldError(f"it is a {type(norm).__name__}")
    if reason := network.special(name):
        raise _CannotFoldError(reason)
    if norm.running_mean is None:
        raise _CannotFoldError("it has no running statistics")


def _fold_back(network: _Network, name: str, norm: _BatchNorm) -> tuple[str, ...]:
    """Fold a batch norm into the convolutions that make what it reads."""
    found = {_makers(network, flow, network.run(flow, name).reads[0]) for flow in network.flows if flow.runs(name)}
    if not found:
        raise _CannotFoldError("it does not run in evaluation mode")
    if len(found) > 1:
        raise _CannotFoldError("what is before it depends on what the network is asked for")
    (makers,) = found
    if any(flow.runs(maker) and not flow.runs(name) for flow in network.flows for maker in makers):
        raise _CannotFoldError("others need the layer before it as it is")
    layers = [network.parts[maker] for maker in makers]
    parts = affine_of_norm(norm).split([width_made(layer) for layer in layers])
    for layer, part in zip(layers, parts, strict=True):
        absorb_behind(layer, part)
    network.replace(name, nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity())
    return makers


def _makers(network: _Network, flow: Flow, value: int) -> tuple[str, ...]:
    """Convolutions whose channels, side by side, are a value that a single step reads."""
    if value in flow.shown:
        raise _CannotFoldError("the network gives away the map as it is")
    if len(flow.readers(value)) != 1:
        raise _CannotFoldError("others read the same map")
    step = flow.maker(value)
    if step is None:
        raise _CannotFoldError("it reads what no layer makes")
    if _keeps_affine(network, step):
        return _makers(network, flow, step.reads[0])
    if step.is_module and _is_any(network.parts[step.name], _MAKERS):
        if reason := network.special(step.name):
            raise _CannotFoldError(f"{step.name} comes before it, and {reason}")
        return (network.run(flow, step.name).name,)
    if step.name == "aten.cat.default" and step.args[1:] == (1,):
        makers = tuple(maker for part in step.reads for maker in _makers(network, flow, part))
        if len(set(makers)) == len(makers):
            return makers
    raise _CannotFoldError(f"it reads what {step.name} makes")


def _keeps_affine(network: _Network, step: Step) -> bool:
    """Whether a step does the same to gain * x + bias as to x: means of pixels, and parts of maps."""
    if not step.is_module:
        return step.name == "aten.slice.Tensor" and step.args[1:2] in ((2,), (3,), (4,))
    pool = network.parts[step.name]
    if network.plain(step.name, (nn.AvgPool2d,)):
        return (pool.padding in (0, (0, 0)) or not pool.count_include_pad) and pool.divisor_override is None
    return network.plain(step.name, (DilatedAvgPool,))


def _fold_forth(network: _Network, name: str, norm: _BatchNorm) -> tuple[str, ...]:
    """Fold a batch norm into the gains and biases of those who read what it makes, if none other do."""
    runs = [(flow, network.run(flow, name)) for flow in network.flows if flow.runs(name)]
    if isinstance(norm, BatchNormAct2d) or not runs:
        raise _CannotFoldError("it rectifies, or does not run")
    if any(other.in_place for flow, step in runs for other in flow.readers(step.reads[0])):
        raise _CannotFoldError("others change the map in place")
    places = dict.fromkeys(place for flow, step in runs for place in _places(network, flow, step.makes[0]))
    for reader, place in places:
        sources = {flow.maker(step.reads[place]) for flow in network.flows for step in flow.runs(reader)}
        if not sources <= {step for _, step in runs}:
            raise _CannotFoldError("a reader reads others in its place")
    for reader, place in places:
        read = network.parts[reader]
        assert isinstance(read, ConcatRead)
        absorb_source(read, place, affine_of_norm(norm))
    network.replace(name, nn.Identity())
    return tuple(dict.fromkeys(reader for reader, _ in places))


def _places(network: _Network, flow: Flow, value: int) -> Iterator[tuple[str, int]]:
    """Readers with gains and biases of their own, and where they find a value that no others read."""
    if value in flow.shown:
        raise _CannotFoldError("the network gives away the map as it is")
    for step in flow.readers(value):
        if not (step.is_module and network.plain(step.name, (ConcatRead,))):
            raise _CannotFoldError("others read the same map")
        reads = network.run(flow, step.name).reads
        yield from ((step.name, place) for place, read in enumerate(reads) if read == value)


def _fold_in_unit(network: _Network, name: str, norm: _BatchNorm) -> tuple[str, ...]:
    """Fold the batch norm of a SeqConv unit into its convolution, and undo that in the batch norms that read it raw."""
    unit = network.unit_of.get(name, "")
    if not (unit and network.plain(unit, (ConvUnit,)) and can_be_undone(norm)):
        raise _CannotFoldError("others read the same map")
    found = {_raw_readers(network, flow, network.run(flow, name)) for flow in network.flows if flow.runs(name)}
    if len(found) != 1:
        raise _CannotFoldError("who reads the same map depends on what the network is asked for")
    ((maker, readers),) = found
    names = (maker, *dict(readers))
    if any(flow.runs(other) and not flow.runs(name) for flow in network.flows for other in names):
        raise _CannotFoldError("others need the layer before it as it is")
    affine = affine_of_norm(norm)
    absorb_behind(network.parts[maker], affine)
    for reader, start in readers:
        other = network.parts[reader]
        assert isinstance(other, _BatchNorm)
        absorb_before(other, start, affine)
    whole = network.parts[unit]
    assert isinstance(whole, ConvUnit)
    network.replace(unit, RawAndActivated(whole.conv))
    return names


def _raw_readers(network: _Network, flow: Flow, norm: Step) -> tuple[str, tuple[tuple[str, int], ...]]:
    """The convolution before a batch norm, and other batch norms that read its map, and from which channel on."""
    (raw,) = norm.reads
    step = flow.maker(raw)
    if raw in flow.shown or step is None or not (step.is_module and network.plain(step.name, _MAKERS)):
        raise _CannotFoldError("the map is no convolution's alone")
    found = []
    for other in flow.readers(raw):
        if other is not norm:
            joined = other.name == "aten.cat.default" and other.args[1:] == (1,) and other.reads.count(raw) == 1
            start = sum(flow.shapes[value][1] for value in other.reads[: other.reads.index(raw)]) if joined else 0
            found += [(reader, start) for reader in _norms(network, flow, other.makes[0] if joined else raw, {norm})]
    return network.run(flow, step.name).name, tuple(dict.fromkeys(found))


def _norms(network: _Network, flow: Flow, value: int, without: Collection[Step]) -> Iterator[str]:
    """Batch norms with weights that read a value, if nothing else does."""
    if value in flow.shown:
        raise _CannotFoldError("the network gives away the map as it is")
    for step in flow.readers(value):
        if step not in without:
            part = network.parts[step.name] if step.is_module else None
            if not (isinstance(part, _BatchNorm) and part.affine and network.plain(step.name, _NORMS)):
                raise _CannotFoldError("others than batch norms read the same map")
            yield network.run(flow, step.name).name
