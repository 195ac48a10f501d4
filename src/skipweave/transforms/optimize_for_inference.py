"""`optimize_for_inference`: a given network as it is best run once it is trained."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair
from torch.utils._pytree import tree_map

from skipweave.errors import SkipweaveError
from skipweave.layers import SeparableMaxPool
from skipweave.ops.eager_execution import is_eager
from skipweave.tracing.copies import copied, in_mode
from skipweave.tracing.dataflow import data_flows
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import Trials, trials_of
from skipweave.tracing.unsupported_networks import check_network
from skipweave.transforms.memory_format import FORMATS, MemoryFormat, best_memory_format
from skipweave.transforms.norm_folding import Folding, fold_norms, is_step
from skipweave.transforms.verification import Reference

_MOST_AT_FAULT = 3  # batch norms that are looked for one by one
_WEIGHTS = (torch.float32, torch.bfloat16)


class InferenceNet(nn.Module):
    """A network for inference only: made by `optimize_for_inference`, called as the network that it was made of.

    Images are brought to the memory format of the network at the door; where its weights were given another dtype,
    floating-point inputs are brought to that, and results back to the dtype that the given network had. All attributes
    of the network can be read here too, its methods called `forward_...` with the same door.

    Attributes:
        network: The network.
        folding: What became of its batch norms.
        memory_format: In which it computes.

    Raises:
        SkipweaveError: It is put into training mode.
    """

    def __init__(self, network: nn.Module, folding: Folding, memory_format: MemoryFormat) -> None:
        super().__init__()
        self.network = network
        self.folding = folding
        self.memory_format = memory_format
        self._dtypes: tuple[torch.dtype, torch.dtype] | None = None  # of inputs, and of results
        self.eval()

    def compute_in(self, weights: torch.dtype) -> None:
        """Give the network weights of another dtype, in which it then computes too; inputs and results keep theirs."""
        self._dtypes = weights, dtype_of(self.network)
        self.network.to(dtype=weights)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what the network makes."""
        if isinstance(inputs, torch.fx.Proxy):
            raise SkipweaveError("torch.fx cannot trace a network optimized for inference: trace its `network`")
        return self._through(self.network, *inputs, **named)

    def train(self, mode: bool = True) -> "InferenceNet":
        """Refuse training mode."""
        if mode:
            raise SkipweaveError("a network optimized for inference cannot be trained: train the one it was made of")
        return super().train(mode)

    def __getattr__(self, name: str) -> Any:
        if name in ("_modules", "network") or name.startswith("__"):  # how it is copied is its own affair
            return super().__getattr__(name)
        try:
            return super().__getattr__(name)
        except AttributeError:
            found = getattr(self.network, name)
        return partial(self._through, found) if name.startswith("forward_") else found

    def _through(self, method: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        made = method(*tree_map(self._enter, inputs), **tree_map(self._enter, named))
        if self._dtypes is None:
            return made
        if isinstance(made, Iterator):
            return (tree_map(self._leave, part) for part in made)
        return tree_map(self._leave, made)

    def _enter(self, x: Any) -> Any:
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            return x
        x = x if self._dtypes is None else x.to(self._dtypes[0])
        # The format is for speed alone, and the transforms of torch.func know no other than the contiguous one.
        return x.contiguous(memory_format=FORMATS[self.memory_format]) if x.dim() == 4 and is_eager(x) else x

    def _leave(self, x: Any) -> Any:
        assert self._dtypes is not None
        return x.to(self._dtypes[1]) if isinstance(x, Tensor) and x.is_floating_point() else x


def optimize_for_inference(
    model: nn.Module,
    *,
    memory_format: MemoryFormat | None = None,
    compile: bool = False,
    weights: torch.dtype | None = None,
    input_size: InputSize | None = None,
    example_inputs: Any = None,
) -> InferenceNet:
    """Make of a trained network one of the same function that does less: batch norms folded, for inference only.

    In evaluation mode a batch norm is a gain and a bias a channel, and these go

    - into the convolution before it (transposed, channel-sparse and DelugeNet's across nodes too), where nothing else
      reads that one's map, through average pools and concatenations of several convolutions' maps. So a normalized
      node is normalized by who makes it, and its readers keep gains, biases and ReLU, one pass over what they read.
    - else, where all who read the normalized map have gains and biases of their own (`ConcatRead`), into those:
      FC-DenseNet's maps, which others read raw, and node 0 behind a max pool.

    What stays: a batch norm of a map that others read too, as before the convolutions of residual networks and of
    others' DenseNets; one of a sum; one whose map the network returns, keeps, or shows to a hook (`forward_features`,
    `forward_intermediates`, `forward_anytime` are the same functions as before); one that runs several times.

    On the CPU, in contiguous networks, square max pools become `skipweave.layers.SeparableMaxPool`, which is faster.

    The result is run beside the given network (two batch sizes, and several image sizes where the network accepts
    them): structure, shapes, dtypes and values have to be the same, these to a thousandth of an output's largest one
    (in float32; a millionth in float64, a fiftieth in float16, a tenth in bfloat16). A batch norm that changes anything
    when it is folded is left, and `folding` says so; where channels-last does, the network stays contiguous.

    Args:
        model: Any network of convolutions. It is copied, not changed.
        memory_format: `"channels_last"` or `"contiguous"`. None is contiguous where channel-sparse convolutions gather
            channels, or where the network does not run in channels-last; else channels_last, which is how convolutions
            compute.
        compile: Whether `torch.compile` makes kernels of `forward`, when it runs first.
        weights: `torch.float32`, or `torch.bfloat16`, in which the network then computes too; inputs and results keep
            their type. None keeps the network's.
        input_size: Channels, height and width of an image; by default those of the model's `pretrained_cfg`.
        example_inputs: In place of a size, the arguments of one call: a tuple, a mapping of keyword arguments, or the
            one argument.

    Returns:
        The network, with `folding`, which says batch norm by batch norm what was done or why nothing was.

    Raises:
        SkipweaveError: An argument does not fit, the network is of a kind that cannot be optimized or cannot take such
            inputs, or the result would be another function.

    >>> import skipweave
    >>> model = skipweave.create_model("densenet40_12", units=2)
    >>> print(str(optimize_for_inference(model).folding).splitlines()[0])
    9 batch norms folded
    """
    if memory_format not in (None, *FORMATS):
        raise SkipweaveError(f"memory_format is {memory_format!r}: expected one of {', '.join(FORMATS)}, or None")
    if weights not in (None, *_WEIGHTS):
        raise SkipweaveError(f"weights is {weights!r}: expected torch.float32, torch.bfloat16 or None")
    if isinstance(model, InferenceNet):
        raise SkipweaveError("the network is optimized for inference already: give the one it was made of")
    check_network(model)
    dtype_of(model)
    maker = _Optimizer(model, trials_of(model, input_size, example_inputs))
    optimized = maker.optimized(memory_format)
    if weights is not None:
        optimized.compute_in(weights)
        maker.reference.require(
            optimized, f"the network in {weights}", "Leave out weights.", within="network", values=False
        )
    if compile:
        optimized.network.compile()
    return optimized


class _Optimizer:
    """Makes networks for inference of one network, until one does the same."""

    def __init__(self, model: nn.Module, trials: Trials) -> None:
        self.model = model
        self.reference = Reference(model, trials, values=True)
        self.flows = data_flows(model, trials, is_step)

    def optimized(self, memory_format: MemoryFormat | None) -> InferenceNet:
        """Make the network in a memory format, or in the best one in which it does the same."""
        best = memory_format or best_memory_format(self.model)
        made = self._make(best, {})
        if not self._difference(made):
            return made
        at_fault = self._norms_at_fault()
        for chosen in (best,) if memory_format else (best, "contiguous"):
            made = self._make(chosen, at_fault)
            if not (words := self._difference(made)):
                return made
        raise SkipweaveError(f"the network cannot be optimized for inference in {chosen} memory format: {words}")

    def _make(self, memory_format: MemoryFormat, skipped: Mapping[str, str]) -> InferenceNet:
        network = in_mode(copied(self.model), training=False).requires_grad_(False)
        folding = fold_norms(network, self.flows, skipped)
        if memory_format == "contiguous" and next(network.parameters()).is_cpu:
            _replace_pools(network)
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=FORMATS[memory_format])
        return InferenceNet(network, folding, memory_format)

    def _norms_at_fault(self) -> dict[str, str]:
        """Find the batch norms that change what the network does when they are folded, and how."""
        names = list(self._make("contiguous", {}).folding.folded)
        found: dict[str, str] = {}
        while words := self._without(found):
            if len(found) == _MOST_AT_FAULT:
                return dict.fromkeys(names, f"folded with others, {words}")
            rest = [name for name in names if name not in found]
            most = len(rest)  # folding so many is wrong, folding `least` is not
            least = 0
            if not rest or self._without(dict.fromkeys(names, "")):
                return found  # others are at fault
            while most - least > 1:
                middle = (most + least) // 2
                wrong = self._without(found | dict.fromkeys(rest[middle:], ""))
                most, least = (middle, least) if wrong else (most, middle)
            found[rest[most - 1]] = f"folded, {words}"
        return found

    def _without(self, skipped: Mapping[str, str]) -> str:
        """What the network does differently without some batch norms folded."""
        return self._difference(self._make("contiguous", skipped))

    def _difference(self, made: InferenceNet) -> str:
        return self.reference.difference(made, within="network")


def dtype_of(model: nn.Module) -> torch.dtype:
    """Of the first floating-point parameter.

    Raises:
        SkipweaveError: There is none.
    """
    dtypes = (tensor.dtype for tensor in model.parameters() if tensor.is_floating_point())
    if (dtype := next(dtypes, None)) is None:
        raise SkipweaveError("the network has no parameters: there is nothing to optimize")
    return dtype


def _replace_pools(network: nn.Module) -> None:
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.MaxPool2d) and _is_separable(child):
                sizes = (_pair(size)[0] for size in (child.kernel_size, child.stride, child.padding))
                setattr(part, name, SeparableMaxPool(*sizes))


def _is_separable(pool: nn.MaxPool2d) -> bool:
    """Whether `SeparableMaxPool` does the same, and nobody watches or alters the pool by hooks."""
    if type(pool) is not nn.MaxPool2d or pool._forward_hooks or pool._forward_pre_hooks:
        return False
    square = all(len(set(_pair(size))) == 1 for size in (pool.kernel_size, pool.stride, pool.padding))
    return square and _pair(pool.dilation) == (1, 1) and not (pool.ceil_mode or pool.return_indices)
