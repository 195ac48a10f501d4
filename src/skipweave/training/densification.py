"""Incremental densification: links are added to a sparsified network during training, and to its optimizer state."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from skipweave.data import mix_seed
from skipweave.transforms.compression.densify import add_links, scatter_old, sparse_layers
from skipweave_config.errors import SkipweaveError
from skipweave_config.model_table import sparsify_density
from skipweave_config.recipe import DensifyConfig


class Densifier:
    """Adds links to a network in training, and room for them to its optimizer.

    What there is to add at a step follows from the step and from the network's state, so a resumed run needs nothing
    else to continue as before.
    """

    def __init__(self, config: DensifyConfig, start: float, seed: int) -> None:
        self.config = config
        self.start = start
        self.seed = seed

    def prepare(self, network: nn.Module, optimizer: Optimizer, step: int) -> float:
        """Bring the network to the density that a step is to be taken at, and return it."""
        density = self.config.density(self.start, step)
        if step % self.config.every:
            return density
        seed = mix_seed(self.seed, step)
        for weight, places in add_links(network, density, new=self.config.new, seed=seed):
            state = optimizer.state.get(weight, {})
            for key, value in state.items():
                if isinstance(value, Tensor) and value.dim() == weight.dim():
                    state[key] = scatter_old(value, value.new_zeros(weight.shape), places)
        return density


def make_densifier(config: DensifyConfig, network: nn.Module, args: Mapping[str, Any], seed: int) -> Densifier | None:
    """Create the densifier of a config, if it has one.

    Raises:
        SkipweaveError: the network was not sparsified.
    """
    if not config.every:
        return None
    start = sparsify_density(args)
    if not sparse_layers(network) or start is None:
        raise SkipweaveError(
            "densify needs a network to add links to: give model.args.sparsify a density to start from"
        )
    return Densifier(config, start, seed)
