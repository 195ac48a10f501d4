"""Turning a given CNN into a sparsely aggregated, a thinner or a sparser one, or into one for inference only."""

from skipweave.transforms.convert import Conversion, convert
from skipweave.transforms.depth_multiplier import depth_multiplier
from skipweave.transforms.model_overrides import THINNING, build_thinned, check_thinning
from skipweave.transforms.norm_folding import Folding
from skipweave.transforms.optimize_for_inference import InferenceNet, optimize_for_inference
from skipweave.transforms.remove_links import Removal, remove_links
from skipweave.transforms.sparsify import sparsify
from skipweave.transforms.transform_report import Thinned, ThinnedLayer

__all__ = [
    "THINNING",
    "Conversion",
    "Folding",
    "InferenceNet",
    "Removal",
    "Thinned",
    "ThinnedLayer",
    "build_thinned",
    "check_thinning",
    "convert",
    "depth_multiplier",
    "optimize_for_inference",
    "remove_links",
    "sparsify",
]
