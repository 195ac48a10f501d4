"""Figures of networks and results, with matplotlib."""
