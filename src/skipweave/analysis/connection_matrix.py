"""The connection matrix of a whole network: which node reads which, through all stages."""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from torch import nn

from skipweave.analysis.profile import topologies_of
from skipweave.errors import SkipweaveError
from skipweave.layers import SpanningStages
from skipweave.topology import Topology, join_stages


@dataclass(frozen=True)
class ConnectionMatrix:
    """Who reads whom (Log-DenseNet, Fig. 1).

    Attributes:
        topology: Of all units, counted through the stages; node 0 is the first stage's input.
        ends: Last node of each stage.
    """

    topology: Topology
    ends: tuple[int, ...]

    @property
    def values(self) -> np.ndarray:
        """Boolean (n + 1, n + 1): row i is the reader i + 1, the last one the network's head, column s the source s."""
        return self.topology.adjacency()[1:]


def connection_matrix(network: nn.Module) -> ConnectionMatrix:
    """Lay out what the units of a network read as one matrix.

    Where topologies restart in every stage, who reads a stage's input reads what the stage before hands out: a
    transition adds no link (`skipweave.topology.join_stages`).

    Args:
        network: A network with stages; on any device.

    Raises:
        SkipweaveError: It has no stages with a topology.
    """
    topologies = topologies_of(network)
    if not topologies:
        raise SkipweaveError("the network has no stages with a topology")
    stages = getattr(network, "stages", ())
    if isinstance(stages, SpanningStages):
        return ConnectionMatrix(topologies[0], stages.plan.ends)
    return ConnectionMatrix(join_stages(topologies), tuple(accumulate(topology.units for topology in topologies)))
