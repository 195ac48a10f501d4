"""The optimizer of a config, from timm."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import torch
from timm.models import group_parameters, model_parameters
from timm.optim import auto_group_layers, create_optimizer_v2
from timm.utils import dispatch_clip_grad
from torch import nn
from torch.optim import Optimizer

from skipweave_config.errors import SkipweaveError
from skipweave_config.hints import nearest
from skipweave_config.recipe import OptimConfig, ParameterGroup


def make_optimizer(config: OptimConfig, network: nn.Module) -> Optimizer:
    """Create timm's optimizer for the parameters of a network that require gradients; with groups, one for each.

    Biases and the parameters of norms, all that have one dimension, and those of the network's `no_weight_decay` form a
    group without weight decay, unless `decay_norms_and_biases`. With `layer_decay`, groups have a factor `lr_scale` on
    the learning rate, by the network's `group_matcher` (timm). The groups of the config have such a factor as well, and
    `epochs`, if they are not trained to the end.

    Raises:
        SkipweaveError: An argument of the optimizer has a wrong value.
    """
    members = _members(config, network)
    others = [parameter for group in members for parameter in group]
    for parameter in others:
        parameter.requires_grad_(False)  # timm passes them over
    optimizers = [_create(config, network)]
    for parameter in others:
        parameter.requires_grad_(True)
    for group, parameters in zip(config.groups, members, strict=True):
        own = group.optimizer(vars(config))
        settings = {"params": parameters, "lr_scale": own.lr / config.lr, "epochs": group.epochs}
        optimizers.append(_create(own, [settings]))
    return CombinedOptimizer(optimizers) if config.groups else optimizers[0]


def _members(config: OptimConfig, network: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of each group of the config."""
    members: list[list[nn.Parameter]] = [[] for _ in config.groups]
    for name, parameter in network.named_parameters():
        matching = [number for number, group in enumerate(config.groups) if _matches(name, group)]
        if matching and parameter.requires_grad:
            members[matching[0]].append(parameter)
    return members


def _matches(name: str, group: ParameterGroup) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in group.parameters)


def _create(config: OptimConfig, parameters: nn.Module | list[dict[str, Any]]) -> Optimizer:
    args: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in config.args.items()}
    if config.entry.nesterov is not None:
        args["nesterov"] = config.nesterov
    try:
        optimizer = create_optimizer_v2(
            parameters,
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
    if config.normalize_filters:
        optimizer.register_step_pre_hook(_normalize_filters)
    return optimizer


@torch.no_grad()
def _normalize_filters(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    """Scale the weights of each convolution that has gradients to a norm of sqrt(output channels)."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.dim() == 4 and weight.grad is not None:
                weight.mul_(len(weight) ** 0.5 / weight.norm())


class CombinedOptimizer(Optimizer):
    """Several optimizers, each of its own parameters, as one: the groups and the state are those of all of them.

    Args:
        optimizers: The optimizers.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = tuple(optimizers)
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        self.defaults = {name: value for optimizer in optimizers for name, value in optimizer.defaults.items()}
        self._share()

    def _share(self) -> None:
        """Let the optimizers use the groups and the state of this one."""
        groups = iter(self.param_groups)
        for optimizer in self.optimizers:
            optimizer.param_groups = list(islice(groups, len(optimizer.param_groups)))
            optimizer.state = self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Set groups and state, as `load_state_dict` does."""
        super().__setstate__(state)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step of each optimizer."""
        loss = closure() if closure else None
        for optimizer in self.optimizers:
            optimizer.step()
        return loss


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


def check_groups(name: str, network: nn.Module, config: OptimConfig) -> None:
    """Check that each group of parameters has some in a network.

    Raises:
        SkipweaveError: A group has none.
    """
    empty = [group for group, members in zip(config.groups, _members(config, network), strict=True) if not members]
    if empty:
        names = [key for key, parameter in network.named_parameters() if parameter.requires_grad]
        raise SkipweaveError(
            *(
                f"optim.groups: no trained parameter of {name} that no earlier group has matches "
                f"{', '.join(group.parameters)}: {nearest(group.parameters[0], names, 3)}names are such as {names[0]}"
                for group in empty
            )
        )


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
