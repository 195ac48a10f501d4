"""Classifiers and fully connected layers in convolution form: which convolutions of a network are these."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

from torch import nn

from skipweave.tracing.channel_layers import PRODUCERS
from skipweave.tracing.dataflow import Flow, data_flows
from skipweave.tracing.replicas import NORMS, Trials
from skipweave.transforms.compression.fixed_widths import last_modules

CLASSIFIER = "the classifier, in convolution form"
HIDDEN = "a fully connected layer in convolution form"


def fully_connected_layers(model: nn.Module, trials: Trials) -> dict[str, str]:
    """Find the convolutions that are classifiers or fully connected layers; return what each is, by name.

    A classifier is a 1x1 convolution that alone computes an output of the network, without a norm after it. A fully
    connected layer is a 1x1 convolution of globally pooled maps or of other fully connected layers, or a convolution
    without padding whose kernel covers its whole input map and that only fully connected and linear layers read.

    If a network has an attribute `fully_connected` of names, its hidden layers of this kind, these are used instead.
    """
    convs = {name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d) and part.groups == 1}
    found = dict.fromkeys(_classifiers(model, trials, convs), CLASSIFIER)
    known = getattr(model, "fully_connected", None)
    hidden = set(known) if _is_names(known) else _hidden(model, trials, convs)  # others may name a layer so
    return {**dict.fromkeys((name for name in convs if name in hidden), HIDDEN), **found}


def _is_names(value: Any) -> TypeGuard[Collection[str]]:
    several = isinstance(value, Collection) and not isinstance(value, str)
    return several and all(isinstance(name, str) for name in value)


def _classifiers(model: nn.Module, trials: Trials, convs: Mapping[str, nn.Conv2d]) -> list[str]:
    flows = data_flows(
        model, trials, lambda part: isinstance(part, (*PRODUCERS, *NORMS)), methods=("forward",), variants=False
    )
    last = [last_modules(flow).get(value) for flow in flows for value in flow.shown]
    return [name for name, conv in convs.items() if frozenset({name}) in last and conv.kernel_size == (1, 1)]


def _hidden(model: nn.Module, trials: Trials, convs: Mapping[str, nn.Conv2d]) -> set[str]:
    flows = data_flows(model, trials, lambda part: isinstance(part, PRODUCERS), methods=("forward",))
    if not flows:
        return set()
    sources = _sources(flows[0])
    readers: dict[str, set[str]] = defaultdict(set)
    for reader, read in sources.items():
        for source in read:
            readers[source].add(reader)
    linear = {name for name in sources if isinstance(model.get_submodule(name), nn.Linear)}
    points = {name for name, conv in convs.items() if conv.kernel_size == (1, 1) and name in sources}
    pointwise = {name for name in points if _sides(flows[0], name) == {(1, 1)}}
    pooled = {name for name in points if all(_sides(flow, name) == {(1, 1)} for flow in flows)}
    covering = {
        name
        for name, conv in convs.items()
        if name not in points
        and _sides(flows[0], name) == {conv.kernel_size}
        and conv.padding == (0, 0)
        and conv.stride == (1, 1)
        and readers[name]
        and readers[name] <= pointwise | linear
    }
    hidden = pooled | covering
    for name, read in sources.items():  # in the order in which they run
        if name in pointwise and read and read <= hidden | linear:
            hidden.add(name)
    return hidden


def _sources(flow: Flow) -> dict[str, set[str]]:
    """For each layer: the layers that it reads, without another layer in between."""
    last, found = last_modules(flow), dict[str, set[str]]()
    for step in flow.steps:
        if step.is_module:
            found.setdefault(step.name, set()).update(*(last.get(value, frozenset()) for value in step.reads))
    return found


def _sides(flow: Flow, name: str) -> set[tuple[int, ...]]:
    """Height and width of the maps that a convolution reads."""
    return {flow.shapes[step.reads[0]][-2:] for step in flow.runs(name)}
