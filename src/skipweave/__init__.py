"""Sparsely aggregated convolutional networks: CNNs whose layers read a chosen few of the earlier outputs."""
