"""The optimizer of a config."""

from collections.abc import Iterable

from torch.nn import Parameter
from torch.optim import SGD, Optimizer, RMSprop

from skipweave_config.recipe import OptimConfig

# Smoothing constant of the mean of squares: the default of Lasagne and TensorFlow.
_ALPHA = 0.9


def make_optimizer(config: OptimConfig, parameters: Iterable[Parameter]) -> Optimizer:
    """Create one of PyTorch's optimizers."""
    if config.name == "rmsprop":
        return RMSprop(
            parameters, lr=config.lr, alpha=_ALPHA, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
    )
