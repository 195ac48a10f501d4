"""`optimize_for_inference`: fold batch norms of a trained network and choose its memory format."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from skipweave.ops.eager_execution import is_eager
from skipweave.tracing.copies import copied, in_mode
from skipweave.tracing.dataflow import data_flows
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import Trials, trials_of
from skipweave.tracing.unsupported_networks import check_supported
from skipweave.transforms.inference.norm_folding import Folding, fold_norms, is_step
from skipweave.transforms.memory_format import FORMATS, MemoryFormat, best_memory_format
from skipweave.transforms.verification import Reference
from skipweave_config.errors import SkipweaveError

_MAX_SEARCHED = 3  # batch norms that are searched for separately
_WEIGHTS = (torch.float32, torch.bfloat16)


class InferenceNet(nn.Module):
    """A network for inference only, created by `optimize_for_inference` and called like the original network.

    Images are converted to the memory format of the network. If its weights have another data type than originally,
    floating-point inputs are converted to it, and outputs back to the original data type. Attributes of the network are
    accessible here too; methods named `forward_...` convert inputs and outputs likewise.

    Attributes:
        network: The network.
        folding: Report of its batch norms.
        memory_format: Memory format in which it computes.

    Raises:
        SkipweaveError: Training mode is set.
    """

    def __init__(self, network: nn.Module, folding: Folding, memory_format: MemoryFormat) -> None:
        super().__init__()
        self.network = network
        self.folding = folding
        self.memory_format = memory_format
        self._dtypes: tuple[torch.dtype, torch.dtype] | None = None  # of inputs and outputs
        self.eval()

    def compute_in(self, weights: torch.dtype) -> None:
        """Convert the weights to another data type, in which the network then computes."""
        self._dtypes = weights, dtype_of(self.network)
        self.network.to(dtype=weights)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return the outputs of the network."""
        if isinstance(inputs, torch.fx.Proxy):
            raise SkipweaveError("torch.fx cannot trace a network optimized for inference: trace its `network`")
        return self._through(self.network, *inputs, **named)

    def train(self, mode: bool = True) -> "InferenceNet":
        """Raise for training mode."""
        if mode:
            raise SkipweaveError("a network optimized for inference cannot be trained: train the original one")
        return super().train(mode)

    def __getattr__(self, name: str) -> Any:
        if name in ("_modules", "network") or name.startswith("__"):  # needed for copying
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
        # The memory format only affects speed, and torch.func supports only contiguous tensors.
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
    """Optimize a trained network for inference without changing its outputs: fold batch norms, choose a memory format.

    In evaluation mode, a batch norm is a scale and shift per channel. It is folded

    - into the convolution before it (also transposed, channel-sparse and DelugeNet's cross-layer convolutions), if the
      output of that has no other reader, through average pools and concatenations of several convolutions. The
      normalization of a node thus moves into its unit, and its readers keep scale, shift and ReLU.
    - otherwise into the scale and shift of its readers (`ConcatRead`), if all readers have them: FC-DenseNet's maps,
      which have raw readers, and node 0 after a max pool.

    Not folded are batch norms of maps with other readers, as in pre-activation ResNets and other DenseNets; batch norms
    of sums; those whose input the network returns, stores or passes to a hook (`forward_features`,
    `forward_intermediates` and `forward_anytime` keep their outputs); and those that run several times.

    The result is verified against the original network for two batch sizes, and for several image sizes if the network
    accepts them: structure, shapes, data types and values must be equal, up to 1e-3 of the largest value of an output
    (in float32; 1e-6 in float64, 2e-2 in float16, 1e-1 in bfloat16). Batch norms whose folding changes an output are
    not folded, as `folding` reports; if channels-last changes an output, the network stays contiguous.

    Args:
        model: Any network of convolutions. It is copied, not modified.
        memory_format: `"channels_last"` or `"contiguous"`. None is contiguous for networks with channel-sparse
            convolutions, or if the network does not run in channels-last, and channels-last otherwise.
        compile: Whether `forward` is compiled by `torch.compile` on its first run.
        weights: Data type of weights and computation, `torch.float32` or `torch.bfloat16`; inputs and outputs keep
            theirs. None does not change it.
        input_size: Channels, height and width of an image; the default is that of the model's `pretrained_cfg`.
        example_inputs: Arguments of one call, instead of a size: a tuple, a mapping of keyword arguments, or the only
            argument.

    Returns:
        The optimized network; its attribute `folding` lists all batch norms.

    Raises:
        SkipweaveError: An argument is invalid, the network is not supported or does not accept the inputs, or the
            outputs would change.

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
        raise SkipweaveError("the network is optimized for inference already: give the original one")
    check_supported(model)
    dtype_of(model)
    optimizer = _Optimizer(model, trials_of(model, input_size, example_inputs))
    optimized = optimizer.optimized(memory_format)
    if weights is not None:
        optimized.compute_in(weights)
        optimizer.reference.require(
            optimized, f"the network in {weights}", "Leave out weights.", within="network", values=False
        )
    if compile:
        optimized.network.compile()
    return optimized


class _Optimizer:
    """Optimizes a network and searches for changes that preserve its outputs."""

    def __init__(self, model: nn.Module, trials: Trials) -> None:
        self.model = model
        self.reference = Reference(model, trials, values=True)
        self.flows = data_flows(model, trials, is_step)

    def optimized(self, memory_format: MemoryFormat | None) -> InferenceNet:
        """Optimize in a memory format, or in the fastest one that preserves the outputs."""
        best = memory_format or best_memory_format(self.model)
        made = self._make(best, {})
        if not self._difference(made):
            return made
        excluded = self._norms_to_exclude()
        for chosen in (best,) if memory_format else (best, "contiguous"):
            made = self._make(chosen, excluded)
            if not (words := self._difference(made)):
                return made
        raise SkipweaveError(f"the network cannot be optimized for inference in {chosen} memory format: {words}")

    def _make(self, memory_format: MemoryFormat, skipped: Mapping[str, str]) -> InferenceNet:
        network = in_mode(copied(self.model), training=False).requires_grad_(False)
        folding = fold_norms(network, self.flows, skipped)
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=FORMATS[memory_format])
        return InferenceNet(network, folding, memory_format)

    def _norms_to_exclude(self) -> dict[str, str]:
        """Find the batch norms whose folding changes outputs, by bisection."""
        names = list(self._make("contiguous", {}).folding.folded)
        found: dict[str, str] = {}
        while words := self._without(found):
            if len(found) == _MAX_SEARCHED:
                return dict.fromkeys(names, f"folded with others, {words}")
            rest = [name for name in names if name not in found]
            most = len(rest)  # folding this many changes outputs, folding `least` does not
            least = 0
            if not rest or self._without(dict.fromkeys(names, "")):
                return found  # the difference has another cause
            while most - least > 1:
                middle = (most + least) // 2
                differs = self._without(found | dict.fromkeys(rest[middle:], ""))
                most, least = (middle, least) if differs else (most, middle)
            found[rest[most - 1]] = f"folded, {words}"
        return found

    def _without(self, skipped: Mapping[str, str]) -> str:
        """Difference of the network when some batch norms are not folded."""
        return self._difference(self._make("contiguous", skipped))

    def _difference(self, made: InferenceNet) -> str:
        return self.reference.difference(made, within="network")


def dtype_of(model: nn.Module) -> torch.dtype:
    """Data type of the first floating-point parameter.

    Raises:
        SkipweaveError: The network has no floating-point parameters.
    """
    dtypes = (tensor.dtype for tensor in model.parameters() if tensor.is_floating_point())
    if (dtype := next(dtypes, None)) is None:
        raise SkipweaveError("the network has no parameters: there is nothing to optimize")
    return dtype
