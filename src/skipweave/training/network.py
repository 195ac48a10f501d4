"""Build the network that settings or a file name, for the data at hand."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from skipweave.compress import build_thinned
from skipweave.errors import SkipweaveError
from skipweave.models import create_model
from skipweave.training.task import Data

#: What timm would follow to files or addresses: a name and its own arguments are all that settings may give.
_NOT_ARGUMENTS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")


def arguments_for(name: str, args: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """Complete a model's overrides by what follows from the data.

    Raises:
        SkipweaveError: the overrides ask for other classes or channels than the data has.
    """
    follows = {"num_classes": len(data.classes), "in_chans": data.in_chans}
    for key, value in follows.items():
        if args.get(key, value) != value:
            raise SkipweaveError(
                f"model {name} is asked for {key} {args[key]}, but {data.name} has {value}: leave model.args.{key} out"
            )
    return {**args, **follows}


def check_labels(name: str, network: nn.Module, *, pixels: bool) -> None:
    """Refuse a network that gives the other kind of labels than the data has.

    Args:
        name: of the network.
        network: built.
        pixels: whether the data has one label a pixel, or one an image.

    Raises:
        SkipweaveError: it does.
    """
    if getattr(network, "labels_pixels", False) == pixels:
        return
    if pixels:
        raise SkipweaveError(f"{name} gives one label an image, the data has one a pixel: try fc_logdensenet103")
    raise SkipweaveError(f"{name} labels pixels, the data has one label an image: try sparsenet40_24")


def build_network(name: str, args: Mapping[str, Any]) -> nn.Module:
    """Create a registered network.

    Args:
        name: of `skipweave models`, or of timm.
        args: all of its overrides, `depth_multiplier` and `sparsify` among them (`skipweave.compress.build_thinned`).

    Raises:
        SkipweaveError: the name or an override is unknown or does not fit.
    """
    if refused := [key for key in args if key in _NOT_ARGUMENTS]:
        raise SkipweaveError(f"{', '.join(refused)} cannot be set for {name}: networks are trained from scratch here")
    try:
        return build_thinned(partial(create_model, name), args)
    except SkipweaveError:
        raise
    except Exception as error:  # other timm models refuse bad arguments each in its own way
        raise SkipweaveError(f"cannot build {name} with {dict(args)}: {' '.join(str(error).split())}") from error


def recompute_units(name: str, network: nn.Module) -> None:
    """Let a network run its units again in the backward pass.

    Raises:
        SkipweaveError: it has no `set_grad_checkpointing`.
    """
    if not hasattr(network, "set_grad_checkpointing"):
        raise SkipweaveError(f"recompute is asked for, but {name} has no set_grad_checkpointing: leave it out")
    network.set_grad_checkpointing()  # type: ignore[operator]


def count_parameters(network: nn.Module) -> int:
    """The number of learnable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
