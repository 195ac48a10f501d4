"""`skipweave show`: cost and connections of a model."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import torch
from rich.table import Table
from torch import nn

from skipweave.analysis.channel_paths import LayerPaths, channel_paths
from skipweave.analysis.profile import Profile, profile
from skipweave.layers import ChannelSparseConv2d
from skipweave.models import create_model
from skipweave.plotting.channel_patterns import plot_channel_patterns
from skipweave.plotting.connections import plot_connections
from skipweave.plotting.figure_files import figure_paths, save_figure
from skipweave.plotting.path_counts import plot_path_counts
from skipweave.tracing.example_inputs import InputSize
from skipweave.transforms import build_compressed
from skipweave_cli.options import ShowOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.tables import new_table, print_table, say


def show(options: ShowOptions) -> None:
    """Print cost and connections of a model, and draw the connections.

    Raises:
        SkipweaveError: The model or an argument is wrong, or a file exists already.
    """
    name, save = options.model, options.save
    prefix = save / name if save is not None and save.is_dir() else save
    sparse = bool(options.args.get("sparsify"))
    if prefix is not None:
        places = (prefix, *(_beside(prefix, part) for part in ("channels", "paths") if sparse))
        make_room(path for each in places for path in figure_paths(each))
    with torch.device("cpu" if sparse else "meta"):  # patterns are indices, which the meta device does not hold
        network = build_compressed(partial(create_model, name), options.args)
    title = " ".join([name, *(f"{key}={value}" for key, value in options.args.items())])
    measured = profile(network, options.input_size)
    print_table(_costs(title, measured, options.convention))
    if measured.topologies:
        print_table(_stages(measured))
    layers = tuple(_sparse_layers(network, options.input_size)) if sparse else ()
    if layers:
        print_table(_paths(layers))
    if prefix is not None:
        pictures = {}
        if sparse:
            pictures[_beside(prefix, "channels")] = plot_channel_patterns(network, title)
            pictures[_beside(prefix, "paths")] = plot_path_counts(layers, title)
        if measured.topologies or not sparse:
            pictures[prefix] = plot_connections(measured.topologies, title)
        for place, picture in pictures.items():
            for path in save_figure(picture, place):
                say(f"saved {path}")


def _beside(prefix: Path, part: str) -> Path:
    return prefix.with_name(f"{prefix.name}_{part}")


def _sparse_layers(network: nn.Module, input_size: InputSize | None) -> Iterator[LayerPaths]:
    for layer in channel_paths(network, input_size):
        if isinstance(network.get_submodule(layer.name), ChannelSparseConv2d):
            yield layer


def _paths(layers: Iterable[LayerPaths]) -> Table:
    """Fan-ins and paths of the sparse layers, as in section 4 of the paper on channel sparsity."""
    numbers = ("reads", "units", "paths per unit", "different units")
    table = new_table("sparse layer", *numbers, right=numbers)
    for layer in layers:
        table.add_row(layer.name, str(layer.fan_in), str(layer.units), f"{layer.paths:.4g}", str(layer.distinct))
    return table


def _costs(title: str, measured: Profile, conventions: Iterable[str]) -> Table:
    table = new_table("", title)
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in measured.parameters_by_type.items() if number)
    layers = ", ".join(f"{layer} {number:,}" for layer, number in measured.counts.macs.items())
    table.add_row("images", "x".join(map(str, measured.input_size)))
    table.add_row("parameters", f"{measured.parameters:,} ({kinds})")
    table.add_row(
        "with running statistics",
        f"{measured.parameters_with_statistics:,} (a batch norm per unit and input, as in the papers)",
    )
    table.add_row("multiply-accumulates", f"{measured.macs:,} ({layers})")
    if measured.exit_macs:
        last = measured.exit_macs[-1]
        costs = ", ".join(f"{macs:,} ({macs / last:.0%})" for macs in measured.exit_macs)
        table.add_row("multiply-accumulates to each exit, with those before it", costs)
    for convention in conventions:
        table.add_row(f"FLOPs, {convention}", f"{measured.operations(convention):,}")
    table.add_row("saved for backward", f"{measured.saved_bytes / 2**20:,.1f} MiB per image, in 32-bit training")
    table.add_row("peak memory of inference", f"{measured.inference_bytes / 2**20:,.1f} MiB, one image, 32-bit")
    if measured.topologies:
        links = f"{measured.links:,} into {measured.units} units"
        degrees = f"mean in-degree {measured.mean_in_degree:.2f}, maximum {measured.max_in_degree}"
        table.add_row("links", f"{links}; {degrees}")
    return table


def _stages(measured: Profile) -> Table:
    numbers = ("units", "links", "mean in-degree", "max in-degree", "max back-propagation distance")
    table = new_table("stage", "topology", *numbers, right=numbers)
    for number, topology in enumerate(measured.topologies, start=1):
        degrees = f"{topology.mean_in_degree:.2f}", str(topology.max_in_degree)
        cells = str(topology.units), str(topology.links), *degrees, str(topology.max_distance)
        table.add_row(str(number) if len(measured.topologies) > 1 else "all", topology.name, *cells)
    return table
