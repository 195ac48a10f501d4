"""The optimizer that settings ask for."""

from collections.abc import Iterable

from torch.nn import Parameter
from torch.optim import SGD, Optimizer, RMSprop

from skipweave_config.recipe import OptimConfig

# What of the running mean of squares lasts from step to step: the default of Lasagne and of TensorFlow.
_LASTS = 0.9


def make_optimizer(config: OptimConfig, parameters: Iterable[Parameter]) -> Optimizer:
    """Make one of torch's optimizers."""
    if config.name == "rmsprop":
        return RMSprop(
            parameters, lr=config.lr, alpha=_LASTS, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
    )
