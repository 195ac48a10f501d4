"""Sparsely aggregated convolutional networks: CNNs whose layers read a chosen few of the earlier outputs.

Importing this package registers its networks with timm.
"""

from importlib.metadata import version

from skipweave import layers, topology
from skipweave.analysis.profile import profile
from skipweave.engines import export_model
from skipweave.models import create_model, list_models
from skipweave.topology import Topology
from skipweave.transforms import convert, depth_multiplier, optimize_for_inference, sparsify
from skipweave_config.errors import SkipweaveError

__version__ = version("skipweave")

__all__ = [
    "SkipweaveError",
    "Topology",
    "convert",
    "create_model",
    "depth_multiplier",
    "export_model",
    "layers",
    "list_models",
    "optimize_for_inference",
    "profile",
    "sparsify",
    "topology",
]
