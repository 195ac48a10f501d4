"""`skipweave models`: list the models. Imports no torch: sizes, costs and errors are read from files."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from skipweave_cli.options import ModelsOptions
from skipweave_cli.tables import new_table, print_table
from skipweave_config.errors import SkipweaveError
from skipweave_config.model_table import model_table
from skipweave_config.published_weights import PUBLISHED
from skipweave_config.shipped_weights import shipped_weights


def models(options: ModelsOptions) -> None:
    """Print a table of models with their size and cost, or of pretrained weights with their size and test error.

    Raises:
        SkipweaveError: No name matches.
    """
    if options.pretrained:
        _list_weights(options.filter)
    else:
        _list_models(options.filter)


def _list_models(asked: str) -> None:
    names = _matching(model_table(), asked, "no model has such a name; `skipweave models` lists all")
    figures = ("images", "parameters", "multiply-accumulates", "published parameters")
    table = new_table("model", "family", *figures, right=figures)
    for entry in (model_table()[name] for name in names):
        images = "x".join(map(str, entry.input_size))
        table.add_row(entry.name, entry.family, images, f"{entry.parameters:,}", f"{entry.macs:,}", entry.published)
    print_table(table)


def _list_weights(asked: str) -> None:
    rows = {row[0]: row for row in (*_shipped(), *_published())}
    figures = ("MB", "test", "with --tta")
    table = new_table("weights", "trained on", *figures, "from", right=figures)
    for name in _matching(rows, asked, "no weights have such a name; `skipweave models --pretrained` lists all"):
        table.add_row(*rows[name])
    print_table(table)


def _shipped() -> Iterator[tuple[str, ...]]:
    for name, weights in shipped_weights().items():
        facts = weights.facts
        plain, augmented = (facts.value(augmented=augmented) for augmented in (False, True))
        size = f"{facts.bytes / 1e6:.1f}"
        yield name, facts.data, size, f"{facts.label} {facts.text(plain)}", facts.text(augmented), "skipweave, float16"


def _published() -> Iterator[tuple[str, ...]]:
    for model, tags in PUBLISHED.items():
        size = f"{4 * model_table()[model].parameters / 1e6:.1f}"
        for tag in tags:
            source = "torchvision" if tag.startswith("tv_") else "timm"
            yield f"{model}.{tag}", "imagenet", size, "", "", f"{source}, downloaded"


def _matching(names: Iterable[str], asked: str, none: str) -> list[str]:
    pattern = asked if any(sign in asked for sign in "*?[") else f"*{asked}*"
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise SkipweaveError(f"filter is {asked!r}: {none}")
    return found
