"""Figures of networks and results, with matplotlib."""

from skipweave_config.extras import require_extra

require_extra("train")
