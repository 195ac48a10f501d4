"""Compression: fewer channels (`depth_multiplier`) or fewer links between channels (`sparsify`)."""
