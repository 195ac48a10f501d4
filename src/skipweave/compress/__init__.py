"""Turning a given CNN into a sparsely aggregated, a thinner or a sparser one."""

from skipweave.compress.convert import Conversion, convert
from skipweave.compress.depth_multiplier import depth_multiplier
from skipweave.compress.overrides import build_thinned
from skipweave.compress.remove_links import Removal, remove_links
from skipweave.compress.report import Thinned, ThinnedLayer
from skipweave.compress.sparsify import sparsify

__all__ = [
    "Conversion",
    "Removal",
    "Thinned",
    "ThinnedLayer",
    "build_thinned",
    "convert",
    "depth_multiplier",
    "remove_links",
    "sparsify",
]
