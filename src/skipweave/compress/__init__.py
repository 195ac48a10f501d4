"""Turning a given CNN into a sparsely aggregated, a thinner or a sparser one, or into one for inference only."""

from skipweave.compress.convert import Conversion, convert
from skipweave.compress.depth_multiplier import depth_multiplier
from skipweave.compress.fold_norms import Folding
from skipweave.compress.inference import InferenceNet, optimize_for_inference
from skipweave.compress.overrides import THINNING, build_thinned, check_thinning
from skipweave.compress.remove_links import Removal, remove_links
from skipweave.compress.report import Thinned, ThinnedLayer
from skipweave.compress.sparsify import sparsify

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
