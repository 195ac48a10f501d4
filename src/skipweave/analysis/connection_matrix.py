"""Connection matrix of a whole network, over all stages."""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from torch import nn

from skipweave.analysis.profile import topologies_of
from skipweave.layers import SpanningStages
from skipweave.topology import Topology, join_stages
from skipweave_config.errors import SkipweaveError


@dataclass(frozen=True)
class ConnectionMatrix:
    """Connection matrix (Log-DenseNet, Fig. 1).

    Attributes:
        topology: Topology of all units, numbered through the stages; node 0 is the input of the first stage.
        ends: Last node of each stage.
    """

    topology: Topology
    ends: tuple[int, ...]

    @property
    def values(self) -> np.ndarray:
        """Boolean (n + 1, n + 1): row i is reader i + 1, the last row the head; column s is source s."""
        return self.topology.adjacency()[1:]


def connection_matrix(network: nn.Module) -> ConnectionMatrix:
    """Build the connection matrix of a network.

    Where the topology restarts in every stage, a reader of a stage's input reads the output of the previous stage: a
    transition adds no link (`skipweave.topology.join_stages`).

    Raises:
        SkipweaveError: The network has no stages with a topology.
    """
    topologies = topologies_of(network)
    if not topologies:
        raise SkipweaveError("the network has no stages with a topology")
    stages = getattr(network, "stages", ())
    if isinstance(stages, SpanningStages):
        return ConnectionMatrix(topologies[0], stages.plan.ends)
    return ConnectionMatrix(join_stages(topologies), tuple(accumulate(topology.units for topology in topologies)))
