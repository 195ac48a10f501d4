"""`skipweave prune-links`: removal of the weakest links of a trained network."""

from rich.table import Table

from skipweave.analysis.weak_links import WeakLinks
from skipweave.training.run.link_pruning import LinkPruning
from skipweave.training.run.link_pruning import prune_links as prune_links_of_run
from skipweave_cli.options import PruneLinksOptions
from skipweave_cli.tables import new_table, print_table, say


def prune_links(options: PruneLinksOptions) -> None:
    """List the links of a trained network with a small weight, and report what removing them saves.

    Raises:
        SkipweaveError: Links cannot be removed from such a network, or the directory exists.
    """
    below, output = options.below, options.output
    pruning = prune_links_of_run(options.run, below, output, options.which)
    if pruning.weak.removable or pruning.weak.kept:
        print_table(_links(pruning.weak))
    if not pruning.weak.removable:
        kept = f", {len(pruning.weak.kept)} are kept" if pruning.weak.kept else ""
        written = f", and {output} is not written" if output else ""
        say(f"no link with a weight below {below} can be removed{kept}: nothing is removed{written}")
        return
    print_table(_costs(pruning))
    if output:
        say(f"the network without {len(pruning.weak.removable)} links is in {output}; to fine-tune it:")
        say(f"skipweave fit --config {output}/config.yaml --epochs 5 --optim.lr 0.01")


def _links(weak: WeakLinks) -> Table:
    """All links below the threshold, by reader."""
    columns = ("stage", "reader", "source", "weight")
    table = new_table(*columns, "", right=columns)
    listed = [(entry, "removable") for entry in weak.removable]
    listed += [(entry, f"kept: {reason}") for entry, reason in weak.kept]
    for entry, remark in sorted(listed, key=lambda row: row[0].link):
        link = entry.link
        table.add_row(str(link.stage + 1), str(link.reader), str(link.source), f"{entry.weight:.3f}", remark)
    return table


def _costs(pruning: LinkPruning) -> Table:
    columns = ("before", "after", "saved")
    table = new_table("", *columns, right=columns)
    before, after = pruning.before, pruning.after
    _, height, width = before.input_size
    rows = {
        "links of units": (before.links, after.links),
        "parameters": (before.parameters, after.parameters),
        f"MACs per image of {height}x{width}": (before.macs, after.macs),
        "bytes saved for backward, per image": (before.saved_bytes, after.saved_bytes),
        "peak activation bytes in inference": (before.inference_bytes, after.inference_bytes),
    }
    for name, (old, new) in rows.items():
        table.add_row(name, f"{old:,}", f"{new:,}", f"{1 - new / old:.1%}")
    return table
