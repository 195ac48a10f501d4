"""Build the network that a config or a weights file names, for the data at hand."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from skipweave.models import create_model
from skipweave.transforms import build_compressed, check_compression
from skipweave_config.errors import SkipweaveError, noted_in
from skipweave_config.model_table import COMPRESSION

if TYPE_CHECKING:
    from skipweave.training.tasks.task import Data

#: What timm would follow to files or addresses: a name and its own arguments are all that a config may have.
_NOT_ARGUMENTS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")

# The largest network here has 8,017; to build one of so many takes some seconds.
_MOST_MODULES = 2**14


def arguments_for(name: str, args: Mapping[str, Any], data: "Data") -> dict[str, Any]:
    """Complete a model's overrides by what follows from the data.

    Raises:
        SkipweaveError: The overrides ask for other classes or channels than the data has.
    """
    follows = {"num_classes": len(data.classes), "in_chans": data.in_chans}
    for key, value in follows.items():
        if args.get(key, value) != value:
            raise SkipweaveError(
                f"model {name} is asked for {key} {args[key]}, but {data.name} has {value}: leave model.args.{key} out"
            )
    return {**args, **follows}


def check_labels(name: str, network: nn.Module, *, pixels: bool) -> None:
    """Check that a network predicts the kind of labels that the data has.

    Args:
        name: Of the network.
        network: Built.
        pixels: Whether the data has one label a pixel, or one an image.

    Raises:
        SkipweaveError: It does.
    """
    if getattr(network, "labels_pixels", False) == pixels:
        return
    if pixels:
        raise SkipweaveError(
            f"{name} predicts one label per image, the data has segmentation masks: try fc_logdensenet103, or "
            f"smp:unet:tu-{name}, which has {name} as its encoder"
        )
    raise SkipweaveError(f"{name} predicts segmentation masks, the data has one label per image: try sparsenet40_24")


def build_network(name: str, args: Mapping[str, Any], *, pretrained: bool = False) -> nn.Module:
    """Create a registered network.

    Args:
        name: Of `skipweave models`, or of timm.
        args: All of its overrides, `depth_multiplier` and `sparsify` too (`skipweave.transforms.build_compressed`).
        pretrained: Whether to load its pretrained weights, which may have to be downloaded.

    Raises:
        SkipweaveError: The name or an override is unknown or does not fit, or the weights cannot be loaded.
    """
    if forbidden := [key for key in args if key in _NOT_ARGUMENTS]:
        raise SkipweaveError(
            f"{', '.join(forbidden)} cannot be set for {name}: use model.pretrained, or start for other weights"
        )
    try:
        return build_compressed(partial(create_model, name, **({"pretrained": True} if pretrained else {})), args)
    except SkipweaveError:
        raise
    except Exception as error:  # other timm models raise various errors
        raise SkipweaveError(f"cannot build {name} with {dict(args)}: {' '.join(str(error).split())}") from error


def check_network(name: str, args: Mapping[str, Any]) -> nn.Module:
    """Check a network by building it without memory for its weights, and not thinned, which may take seconds.

    Returns:
        The network on the meta device.

    Raises:
        SkipweaveError: The name or an override is unknown or does not fit.
    """
    problems: list[str] = []
    with noted_in(problems):
        check_compression(args)
    with noted_in(problems):
        network = sketch(name, {key: value for key, value in args.items() if key not in COMPRESSION})
    if problems:
        raise SkipweaveError(*problems)
    return network


def sketch(name: str, args: Mapping[str, Any]) -> nn.Module:
    """Create a registered network without memory for its weights, whatever its size.

    Raises:
        SkipweaveError: As `build_network`; or it would have more than 16,384 modules.
    """
    with torch.device("meta"), _few_modules(name):
        return build_network(name, args)


@contextmanager
def _few_modules(name: str) -> Iterator[None]:
    """Stop a network from being built when it gets too many modules."""
    left = _MOST_MODULES

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise SkipweaveError(f"{name} would have more than {_MOST_MODULES:,} modules: ask for a smaller network")

    hook = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def enable_grad_checkpointing(name: str, network: nn.Module) -> None:
    """Turn on activation checkpointing.

    Raises:
        SkipweaveError: The network has no `set_grad_checkpointing`, or one that does not support it.
    """
    try:
        if hasattr(network, "set_grad_checkpointing"):
            network.set_grad_checkpointing()  # type: ignore[operator]
            return
    except AssertionError:  # as in timm's Inception, DLA and others
        pass
    raise SkipweaveError(f"grad_checkpointing is true, but {name} does not support it: leave it out")


def count_parameters(network: nn.Module) -> int:
    """The number of parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_trained_parameters(network: nn.Module) -> int:
    """The number of parameters that are not frozen."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
