"""Optimization of trained networks for inference."""
