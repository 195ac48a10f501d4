"""Exceptions of the library, defined where they can be imported without torch."""

from skipweave_config.errors import SkipweaveError, Stopped, noted_in

__all__ = ["SkipweaveError", "Stopped", "noted_in"]
