"""`skipweave models`: list the models. Imports no torch: sizes and costs are read from a file."""

from fnmatch import fnmatchcase

from skipweave_cli.options import ModelsOptions
from skipweave_cli.tables import new_table, print_table
from skipweave_config.errors import SkipweaveError
from skipweave_config.model_table import model_table


def models(options: ModelsOptions) -> None:
    """Print a table of models with their size and cost.

    Raises:
        SkipweaveError: No name matches.
    """
    asked = options.filter
    pattern = asked if any(sign in asked for sign in "*?[") else f"*{asked}*"
    entries = [entry for entry in model_table().values() if fnmatchcase(entry.name, pattern)]
    if not entries:
        raise SkipweaveError(f"filter is {asked!r}: no model has such a name; `skipweave models` lists all")
    figures = ("images", "parameters", "multiply-accumulates", "published parameters")
    table = new_table("model", "family", *figures, right=figures)
    for entry in entries:
        images = "x".join(map(str, entry.input_size))
        table.add_row(entry.name, entry.family, images, f"{entry.parameters:,}", f"{entry.macs:,}", entry.published)
    print_table(table)
