"""`skipweave models`, `show` and `ledger`: look at networks without training them."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import timm
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from skipweave.analysis.ledger_check import Check, by_network, check
from skipweave.analysis.operation_counts import CONVENTIONS
from skipweave.analysis.profile import Profile, profile
from skipweave.cli.output_files import make_room, pictures
from skipweave.cli.tables import new_table, print_table, say
from skipweave.errors import SkipweaveError
from skipweave.ledger import PAPERS, Row, rows
from skipweave.models import arguments_of, create_model, list_models
from skipweave.plotting.connections import plot_connections
from skipweave.plotting.figure_files import save_figure
from skipweave.transforms import build_compressed

_STYLES = {"yes": "green", "no": "yellow", "open": "dim", "wrong": "bold red"}


def models(filter: str = "", /) -> None:
    """List the networks that can be built, with the size that was published for each.

    Args:
        filter: Part of a name, or a pattern such as "sparsenet*"; all networks where it is left out.

    Raises:
        SkipweaveError: No name fits.
    """
    names = list_models(filter)
    if not names:
        raise SkipweaveError(f"no model is called anything like {filter!r}: `skipweave models` lists all names")
    table = new_table("model", "images", "published parameters")
    published = _published()
    for name in names:
        cfg = timm.get_pretrained_cfg(name)
        table.add_row(name, "x".join(map(str, cfg.input_size)) if cfg else "", published.get(name, ""))
    print_table(table)


def show(
    model: str,
    args: dict[str, Any] | None = None,
    input_size: tuple[int, int, int] | None = None,
    save: Path | None = None,
) -> None:
    """Show what a network costs and how it is linked; nothing is allocated, whatever its size.

    Args:
        model: A name that `skipweave models` lists.
        args: Arguments in place of the registered ones, for example --args.growth 12 --args.topology dense; with
            --args.depth_multiplier 0.5 or --args.sparsify 0.1 the network is thinned first.
        input_size: Channels, height and width of the images; the model's own where it is left out.
        save: Where to put a picture of the connections: <save>.png and <save>.svg; in a folder that exists already,
            under the model's name. What exists is not overwritten.

    Raises:
        SkipweaveError: The model or an argument is wrong, or a file exists already.
    """
    args = args or {}
    prefix = save / model if save is not None and save.is_dir() else save
    if prefix is not None:
        make_room(pictures(prefix))
    with torch.device("meta"):
        network = build_compressed(partial(create_model, model), args)
    title = " ".join([model, *(f"{key}={value}" for key, value in args.items())])
    measured = profile(network, input_size)
    print_table(_costs(title, measured))
    if measured.topologies:
        print_table(_stages(measured))
    if prefix is not None:
        picture = plot_connections(measured.topologies, title)
        for path in save_figure(picture, prefix):
            say(f"saved {path}")


def ledger(paper: str | None = None) -> None:
    """Build every network whose size a paper printed, and compare.

    Args:
        paper: One of sparsenet, log_densenet, seqconv, delugenet, channel_sparsity; all five where it is left out.

    Raises:
        SkipweaveError: There is no such paper, or a network is not what the ledger expects of it.
    """
    listed = rows(paper)
    progress = Console(stderr=True)
    groups = track(by_network(listed), "building", console=progress, transient=True, disable=not progress.is_terminal)
    checks = {id(result.row): result for group in groups for result in check(group)}
    results = [checks[id(row)] for row in listed]
    notes: dict[str, int] = {}
    for title, group in groupby(results, lambda result: f"{PAPERS[result.row.paper]}, {result.row.table}"):
        print_table(_comparison(title, list(group), notes))
    for note, number in notes.items():
        say(f"{number:>3}  {note}")
    say("\n" + _verdicts(results))
    if wrong := sum(result.verdict == "wrong" for result in results):
        raise SkipweaveError(f"{wrong} rows are not what the ledger expects; they are marked `wrong` in the table")


def _published() -> dict[str, str]:
    """The most precise printed number of parameters of each model, where the model's own arguments give it."""
    figures: dict[str, str] = {}
    for row in rows():
        arguments = arguments_of(row.model)
        own = all(name == "num_classes" or arguments.get(name) == value for name, value in row.overrides.items())
        if row.quantity == "parameters" and row.match == "yes" and own:
            figures[row.model] = max(figures.get(row.model, ""), f"{row.printed}{row.unit}", key=len)
    return figures


def _costs(title: str, measured: Profile) -> Table:
    table = new_table("", title)
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in measured.parameters_by_type.items() if number)
    layers = ", ".join(f"{layer} {number:,}" for layer, number in measured.counts.macs.items())
    table.add_row("images", "x".join(map(str, measured.input_size)))
    table.add_row("parameters", f"{measured.parameters:,} ({kinds})")
    table.add_row(
        "with statistics", f"{measured.parameters_with_statistics:,} (two a channel that a reader normalizes)"
    )
    table.add_row("MACs an image", f"{measured.macs:,} ({layers})")
    if measured.exit_macs:
        last = measured.exit_macs[-1]
        costs = ", ".join(f"{macs:,} ({macs / last:.0%})" for macs in measured.exit_macs)
        table.add_row("MACs to each exit", costs)
    for convention in CONVENTIONS:
        table.add_row(f"FLOPs, {convention}", f"{measured.operations(convention):,}")
    table.add_row("kept for backward", f"{measured.saved_bytes / 2**20:,.1f} MiB an image, in 32-bit training")
    table.add_row("alive in inference", f"{measured.inference_bytes / 2**20:,.1f} MiB at most, one image, 32-bit")
    if measured.topologies:
        links = f"{measured.links:,} into {measured.units} units"
        degrees = f"mean in-degree {measured.mean_in_degree:.2f}, maximum {measured.max_in_degree}"
        table.add_row("links", f"{links}; {degrees}")
    return table


def _stages(measured: Profile) -> Table:
    numbers = ("units", "links", "mean in-degree", "max in-degree", "longest path back")
    table = new_table("stage", "topology", *numbers, right=numbers)
    for number, topology in enumerate(measured.topologies, start=1):
        degrees = f"{topology.mean_in_degree:.2f}", str(topology.max_in_degree)
        cells = str(topology.units), str(topology.links), *degrees, str(topology.max_distance)
        table.add_row(str(number) if len(measured.topologies) > 1 else "all", topology.name, *cells)
    return table


def _comparison(title: str, results: Sequence[Check], notes: dict[str, int]) -> Table:
    """One printed table; notes are numbered, and new ones added to `notes`."""
    figures = ("printed", "built", "off")
    table = new_table("row", "built as", "what", *figures, "match", "note", right=figures)
    table.title = title
    for result in results:
        row = result.row
        found = [notes.setdefault(note, len(notes) + 1) for note in (result.reason, row.note) if note]
        table.add_row(
            row.row,
            " ".join([row.model, *(f"{key}={value}" for key, value in row.overrides.items())]),
            row.quantity.replace("_", " "),
            f"{row.printed}{row.unit if row.printed else ''}",
            _in_units(row, result.built),
            "" if result.difference is None else f"{result.difference:+.1%}",
            result.verdict,
            ", ".join(map(str, found)),
            style=_STYLES[result.verdict],
        )
    return table


def _in_units(row: Row, built: int | None) -> str:
    """A built figure with two decimals more than the printed one has; in full where nothing is printed."""
    if built is None:
        return ""
    if not row.printed:
        return f"{built:,}"
    decimals = len(row.printed.partition(".")[2]) + 2
    return f"{row.in_units(built):.{decimals}f}{row.unit}"


def _verdicts(results: Sequence[Check]) -> str:
    count = Counter(result.verdict for result in results)
    built = sum(result.built is not None for result in results)
    unprinted = built - count["yes"] - count["no"] - count["wrong"]
    return (
        f"{len(results)} rows; {built} built: {count['yes']} give the printed figure, {count['no']} differ from it for "
        f"the reason noted, {unprinted} have no printed figure, {count['wrong']} are wrong; "
        f"{len(results) - built} not built"
    )
