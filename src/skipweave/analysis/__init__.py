"""Measurements of networks: cost, memory, speed, links, and the comparison with the published figures."""
