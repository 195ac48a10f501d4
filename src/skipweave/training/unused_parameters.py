"""Parameters that a loss does not depend on, which several processes have to look for in every step."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from skipweave.models.heads import all_heads, count_heads
from skipweave.training.auxiliary_heads import LossWeights
from skipweave.training.model_building import check_network
from skipweave_config.fit_config import FitConfig


def leaves_parameters_unused(config: FitConfig) -> bool:
    """Whether the loss of some step does not depend on all parameters of the config's network.

    These are, for example, of a node that no later unit reads, or of a head without weight in the loss. The network is
    run without memory for its weights; True if this is not possible.
    """
    network = check_network(config.model.name, config.model.args).train()
    try:
        with torch.device("meta"):
            logits = all_heads(network, torch.empty(2, *network.pretrained_cfg["input_size"]))  # type: ignore[index]
    except Exception:  # other authors' networks may need anything
        return True
    weights = LossWeights(config.loss, count_heads(network), config.epochs)
    epochs = (weights(epoch) for epoch in (0, config.epochs - 1))
    steps = [[one for one, weight in zip(logits, epoch, strict=True) if weight] for epoch in epochs]
    trained = {parameter for parameter in network.parameters() if parameter.requires_grad}
    return any(trained - _reached(outputs) for outputs in steps)


def _reached(outputs: Iterable[Tensor]) -> set[nn.Parameter]:
    """The parameters that tensors were computed from."""
    found, seen = set[nn.Parameter](), set[Node]()
    waiting = [output.grad_fn for output in outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(node.variable)
        waiting += [following for following, _ in node.next_functions]
    return found
