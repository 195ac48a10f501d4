"""Incremental densification: links are added to a sparsified network during training, and to its optimizer state."""

from collections.abc import Mapping
from typing import Any

from lightning_fabric import Fabric
from timm.optim import RMSpropTF
from torch import Tensor, nn
from torch.optim import Optimizer

from skipweave.data import mix_seed
from skipweave.transforms.compression.densify import add_links, draw_links, scatter_old, sparse_layers
from skipweave.transforms.compression.sparsify import fan_in_rule
from skipweave_config.errors import SkipweaveError
from skipweave_config.model_table import sparsify_density
from skipweave_config.recipe import DensifyConfig


class Densifier:
    """Adds links to a network in training, and room for them to its optimizer.

    Fan-ins of a step follow from the step and from the network as it was built, links from the network's state, so a
    resumed run needs nothing else to continue as before.

    Args:
        config: When to add links.
        network: The network with its first links.
        sparsify: Arguments of `skipweave.sparsify` that made the network; choice and rounding of new links are theirs.
        seed: Seed of the run.
    """

    def __init__(self, config: DensifyConfig, network: nn.Module, sparsify: Mapping[str, Any], seed: int) -> None:
        self.config = config
        self.seed = seed
        self._sparsify = sparsify
        self._first = {name: (layer.in_channels, layer.fan_in) for name, layer in sparse_layers(network).items()}

    def density(self, step: int) -> float:
        """The density at which a step of the run is taken."""
        return self.config.density(self._sparsify["density"], step)

    def fan_ins(self, step: int) -> dict[str, int]:
        """Inputs per output of each sparse layer at a step: the first number doubled, or that of a given density."""
        if self.config.densities:
            rule = fan_in_rule(**{**self._sparsify, "density": self.density(step)})
            return {name: rule(channels) for name, (channels, _) in self._first.items()}
        doublings = self.config.additions(step)
        return {name: min(channels, first << doublings) for name, (channels, first) in self._first.items()}

    def adds_links(self, step: int) -> bool:
        """Whether links are added before a step of the run."""
        return bool(self.config.additions(step)) and step % self.config.every == 0

    def prepare(self, network: nn.Module, optimizer: Optimizer, step: int, fabric: Fabric) -> bool:
        """Add the links of a step; return whether there are any. The first process draws them for all."""
        if not self.adds_links(step):
            return False
        seed = mix_seed(self.seed, step)
        choice = self._sparsify.get("choice", "balanced")
        drawn = draw_links(network, self.fan_ins(step), choice=choice, seed=seed) if fabric.is_global_zero else {}
        drawn = fabric.broadcast(drawn)
        for weight, places in add_links(network, drawn, new=self.config.new, seed=seed):
            state = optimizer.state.get(weight, {})
            first = {"square_avg": 1} if _is_of_rmsproptf(weight, optimizer) else {}  # all other moments begin at 0
            for key, value in state.items():
                if isinstance(value, Tensor) and value.dim() == weight.dim():
                    state[key] = scatter_old(value, value.new_full(weight.shape, first.get(key, 0)), places)
        return bool(drawn)


def _is_of_rmsproptf(weight: Tensor, optimizer: Optimizer) -> bool:
    parts = getattr(optimizer, "optimizers", (optimizer,))
    groups = [group for part in parts if isinstance(part, RMSpropTF) for group in part.param_groups]
    return any(weight is other for group in groups for other in group["params"])


def make_densifier(config: DensifyConfig, network: nn.Module, args: Mapping[str, Any], seed: int) -> Densifier | None:
    """Create the densifier of a config, if it has one.

    Raises:
        SkipweaveError: the network was not sparsified.
    """
    if not config.every:
        return None
    density = sparsify_density(args)
    if not sparse_layers(network) or density is None:
        raise SkipweaveError(
            "densify needs a network to add links to: give model.args.sparsify a density to start from"
        )
    asked = args["sparsify"]
    return Densifier(config, network, asked if isinstance(asked, Mapping) else {"density": density}, seed)
