"""Example inputs of a network, images or inputs of any kind, and variants of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from skipweave.tracing.held_tensors import tensors_of_tree
from skipweave_config.errors import SkipweaveError
from skipweave_config.integers import is_integer

InputSize = tuple[int, ...]

_BATCH = 2  # batch norm in training needs more than one value per channel
_LARGER = ((7, 5), (32, 32))  # additional rows and columns: odd sizes, and sizes that keep divisibility by 32


@dataclass(frozen=True, eq=False)
class Inputs:
    """Arguments of one call of a network.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Number of samples: the first size of the first tensor, or the length of its list; at least 1."""
        for value in (*self.args, *self.kwargs.values()):
            if _is_list_of_images(value):
                return len(value)
            for tensor in tensors_of_tree(value):
                if tensor.dim():
                    return max(1, len(tensor))
        return 1

    @property
    def are_meta(self) -> bool:
        """Whether a tensor is on the meta device."""
        return any(tensor.is_meta for tensor in tensors_of_tree((self.args, self.kwargs)))

    def map(self, change: Callable[[Tensor], Tensor]) -> "Inputs":
        """Return the inputs with a function applied to every tensor."""
        change_all = lambda leaf: change(leaf) if isinstance(leaf, Tensor) else leaf  # noqa: E731
        return Inputs(tree_map(change_all, self.args), tree_map(change_all, dict(self.kwargs)))

    def variants(self) -> Iterator["Inputs"]:
        """Yield the inputs, then inputs with one more sample, then inputs with larger images."""
        yield self
        batch = self.batch
        yield self._each(lambda value: _one_more(value, batch))
        for size in _LARGER:
            yield self._each(lambda value, size=size: _larger(value, size))  # type: ignore[misc]

    def _each(self, change: Callable[[Any], Any]) -> "Inputs":
        return Inputs(tuple(map(change, self.args)), {name: change(value) for name, value in self.kwargs.items()})

    def __str__(self) -> str:
        """Show the shapes."""
        if len(self.args) == 1 and not self.kwargs and isinstance(self.args[0], Tensor) and self.args[0].dim() == 4:
            return f"images of size {tuple(self.args[0].shape[1:])} (a batch of {len(self.args[0])})"
        shapes = [str(tuple(tensor.shape)) for tensor in tensors_of_tree((self.args, self.kwargs))]
        return f"inputs of shape {', '.join(shapes)}" if shapes else "these inputs"


def example(model: nn.Module, input_size: InputSize | None, example_inputs: Any) -> Inputs:
    """Return example inputs: those given, or two random images.

    Args:
        model: The network, whose first parameter determines data type and device of images.
        input_size: Channels, height and width of an image; (channels, length) or (channels, depth, height, width) for
            other data; None is the size of the model's `pretrained_cfg`.
        example_inputs: Arguments of one call: a tuple of positional arguments, a mapping of keyword arguments, or the
            only argument.

    Raises:
        SkipweaveError: Both are given, or neither and the model has no `pretrained_cfg`.
    """
    if example_inputs is None:
        size = checked_input_size(model, input_size, lengths=(2, 3, 4))
        like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(()))
        device = "cpu" if like.is_meta else like.device
        images = torch.randn(_BATCH, *size, generator=torch.Generator().manual_seed(0), device="cpu")
        return Inputs((images.to(device, like.dtype),))
    if input_size is not None:
        raise SkipweaveError("both input_size and example_inputs are given: expected one of them")
    if isinstance(example_inputs, Mapping):
        return Inputs((), dict(example_inputs))
    return Inputs(example_inputs if isinstance(example_inputs, tuple) else (example_inputs,))


def checked_input_size(model: nn.Module, input_size: InputSize | None, lengths: tuple[int, ...] = (3,)) -> InputSize:
    """Return the given input size, or that of the model.

    Args:
        model: The network, optionally with a `pretrained_cfg`.
        input_size: The given size, or None.
        lengths: Valid numbers of dimensions.

    Raises:
        SkipweaveError: There is no size, or it is invalid.
    """
    size = _own_size(model) if input_size is None else input_size
    if not size:
        raise SkipweaveError("the model has no pretrained_cfg: give input_size=(channels, height, width)")
    if not isinstance(size, tuple | list) or len(size) not in lengths or not all(map(_is_positive, size)):
        raise SkipweaveError(f"input_size is {size}: expected three positive integers (channels, height, width)")
    return tuple(size)


def _is_positive(side: object) -> bool:
    return is_integer(side, 1)


def _own_size(model: nn.Module) -> InputSize:
    """Input size of a timm model, with the number of channels with which it was created."""
    cfg = getattr(model, "pretrained_cfg", None)
    size = (cfg.get("input_size") if isinstance(cfg, Mapping) else None) or ()
    channels = getattr(model, "in_chans", None)
    return (channels, *size[1:]) if isinstance(channels, int) and size else tuple(size)


def _is_list_of_images(value: object) -> bool:
    """Whether a batch is a list of images (C, H, W), as for detectors."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(image, Tensor) and image.dim() == 3 for image in value)
    )


def _one_more(value: Any, batch: int) -> Any:
    """Append a copy of the first sample to a batch."""
    if _is_list_of_images(value):
        return [*value, value[0]]

    def longer(leaf: Any) -> Any:
        has_batch = isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == batch
        return torch.cat([leaf, leaf[:1]]) if has_batch else leaf

    return tree_map(longer, value)


def _larger(value: Any, more: tuple[int, int]) -> Any:
    """Append copies of the first rows and columns to images."""
    first = 1 if _is_list_of_images(value) else 2  # first spatial dimension

    def larger(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            for dim, extra in zip((-2, -1), more, strict=True):
                if leaf.dim() + dim >= first and leaf.shape[dim]:
                    places = torch.arange(leaf.shape[dim] + extra, device=leaf.device) % leaf.shape[dim]
                    leaf = leaf.index_select(dim, places)
        return leaf

    return tree_map(larger, value)
