"""Devices, processes and how they meet."""
