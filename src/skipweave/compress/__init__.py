"""Turning a given CNN into a sparsely aggregated, a thinner or a sparser one."""

from skipweave.compress.convert import Conversion, convert
from skipweave.compress.depth_multiplier import depth_multiplier
from skipweave.compress.remove_links import Removal, remove_links
from skipweave.compress.report import Thinned, ThinnedLayer

__all__ = ["Conversion", "Removal", "Thinned", "ThinnedLayer", "convert", "depth_multiplier", "remove_links"]
