"""`skipweave plot`: the papers' figures of a network, and their values."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from rich.table import Table
from torch import nn

from skipweave.files.atomic_write import as_csv, write_text
from skipweave.files.hub import local_weights
from skipweave.models import create_model
from skipweave.plotting import paper_figures
from skipweave.plotting.figure_files import write_figure
from skipweave.plotting.paper_figures import KINDS, Kind, Plot, Value
from skipweave.training import Description, Which, load_run, load_weights
from skipweave_cli.checkpoint_choice import check_which
from skipweave_cli.options import PlotOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.tables import new_table, print_table, say
from skipweave_config.errors import SkipweaveError
from skipweave_config.model_table import model_table

_ENDINGS = (".png", ".svg", ".pdf", ".csv")
_IN_A_FOLDER = (".svg", ".png", ".csv")
_UNTRAINED = "weights of an untrained network are random: expected a run directory or a weights file"


def plot(options: PlotOptions) -> None:
    """Plot the connections of a network and the weights of its links, and print their values.

    Raises:
        SkipweaveError: The network does not exist or has no such plot, or a file exists already.
    """
    network, kind = options.network, options.kind
    check_which(options.which, network)
    title, plots, reasons = _plots(network, options.which)
    chosen = [made for made in plots if kind in (None, made.kind)]
    if not chosen:
        has = ", ".join(made.kind for made in plots)
        missing = "; ".join(f"no {one}: {reasons[one]}" for one in ([kind] if kind else KINDS))
        raise SkipweaveError(f"{network}: {missing}" + (f" (it has {has})" if has else ""))
    files = _files(chosen, options.save)
    for made in chosen:
        say(f"{made.kind}: {made.description}")
        print_table(_table(made))
    if kind is None:
        for missing_kind, reason in reasons.items():
            say(f"no {missing_kind}: {reason}")
    for path, made in files.items():
        _write(made, title, path)
        say(f"saved {path}")


def _plots(network: str, which: Which) -> tuple[str, tuple[Plot, ...], dict[Kind, str]]:
    """Title of the network, its plots, and why it does not have the others."""
    path = Path(network) if network in model_table() else local_weights(Path(network))
    if path.exists():
        if path.is_dir():
            trained, _, description = load_run(path, which)
        else:
            trained, description = load_weights(path)
        return _title(description), *paper_figures.plots(trained)
    return network, (paper_figures.plot(_untrained(network), "connections"),), dict.fromkeys(KINDS[1:], _UNTRAINED)


def _title(description: Description) -> str:
    """Model, arguments and dataset of a network, without long topologies."""
    own = {key: value for key, value in description.args.items() if key not in ("num_classes", "in_chans")}
    args = [
        f"{key}={'custom' if key == 'topology' and isinstance(value, list) else value}" for key, value in own.items()
    ]
    return " ".join([description.model, *args, "on", description.data])


def _untrained(name: str) -> nn.Module:
    if "/" in name:
        raise SkipweaveError(f"no such run directory or file: {name}")
    with torch.device("meta"):
        return create_model(name)


def _files(plots: Sequence[Plot], save: Path | None) -> dict[Path, Plot]:
    """Plots by the paths to write; raises if one exists."""
    if save is None:
        return {}
    if save.suffix and not save.is_dir():
        if save.suffix not in _ENDINGS:
            raise SkipweaveError(f"save is {save}: expected a folder, or a file that ends in {', '.join(_ENDINGS)}")
        if len(plots) > 1:
            kinds = ", ".join(made.kind for made in plots)
            raise SkipweaveError(f"save is one file, {save}, for {kinds}: choose one with --kind, or give a folder")
        files = {save: plots[0]}
    else:
        files = {save / f"{made.kind}{end}": made for made in plots for end in _IN_A_FOLDER}
    make_room(files)
    return files


def _write(made: Plot, title: str, path: Path) -> None:
    if path.suffix == ".csv":
        rows = ((*value[:3], f"{value.value:.6g}") for value in made.values)
        write_text(path, as_csv([Value._fields, *rows]))
    else:
        with rc_context({"text.parse_math": False}):  # the description in a file is text
            figure = made.draw(title)
        write_figure(figure, path)


def _table(made: Plot) -> Table:
    """Values of a plot, summarized by distance from source to reader."""
    measured = () if made.kind == "connections" else ("min", "mean", "max")
    columns = ("distance", "links", *measured)
    table = new_table("where", *columns, right=columns)
    ordered = sorted(made.values, key=_distance)  # stable: panels keep their order
    for panel in dict.fromkeys(value.panel for value in made.values):
        for distance, links in groupby((value for value in ordered if value.panel == panel), _distance):
            values = np.array([value.value for value in links])
            cells = [f"{number:.2f}" for number in (values.min(), values.mean(), values.max())] if measured else []
            table.add_row(panel, str(distance), str(len(values)), *cells)
    return table


def _distance(value: Value) -> int:
    return value.reader - value.source
