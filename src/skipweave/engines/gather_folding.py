"""Folding of the gathers of grouped convolutions into the dense convolutions before them."""

from torch import nn

from skipweave.engines.grouped_conv import GroupedConv
from skipweave.tracing.dataflow import Flow, Step, data_flows
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import trials_of
from skipweave.transforms.attachments import attached, replace_modules

_PER_CHANNEL = (nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Identity, nn.Dropout)
_POOLS = ("aten.max_pool2d", "aten.avg_pool2d")
_MOST = 2  # times the outputs of the dense convolution, which are then computed several times


def fold_gathers(network: nn.Module, input_size: InputSize) -> None:
    """Let dense convolutions compute their outputs in the order in which the only reader gathers them, in place.

    Args:
        network: In evaluation mode.
        input_size: Channels, height and width of an image.
    """
    grouped = {name: part for name, part in network.named_modules() if isinstance(part, GroupedConv)}
    if not grouped:  # recording a deep network takes minutes
        return
    methods = ("forward", "forward_anytime")
    flows = data_flows(network, trials_of(network, input_size, None), _is_step, methods=methods, variants=False)
    special = attached(network)
    for name, part in grouped.items():
        producers = {_producer(network, flow, name) for flow in flows if flow.runs(name)}
        producer = producers.pop() if len(producers) == 1 else ""
        if not producer or producer in special:
            continue
        conv = network.get_submodule(producer)
        assert isinstance(conv, nn.Conv2d)
        if len(part.sources) <= _MOST * conv.out_channels:
            _reorder(conv, part)
            replace_modules(network, {part: part.conv})


def _is_step(part: nn.Module) -> bool:
    return type(part) in (GroupedConv, nn.Conv2d, *_PER_CHANNEL)


def _producer(network: nn.Module, flow: Flow, name: str) -> str:
    """The dense convolution whose channels only the grouped convolution reads; empty if there is none."""
    if len(flow.runs(name)) != 1:
        return ""
    (value,) = flow.runs(name)[0].reads
    while True:
        step = flow.producer(value)
        if step is None or len(flow.readers(value)) != 1 or any(_is_used(flow, made, value) for made in step.makes):
            return ""
        if step.is_module and type(part := network.get_submodule(step.name)) is nn.Conv2d:
            alone = part.groups == 1 and len(flow.runs(step.name)) == 1 and step.name not in flow.shared
            return step.name if alone else ""
        if not _keeps_channels_apart(network, step):
            return ""
        (value,) = step.reads


def _is_used(flow: Flow, made: int, value: int) -> bool:
    """Whether a value leaves the network, or is another output of the step, such as the indices of a pool, and read."""
    return made in flow.shown or (made != value and bool(flow.readers(made)))


def _keeps_channels_apart(network: nn.Module, step: Step) -> bool:
    """Whether a step computes each channel of its only input in the same way."""
    if step.is_module:
        return type(network.get_submodule(step.name)) in _PER_CHANNEL
    return len(step.reads) == 1 and (step.pointwise or step.name.startswith(_POOLS))


def _reorder(conv: nn.Conv2d, reader: GroupedConv) -> None:
    """Give a convolution the outputs that its reader gathers, in that order."""
    conv.weight = nn.Parameter(conv.weight.detach()[reader.sources], requires_grad=False)
    if conv.bias is not None:
        conv.bias = nn.Parameter(conv.bias.detach()[reader.sources], requires_grad=False)
    conv.out_channels = len(reader.sources)
