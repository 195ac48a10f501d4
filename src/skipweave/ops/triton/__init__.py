"""Triton's kernels and how they are launched."""
