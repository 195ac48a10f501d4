"""The optimizer of a config, from timm."""

from dataclasses import replace
from typing import Any

from timm.models import group_parameters, model_parameters
from timm.optim import auto_group_layers, create_optimizer_v2
from timm.utils import dispatch_clip_grad
from torch import nn
from torch.optim import Optimizer

from skipweave_config.errors import SkipweaveError
from skipweave_config.recipe import OptimConfig


def make_optimizer(config: OptimConfig, network: nn.Module) -> Optimizer:
    """Create one of timm's optimizers for the parameters of a network that require gradients.

    Biases and the parameters of norms, all that have one dimension, and those of the network's `no_weight_decay` form a
    group without weight decay, unless `decay_norms_and_biases`. With `layer_decay`, groups have a factor `lr_scale` on
    the learning rate, by the network's `group_matcher` (timm).

    Raises:
        SkipweaveError: An argument of the optimizer has a wrong value.
    """
    args: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in config.args.items()}
    if config.entry.nesterov is not None:
        args["nesterov"] = config.nesterov
    try:
        return create_optimizer_v2(
            network,
            config.name,
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            filter_bias_and_bn=not config.decay_norms_and_biases,
            layer_decay=config.layer_decay if config.layer_decay < 1 else None,
            **args,
        )
    except Exception as error:  # optimizers raise various types
        raise SkipweaveError(f"optim: cannot make {config.name} with {config.args}: {error}") from error


def clip_gradients(config: OptimConfig, network: nn.Module) -> None:
    """Clip the gradients of a network, without a loss scale on them, in place."""
    if config.clip_grad is not None:
        parameters = model_parameters(network, exclude_head=config.clip_mode == "agc")
        dispatch_clip_grad(parameters, config.clip_grad, config.clip_mode)


def check_optimizer(config: OptimConfig) -> None:
    """Check the arguments of an optimizer by making one.

    Raises:
        SkipweaveError: A value is wrong.
    """
    make_optimizer(replace(config, layer_decay=1.0), nn.Linear(1, 1))  # of one layer, of which timm would warn


def check_layer_decay(name: str, network: nn.Module, config: OptimConfig) -> None:
    """Check that `layer_decay` has an effect on a network.

    Raises:
        SkipweaveError: All layers are in one group.
    """
    if config.layer_decay == 1:
        return
    if hasattr(network, "group_matcher"):
        layers = group_parameters(network, network.group_matcher(), reverse=True)  # type: ignore[operator]
    else:
        layers = auto_group_layers(network)
    if len(set(layers.values())) == 1:
        raise SkipweaveError(
            f"optim.layer_decay is {config.layer_decay:g}, but {name} has no group_matcher that names its layers: "
            f"leave it out"
        )
