"""Operation counts of a forward pass, from dispatched operations, and the papers' conventions to sum them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from skipweave.layers import ChannelSparseConv2d, ConcatRead, CrossConv

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
    with counting(model) as mode, _normalized_elements(model) as normalized:
        (forward or model)(image)
    return Counts(
        macs=dict(sorted(mode.macs.items())),
        linear_outputs=mode.linear_outputs,
        normalized=normalized.total(),
        rectified=mode.rectified,
        added=mode.added,
        max_pooled=mode.max_pooled,
        mean_pooled=mode.mean_pooled,
        means=mode.means,
    )


@contextmanager
def counting(model: nn.Module) -> Iterator["CountingMode"]:
    """Context manager that counts the operations of a model in evaluation mode.

    Args:
        model: Network; it is set to evaluation mode.
    """
    mode = CountingMode()
    model.eval()
    with torch.no_grad(), _across_nodes(model, mode), _sparse(model, mode), mode:
        yield mode


@contextmanager
def _normalized_elements(model: nn.Module) -> Iterator[Counter[str]]:
    """Count the outputs of norms with weight and bias."""
    elements: Counter[str] = Counter()

    def add(module: nn.Module, _: object, output: Tensor) -> None:
        nodes = module.sources if isinstance(module, CrossConv) else 1
        elements[type(module).__name__] += nodes * output.numel()

    hooks = [module.register_forward_hook(add) for module in model.modules() if is_affine_norm(module)]
    try:
        yield elements
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _across_nodes(model: nn.Module, mode: "CountingMode") -> Iterator[None]:
    """Count convolutions across nodes, which are not visible in torch's operations.

    Over normalized nodes they sum batch norms, one per node; over raw nodes they multiply and accumulate.
    """

    def add(module: CrossConv, _: object, output: Tensor) -> None:
        if module.normalized:
            mode.added += (module.sources - 1) * output.numel()
        else:
            mode.macs["convolution across nodes"] += module.sources * output.numel()

    hooks = [module.register_forward_hook(add) for module in model.modules() if isinstance(module, CrossConv)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _sparse(model: nn.Module, mode: "CountingMode") -> Iterator[None]:
    """Count channel-sparse convolutions by their links, independently of the implementation."""

    def begin(*_: object) -> None:
        mode.paused = True

    def end(module: ChannelSparseConv2d, _: object, output: Tensor) -> None:
        mode.paused = False
        positions = output.numel() // module.out_channels
        mode.macs["convolution " + "x".join(map(str, module.kernel_size))] += positions * module.weight.numel()

    layers = [module for module in model.modules() if isinstance(module, ChannelSparseConv2d)]
    hooks = [layer.register_forward_pre_hook(begin) for layer in layers]
    hooks += [layer.register_forward_hook(end) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def is_affine_norm(module: nn.Module) -> bool:
    """Whether a module is a batch norm in the papers' sense: a norm with the weight and bias of one reader."""
    if isinstance(module, CrossConv):
        return module.normalized
    return isinstance(module, ConcatRead) or (isinstance(module, _BatchNorm) and module.affine)


class CountingMode(TorchDispatchMode):
    """Dispatch mode that counts operations on any device; multiply-accumulates come from torch's flop registry.

    Attributes:
        paused: Whether counting is paused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.paused = False
        self.macs: Counter[str] = Counter()
        self.linear_outputs = self.rectified = self.added = 0
        self.max_pooled = self.mean_pooled = self.means = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        operation = func.overloadpacket
        if self.paused:
            return result
        if operation in flop_registry:
            self._multiplied(operation, args, kwargs, result)
        elif operation in (aten.relu, aten.relu_):
            self.rectified += result.numel()
        elif operation in (aten.add, aten.add_):
            maps = [arg for arg in args if isinstance(arg, Tensor) and arg.dim() == 4]
            self.added += result.numel() if len(maps) == 2 else 0
        elif operation is aten.max_pool2d_with_indices:
            self.max_pooled += result[0].numel() * _area(args[1])
        elif operation is aten.avg_pool2d:
            self._averaged(result.numel() * _area(args[1]), result)
        elif operation is aten._adaptive_avg_pool2d:
            self._averaged(_adaptive_windows(args[0], result), result)
        elif operation is aten.mean:
            self._averaged(args[0].numel(), result)
        return result

    def _multiplied(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> None:
        macs = flop_registry[operation](*args, **kwargs, out_val=result) // 2
        if operation is aten.convolution:
            self.macs["convolution " + "x".join(str(side) for side in args[1].shape[2:])] += macs
        else:
            self.macs["linear"] += macs
            self.linear_outputs += result.numel()

    def _averaged(self, windows: int, result: Tensor) -> None:
        self.mean_pooled += windows
        self.means += result.numel()


def _area(kernel: Sequence[int]) -> int:
    return kernel[0] * kernel[-1]


def _adaptive_windows(x: Tensor, result: Tensor) -> int:
    """Sum of the window sizes of an adaptive pool, whose windows may overlap."""

    def total(size: int, cells: int) -> int:
        return sum(-(-(cell + 1) * size // cells) - cell * size // cells for cell in range(cells))

    maps = result.shape[0] * result.shape[1]
    return maps * total(x.shape[-2], result.shape[-2]) * total(x.shape[-1], result.shape[-1])
