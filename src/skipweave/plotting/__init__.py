"""Figures drawn from numbers, with matplotlib."""
