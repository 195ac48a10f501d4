"""Tensor functions: the readable definition of each hot operation, and fast forms that must equal it."""

from skipweave.ops.aggregate import concat_read, shifted_mean, sum_nodes

__all__ = ["concat_read", "shifted_mean", "sum_nodes"]
