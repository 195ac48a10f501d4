"""`optimize_for_inference`: a given network as it is best run once it is trained."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair
from torch.utils._pytree import tree_map

from skipweave.compress.dataflow import data_flows
from skipweave.compress.dry_run import checked_input_size
from skipweave.compress.fold_norms import Folding, fold_norms, is_step
from skipweave.errors import SkipweaveError
from skipweave.layers import FORMATS, MemoryFormat, SeparableMaxPool, best_memory_format
from skipweave.ops.eager import is_eager

_WEIGHTS = (torch.float32, torch.bfloat16)


class InferenceNet(nn.Module):
    """A network for inference only: made by `optimize_for_inference`, called as the network that it was made of.

    Floating-point inputs are brought to the type and memory format of the network at the door, and results back to the
    type that the given network had. All attributes of the network can be read here too, its methods called
    `forward_...` with the same door.

    Attributes:
        network: The network.
        folding: What became of its batch norms.

    Raises:
        SkipweaveError: It is put into training mode.
    """

    def __init__(self, network: nn.Module, folding: Folding, memory_format: MemoryFormat, given: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.folding = folding
        self.memory_format = memory_format
        self._given = given
        self.eval()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what the network makes."""
        if isinstance(inputs, torch.fx.Proxy):
            raise SkipweaveError("torch.fx cannot trace a network optimized for inference: trace its `network`")
        return self._through(self.network, *inputs, **named)

    def train(self, mode: bool = True) -> "InferenceNet":
        """Refuse training mode."""
        if mode:
            raise SkipweaveError("a network optimised for inference cannot be trained: train the one it was made of")
        return super().train(mode)

    def __getattr__(self, name: str) -> Any:
        if name in ("_modules", "network"):
            return super().__getattr__(name)
        try:
            return super().__getattr__(name)
        except AttributeError:
            found = getattr(self.network, name)
        return partial(self._through, found) if name.startswith("forward_") else found

    def _through(self, method: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        made = method(*tree_map(self._enter, inputs), **tree_map(self._enter, named))
        if isinstance(made, Iterator):
            return (tree_map(self._leave, part) for part in made)
        return tree_map(self._leave, made)

    def _enter(self, x: Any) -> Any:
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            return x
        x = x.to(next(self.network.parameters()).dtype)
        # The format is for speed alone, and the transforms of torch.func know no other than the contiguous one.
        return x.contiguous(memory_format=FORMATS[self.memory_format]) if x.dim() == 4 and is_eager(x) else x

    def _leave(self, x: Any) -> Any:
        return x.to(self._given) if isinstance(x, Tensor) and x.is_floating_point() else x


def optimize_for_inference(
    model: nn.Module,
    *,
    memory_format: MemoryFormat | None = None,
    compile: bool = False,
    weights: torch.dtype | None = None,
    input_size: tuple[int, int, int] | None = None,
) -> InferenceNet:
    """Make of a trained network one of the same function that does less: batch norms folded, for inference only.

    In evaluation mode a batch norm is a gain and a bias a channel, and these go

    - into the convolution before it (transposed, channel-sparse and DelugeNet's across nodes too), where nothing else
      reads that one's map, through average pools and concatenations of several convolutions' maps. So a normalised
      node is normalised by who makes it, and its readers keep gains, biases and ReLU, one pass over what they read.
    - else, where all who read the normalised map have gains and biases of their own (`ConcatRead`), into those:
      FC-DenseNet's maps, which others read raw, and node 0 behind a max pool.

    What stays: a batch norm of a map that others read too, as before the convolutions of residual networks and of
    others' DenseNets; one of a sum; one whose map the network gives away (`forward_features`, `forward_intermediates`,
    `forward_anytime` are the same functions as before); one that runs several times.

    On the CPU, in contiguous networks, square max pools become `skipweave.layers.SeparableMaxPool`, which is faster.

    Args:
        model: Any network of convolutions. It is copied, not changed.
        memory_format: `"channels_last"` or `"contiguous"`. None is contiguous where channel-sparse convolutions gather
            channels, else channels_last, which is how convolutions compute.
        compile: Whether `torch.compile` makes kernels of `forward`, when it runs first.
        weights: `torch.float32`, or `torch.bfloat16`, in which the network then computes too; inputs and results keep
            their type. None keeps the network's.
        input_size: Channels, height and width of an image; by default those of the model's `pretrained_cfg`.

    Returns:
        The network, with `folding`, which says batch norm by batch norm what was done or why nothing was.

    Raises:
        SkipweaveError: An argument does not fit, or the network cannot take such images.

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
        raise SkipweaveError("the network is optimised for inference already: give the one it was made of")
    given = _dtype(model)
    network = copy.deepcopy(model).eval().requires_grad_(False)
    flows = data_flows(network, checked_input_size(model, input_size), is_step)
    folding = fold_norms(network, flows)
    chosen = memory_format or best_memory_format(model)
    if chosen == "contiguous" and next(network.parameters()).is_cpu:
        _replace_pools(network)
    network.to(dtype=weights)
    network.to(memory_format=FORMATS[chosen])
    if compile:
        network.compile()
    return InferenceNet(network, folding, chosen, given)


def _dtype(model: nn.Module) -> torch.dtype:
    dtypes = (tensor.dtype for tensor in model.parameters() if tensor.is_floating_point())
    if (dtype := next(dtypes, None)) is None:
        raise SkipweaveError("the network has no parameters: there is nothing to optimise")
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
