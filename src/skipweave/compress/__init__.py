"""Turning a given CNN into a sparsely aggregated, a thinner or a sparser one."""

from skipweave.compress.convert import Conversion, convert
from skipweave.compress.depth_multiplier import depth_multiplier
from skipweave.compress.report import Thinned, ThinnedLayer

__all__ = ["Conversion", "Thinned", "ThinnedLayer", "convert", "depth_multiplier"]
