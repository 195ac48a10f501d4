"""Turning a given CNN into a sparsely aggregated one."""

from skipweave.compress.convert import Conversion, convert

__all__ = ["Conversion", "convert"]
