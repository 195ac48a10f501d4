"""Implementations for the CPU: the C library and its wrappers."""
