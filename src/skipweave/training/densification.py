"""Incremental densification: a sparsified network gains links while it trains, and its optimizer state with them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from skipweave.config.checks import refuse, unknown, unless
from skipweave.config.typed import take_types
from skipweave.data import mix_seed
from skipweave.errors import SkipweaveError
from skipweave.transforms.compression.densify import add_links, scatter_old, sparse_layers

NEW_WEIGHTS = ("fresh", "zero")


@dataclass(frozen=True)
class DensifyConfig:
    """When links are added to a network that `model.args.sparsify` made (Changpinyo et al. 2017, section 3.2).

    Attributes:
        every: steps between additions; 0 adds none.
        densities: that of the network after each addition in turn; by default each doubles the links until all are
            there.
        new: weights of new links: `fresh` random ones (the paper's), or `zero`, which changes nothing that the network
            computes and suits short phases better.
    """

    every: int = 0
    densities: tuple[float, ...] = ()
    new: str = "fresh"

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SkipweaveError: every value of a wrong type, or out of its range.
        """
        take_types(self)
        rising = all(a < b for a, b in zip((0.0, *self.densities), (*self.densities, math.inf), strict=True))
        refuse(
            unless(self.every >= 0, f"every is {self.every}: expected 0 or more steps"),
            unless(
                rising and all(density <= 1 for density in self.densities),
                f"densities are {list(self.densities)}: expected rising numbers above 0 and at most 1",
            ),
            unless(self.every > 0 or not self.densities, "densities need every: the steps between them"),
            unknown("kind of new weights", self.new, NEW_WEIGHTS),
        )

    def density(self, start: float, step: int) -> float:
        """The density at a step.

        Args:
            start: at the first step.
            step: of the run, counted from 0.

        >>> [DensifyConfig(every=10).density(0.3, step) for step in (0, 9, 10, 20, 90)]
        [0.3, 0.3, 0.6, 1.0, 1.0]
        """
        additions = step // self.every if self.every else 0
        if not additions:
            return start
        if self.densities:
            return max(start, self.densities[min(additions, len(self.densities)) - 1])
        doubled: Fraction = Fraction(str(start)) * 2 ** min(additions, 64)
        return float(min(doubled, Fraction(1)))


class Densifier:
    """Adds links to a network in training, and room for them to its optimizer.

    What there is to add at a step follows from the step and from the network's state, so a resumed run needs nothing
    else to go on as it would have.

    Args:
        config: when.
        start: density that the network was made with.
        seed: of the run.
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
        for weight, places in add_links(network, density, new=self.config.new, seed=seed):  # type: ignore[arg-type]
            state = optimizer.state.get(weight, {})
            for key, value in state.items():
                if isinstance(value, Tensor) and value.dim() == weight.dim():
                    state[key] = scatter_old(value, value.new_zeros(weight.shape), places)
        return density


def make_densifier(config: DensifyConfig, network: nn.Module, args: Mapping[str, Any], seed: int) -> Densifier | None:
    """The densifier that settings ask for, if they do.

    Args:
        config: the settings.
        network: built.
        args: its overrides.
        seed: of the run.

    Raises:
        SkipweaveError: the network was not sparsified.
    """
    if not config.every:
        return None
    asked = args.get("sparsify")
    start = asked.get("density") if isinstance(asked, Mapping) else asked
    if not sparse_layers(network) or not isinstance(start, int | float):
        raise SkipweaveError(
            "densify needs a network to add links to: give model.args.sparsify a density to start from"
        )
    return Densifier(config, float(start), seed)
