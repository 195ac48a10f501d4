"""`skipweave models`: list the models."""

from skipweave.errors import SkipweaveError
from skipweave_cli.options import ModelsOptions


def models(options: ModelsOptions) -> None:
    """TODO."""
    raise SkipweaveError("todo")
