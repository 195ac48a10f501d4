"""The small runs of the training tests."""

from tests.training.conftest import make_tiny, tiny

__all__ = ["make_tiny", "tiny"]
