"""What the output of a layer passes through before a norm, and whether it ends a residual branch."""

from collections.abc import Collection, Sequence

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from skipweave.tracing.channel_layers import PRODUCERS
from skipweave.tracing.dataflow import Flow, Step
from skipweave.tracing.replicas import NORMS

# Operations that are linear in a map, or commute with the normalization of its channels, as max pooling does.
_SUMS = {"add", "sub", "rsub", "neg", "mean", "sum", "convolution", "mm", "addmm"}
_COPIES = {"clone", "copy", "alias", "detach", "lift_fresh", "_to_copy", "native_dropout", "dropout", "feature_dropout"}
_PARTS = {"split", "split_with_sizes", "chunk", "unbind", "slice", "select", "narrow", "index", "_unsafe_index"}
_LAYOUTS = {"view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "permute", "transpose", "t", "as_strided"}
_PLACES = {"cat", "stack", "squeeze", "unsqueeze", "expand", "repeat", "flip", "roll", "constant_pad_nd"}
_SHUFFLES = {"pixel_shuffle", "pixel_unshuffle", "channel_shuffle"}
_POOLS = {"avg_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool2d", "max_pool2d", "max_pool2d_with_indices"}
_LINEAR = _SUMS | _COPIES | _PARTS | _LAYOUTS | _PLACES | _SHUFFLES | _POOLS
_PRODUCTS = {"mul", "div"}  # linear in one factor
_FUNCTIONAL_NORMS = ("batch_norm", "group_norm", "layer_norm", "instance_norm", "rms_norm")


def is_norm(part: nn.Module) -> bool:
    """Whether a module is a normalization: one of torch's, or another without layers that is named so."""
    if isinstance(part, (*NORMS, FrozenBatchNorm2d)):
        return True
    return "norm" in type(part).__name__.lower() and not any(isinstance(layer, PRODUCERS) for layer in part.modules())


def unnormalized(name: str, flows: Sequence[Flow], norms: Collection[str]) -> str:
    """Reason why a layer is not followed by a norm: what reads its output instead; empty if norms follow.

    Between the layer and the norms may be linear operations, such as the additions of pre-activation networks. What
    reads the network's output is not known, and not considered.
    """
    found = False
    for flow in flows:
        waiting = [value for step in flow.runs(name) for value in step.makes]
        seen, products = set(waiting), []
        while waiting:
            value = waiting.pop()
            for reader in flow.readers(value):
                if _normalizes(flow, reader, value, norms):
                    found = True
                    continue
                if not _linear(reader, value):
                    return _unnormalized_for(reader)
                if _operation(reader) in _PRODUCTS:
                    products.append(reader)
                new = [made for made in reader.makes if made not in seen]
                seen.update(new)
                waiting += new
        for product in products:
            if sum(value in seen for value in product.reads) > 1:  # a product with a function of the layer's output
                return _unnormalized_for(product)
    return "" if found else "no norm follows it"


def _unnormalized_for(reader: Step) -> str:
    return f"{_operation(reader)} reads its output without a norm in between"


def ends_residual_branch(name: str, flow: Flow, norms: Collection[str], layers: Collection[str]) -> bool:
    """Whether a layer's output is added to a shortcut: to a map that the layer reads as well.

    Between the layer and the addition may be norms, gates and linear operations, but no activation, which would not
    return gradients to a layer of zeros. The shortcut is an earlier map, unchanged or after a norm, pooling or another
    convolution. That convolution does not read what the layer itself reads: such layers are parallel, as in RepVGG.

    Args:
        name: The layer.
        flow: A flow in which the layer runs.
        norms: Names of the norms without activation.
        layers: Names of the replaced layers, which are not part of a shortcut.
    """
    waiting = [value for step in flow.runs(name) for value in step.makes]
    earlier = _earlier(flow, name)
    inputs = {value for step in flow.runs(name) for value in step.reads}
    parallel = {step.name for step in flow.steps if step.is_module and not inputs.isdisjoint(step.reads)}
    others = {*layers} | (parallel - {*norms})
    seen = set(waiting)
    while waiting:
        value = waiting.pop()
        for reader in flow.readers(value):
            kind = _operation(reader)
            if kind == "add":
                if any(_is_shortcut(flow, other, earlier, others) for other in reader.reads if other not in seen):
                    return True
            elif reader.name in norms or (not reader.is_module and _linear(reader, value)):
                new = [made for made in reader.makes if made not in seen]
                seen.update(new)
                waiting += new
    return False


def _is_shortcut(flow: Flow, value: int, earlier: set[int], others: Collection[str]) -> bool:
    """Whether a value is computed linearly from an earlier one, without additions and other branches' layers."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if value in earlier:
            return True
        step = flow.producer(value)
        if step is None:
            continue
        passes = step.name not in others if step.is_module else _operation(step) not in ("add", "cat")
        if passes and step.reads and _linear(step, step.reads[0]):
            waiting += step.reads
    return False


def _earlier(flow: Flow, name: str) -> set[int]:
    """The values from which a layer is computed."""
    waiting = [value for step in flow.runs(name) for value in step.reads]
    found = set(waiting)
    while waiting:
        step = flow.producer(waiting.pop())
        new = [value for value in step.reads if value not in found] if step else []
        found.update(new)
        waiting += new
    return found


def _normalizes(flow: Flow, step: Step, value: int, norms: Collection[str]) -> bool:
    kind = _operation(step)
    if kind in ("empty_like", "new_empty"):  # what `FastMetaNorms` runs instead of a functional norm
        return any(flow.shapes[made] == flow.shapes[value] for made in step.makes)
    return step.name in norms if step.is_module else any(norm in kind for norm in _FUNCTIONAL_NORMS)


def _linear(step: Step, value: int) -> bool:
    """Whether a step is linear in a value that it reads."""
    if step.is_module:  # a convolution or linear layer
        return True
    kind = _operation(step)
    if kind in _PRODUCTS:
        return kind == "mul" or step.reads[0] == value
    return kind in _LINEAR or kind.startswith(("new_", "upsample_")) or kind.endswith("_like")


def _operation(step: Step) -> str:
    """Name of an operation, such as "add" for "aten.add_.Tensor"; empty for modules."""
    if step.is_module:
        return ""
    return step.name.removeprefix("aten.").partition(".")[0].rstrip("_")
