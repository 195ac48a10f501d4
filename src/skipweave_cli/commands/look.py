"""`skipweave look`: the papers' pictures of a network, and their numbers."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from rich.table import Table
from torch import nn

from skipweave.errors import SkipweaveError
from skipweave.export import local_weights
from skipweave.files.atomic_write import as_csv, replacing
from skipweave.models import create_model
from skipweave.plotting import connections
from skipweave.plotting.paper_figures import KINDS, Kind, Look, Value, looks
from skipweave.plotting.paper_figures import look as take
from skipweave.training import Description, Which, load_run, load_weights
from skipweave_cli.options import LookOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.tables import new_table, print_table, say

_ENDINGS = (".png", ".svg", ".pdf", ".csv")
_IN_A_FOLDER = (".svg", ".png", ".csv")
_UNTRAINED = "weights say something in a trained network only: give a run's folder"


def look(options: LookOptions) -> None:
    """Show the figures of a model and their values.

    Raises:
        SkipweaveError: The model has no such figure, there is no such model, or a file exists already.
    """
    network, kind = options.network, options.kind
    title, taken, reasons = _taken(network, options.which)
    chosen = [picture for picture in taken if kind in (None, picture.kind)]
    if not chosen:
        has = ", ".join(picture.kind for picture in taken)
        missing = "; ".join(f"no {one}: {reasons[one]}" for one in ([kind] if kind else KINDS))
        raise SkipweaveError(f"{network}: {missing}" + (f" (it has {has})" if has else ""))
    files = _files(chosen, options.save)
    for picture in chosen:
        say(f"{picture.kind}: {picture.about}")
        print_table(_table(picture))
    if kind is None:
        for missing_kind, reason in reasons.items():
            say(f"no {missing_kind}: {reason}")
    for path, picture in files.items():
        _write(picture, title, path)
        say(f"saved {path}")


def _taken(network: str, which: Which) -> tuple[str, tuple[Look, ...], dict[Kind, str]]:
    """The network's name, its pictures, and why it has not the others."""
    path = local_weights(Path(network))
    if path.exists():
        if path.is_dir():
            trained, _, description = load_run(path, which)
        else:
            trained, description = load_weights(path)
        return _title(description), *looks(trained)
    return network, (take(_untrained(network), "connections"),), dict.fromkeys(KINDS[1:], _UNTRAINED)


def _title(description: Description) -> str:
    """The network as it was asked for, long lists left out, and its data."""
    own = {key: value for key, value in description.args.items() if key not in ("num_classes", "in_chans")}
    told = [
        f"{key}={'given' if key == 'topology' and isinstance(value, list) else value}" for key, value in own.items()
    ]
    return " ".join([description.model, *told, "on", description.data])


def _untrained(name: str) -> nn.Module:
    if "/" in name:
        raise SkipweaveError(f"no such run folder or file: {name}")
    with torch.device("meta"):
        return create_model(name)


def _files(pictures: Sequence[Look], save: Path | None) -> dict[Path, Look]:
    """What is to be written, by its path; refuses before anything is."""
    if save is None:
        return {}
    if save.suffix and not save.is_dir():
        if save.suffix not in _ENDINGS:
            raise SkipweaveError(f"save is {save}: expected a folder, or a file that ends in {', '.join(_ENDINGS)}")
        if len(pictures) > 1:
            kinds = ", ".join(picture.kind for picture in pictures)
            raise SkipweaveError(f"save is one file, {save}, for {kinds}: choose one by --kind, or give a folder")
        files = {save: pictures[0]}
    else:
        files = {save / f"{picture.kind}{end}": picture for picture in pictures for end in _IN_A_FOLDER}
    make_room(files)
    return files


def _write(picture: Look, title: str, path: Path) -> None:
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            rows = ((*value[:3], f"{value.value:.6g}") for value in picture.values)
            temporary.write_text(as_csv([Value._fields, *rows]), encoding="utf-8")
        else:
            with rc_context({"text.parse_math": False}):  # what a file says of its network is text
                figure = picture.draw(title)
            connections.write(figure, temporary, path.suffix.removeprefix("."))


def _table(picture: Look) -> Table:
    """The numbers of a picture, gathered by how far back the links reach."""
    measured = () if picture.kind == "connections" else ("least", "mean", "largest")
    columns = ("how far back", "links", *measured)
    table = new_table("where", *columns, right=columns)
    ordered = sorted(picture.values, key=_offset)  # stable: panels keep their order
    for panel in dict.fromkeys(value.panel for value in picture.values):
        for offset, links in groupby((value for value in ordered if value.panel == panel), _offset):
            values = np.array([value.value for value in links])
            told = [f"{number:.2f}" for number in (values.min(), values.mean(), values.max())] if measured else []
            table.add_row(panel, str(offset), str(len(values)), *told)
    return table


def _offset(value: Value) -> int:
    return value.reader - value.source
