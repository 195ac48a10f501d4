"""Operation counts of a forward pass, from dispatched operations, and the papers' conventions to sum them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.hooks import RemovableHandle

from skipweave.layers import ChannelSparseConv2d, ConcatRead, CrossConv, GroupNorm2d

aten = torch.ops.aten


@dataclass(frozen=True)
class Counts:
    """Operation counts of a forward pass of one image.

    Attributes:
        macs: Multiply-accumulates by type of layer, e.g. "convolution 3x3" or "linear".
        linear_outputs: Outputs of linear layers.
        normalized: Elements that readers normalize with their own weight and bias. A concatenated or cross-filtered
            node counts once per reader, as in the papers, although its mean and variance are computed only once.
        rectified: Elements that pass a ReLU.
        added: Element-wise additions of feature maps.
        max_pooled: Sum of the window sizes over the outputs of max pools.
        mean_pooled: Sum of the window sizes over the outputs of average pools.
        means: Outputs of average pools.
    """

    macs: dict[str, int]
    linear_outputs: int
    normalized: int
    rectified: int
    added: int
    max_pooled: int
    mean_pooled: int
    means: int

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(self.macs.values())

    @property
    def convolution_macs(self) -> int:
        """Multiply-accumulates of the convolutions."""
        return self.total_macs - self.linear_macs

    @property
    def linear_macs(self) -> int:
        """Multiply-accumulates of the linear layers."""
        return self.macs.get("linear", 0)


def _sparsenet(counts: Counts) -> int:
    return 2 * counts.total_macs + 2 * counts.normalized + counts.max_pooled + counts.mean_pooled


def _log_densenet(counts: Counts) -> int:
    return 2 * counts.total_macs


def _seqconv(counts: Counts) -> int:
    linear = 2 * counts.linear_macs - counts.linear_outputs
    pools = counts.max_pooled + counts.mean_pooled + counts.means
    return counts.convolution_macs + linear + 4 * counts.normalized + counts.rectified + pools


def _delugenet(counts: Counts) -> int:
    return 2 * counts.total_macs + 2 * counts.normalized + counts.rectified + counts.added


CONVENTIONS: dict[str, Callable[[Counts], int]] = {
    "sparsenet": _sparsenet,
    "log_densenet": _log_densenet,
    "seqconv": _seqconv,
    "delugenet": _delugenet,
}
"""Definition of "FLOPs" of each paper, as inferred from its figures.

sparsenet: 2 per multiply-accumulate, 2 per normalized element, the window size per pooled output.
log_densenet: 2 per multiply-accumulate.
seqconv: 1 per multiply-accumulate of a convolution, 2 x inputs - 1 per output of a linear layer, 4 per normalized
    element, 1 per rectified element, the window size per pooled output and 1 more per mean (the paper divides by 2^30).
delugenet: 2 per multiply-accumulate, 2 per normalized element, 1 per rectified element, 1 per addition.
"""


def count(model: nn.Module, image: Tensor, forward: Callable[[Tensor], object] | None = None) -> Counts:
    """Count the operations of a forward pass in evaluation mode.

    Args:
        model: Network on the device of `image`, which may be "meta"; it is set to evaluation mode.
        image: (1, C, H, W).
        forward: Function to call instead of the model, for example to include all exits.
    """
    with counting(model) as mode:
        (forward or model)(image)
    return Counts(dict(sorted(mode.macs.items())), **mode.totals)


@contextmanager
def counting(model: nn.Module) -> Iterator["CountingMode"]:
    """Context manager that counts the operations of a model in evaluation mode."""
    mode = CountingMode()
    model.eval()
    hooks: list[RemovableHandle] = []
    for module in model.modules():
        if is_affine_norm(module):
            hooks.append(module.register_forward_hook(mode.add_normalized))
        if isinstance(module, CrossConv):
            hooks.append(module.register_forward_hook(mode.add_across_nodes))
        elif isinstance(module, ChannelSparseConv2d):
            hooks += [module.register_forward_pre_hook(mode.pause), module.register_forward_hook(mode.add_sparse)]
    try:
        with torch.no_grad(), mode:
            yield mode
    finally:
        for hook in hooks:
            hook.remove()


def is_affine_norm(module: nn.Module) -> bool:
    """Whether a module is a batch norm in the papers' sense: a norm with the weight and bias of one reader."""
    if isinstance(module, CrossConv):
        return module.normalized
    return isinstance(module, ConcatRead) or (isinstance(module, _BatchNorm | GroupNorm2d) and module.affine)


class CountingMode(TorchDispatchMode):
    """Dispatch mode that counts operations on any device; multiply-accumulates come from torch's flop registry.

    Its other methods are forward hooks, for what is not visible in torch's operations.

    Attributes:
        macs: Multiply-accumulates by type of layer.
        totals: The other counts, by the names of `Counts`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs: Counter[str] = Counter()
        self.totals: dict[str, int] = {field.name: 0 for field in fields(Counts) if field.name != "macs"}
        self._paused = False

    def add_normalized(self, module: nn.Module, _: object, output: Tensor) -> None:
        """Count the outputs of a norm with weight and bias; a convolution across nodes sums one norm per node."""
        self.totals["normalized"] += (module.sources if isinstance(module, CrossConv) else 1) * output.numel()

    def add_across_nodes(self, module: CrossConv, _: object, output: Tensor) -> None:
        """Count a convolution across nodes: over normalized nodes a sum, over raw nodes multiply-accumulates."""
        if module.normalized:
            self.totals["added"] += (module.sources - 1) * output.numel()
        else:
            self.macs["convolution across nodes"] += module.sources * output.numel()

    def pause(self, *_: object) -> None:
        """Count no operations of a channel-sparse convolution, whose implementations differ."""
        self._paused = True

    def add_sparse(self, module: ChannelSparseConv2d, _: object, output: Tensor) -> None:
        """Count a channel-sparse convolution by its links."""
        self._paused = False
        positions = output.numel() // module.out_channels
        self.macs["convolution " + "x".join(map(str, module.kernel_size))] += positions * module.weight.numel()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        operation, totals = func.overloadpacket, self.totals
        if self._paused:
            return result
        if operation in flop_registry:
            macs = flop_registry[operation](*args, **kwargs, out_val=result) // 2
            if operation is aten.convolution:
                self.macs["convolution " + "x".join(map(str, args[1].shape[2:]))] += macs
            else:
                self.macs["linear"] += macs
                totals["linear_outputs"] += result.numel()
        elif operation in (aten.relu, aten.relu_):
            totals["rectified"] += result.numel()
        elif operation in (aten.add, aten.add_):
            maps = [arg for arg in args if isinstance(arg, Tensor) and arg.dim() == 4]
            totals["added"] += result.numel() if len(maps) == 2 else 0
        elif operation is aten.max_pool2d_with_indices:
            totals["max_pooled"] += result[0].numel() * _area(args[1])
        elif operation in (aten.avg_pool2d, aten._adaptive_avg_pool2d, aten.mean):
            totals["means"] += result.numel()
            totals["mean_pooled"] += _averaged(operation, args, result)
        return result


def _averaged(operation: Any, args: tuple[Any, ...], result: Tensor) -> int:
    """Sum of the window sizes of an average pool, whose windows may overlap."""
    if operation is aten.avg_pool2d:
        return result.numel() * _area(args[1])
    if operation is aten.mean:
        return args[0].numel()

    def total(size: int, cells: int) -> int:
        return sum(-(-(cell + 1) * size // cells) - cell * size // cells for cell in range(cells))

    x = args[0]
    maps = result.shape[0] * result.shape[1]
    return maps * total(x.shape[-2], result.shape[-2]) * total(x.shape[-1], result.shape[-1])


def _area(kernel: Sequence[int]) -> int:
    return kernel[0] * kernel[-1]
