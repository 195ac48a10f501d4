import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection, PolyCollection
from PIL import Image
from torch import nn

import skipweave
from skipweave import topology
from skipweave.plotting.connections import plot_arcs, plot_connections
from skipweave.plotting.figure_files import save_figure
from tests.errors import raises


def panels(figure):
    """Axes with links: (matrix, arcs) of each row; the color bar has neither."""
    axes = [a for a in figure.axes if any(isinstance(c, PolyCollection | PathCollection) for c in a.collections)]
    return list(zip(axes[::2], axes[1::2], strict=True))


def squares(axes):
    (collection,) = (c for c in axes.collections if isinstance(c, PolyCollection))
    centers = [path.vertices[:4].mean(axis=0) for path in collection.get_paths()]
    return {(round(reader), round(source)) for source, reader in centers}


def curves(axes):
    (collection,) = (c for c in axes.collections if isinstance(c, PathCollection))
    return {(round(path.vertices[-1][0]), round(path.vertices[0][0])) for path in collection.get_paths()}


@pytest.mark.parametrize(
    "graph",
    [
        topology.exponential(4),
        topology.dense(12),
        topology.loglog(24),
        topology.plain(1),
        topology.window(222, 3),
        topology.fractal(7),
    ],
)
def test_both_panels_show_exactly_the_links(graph):
    ((matrix, arcs),) = panels(plot_connections(graph))
    links = {(reader, source) for reader, source in zip(*np.nonzero(graph.adjacency()), strict=True)}
    assert squares(matrix) == links
    assert curves(arcs) == links


@pytest.mark.parametrize(
    ("graph", "paths"),
    [
        (topology.exponential(3), "longest path 2"),
        (topology.fractal(3), "some nodes parallel"),
        (topology.Topology.from_lists([[0], [0], [2]]), "some nodes unread"),
    ],
)
def test_the_title_has_the_longest_path_or_why_there_is_none(graph, paths):
    ((_, arcs),) = panels(plot_connections(graph))
    assert arcs.get_title(loc="left").endswith(paths)


def test_equal_neighboring_stages_are_graph_once():
    with torch.device("meta"):
        same, different = (skipweave.create_model(name) for name in ("sparsenet40_24", "sparsenet121_32"))
    ((_, arcs),) = panels(plot_connections(same, "SparseNet"))
    assert arcs.get_title(loc="left") == "stages 1 to 3, each: exponential, 12 units, 37 links, longest path 3"
    titles = [arcs.get_title(loc="left") for _, arcs in panels(plot_connections(different))]
    assert [title.split(":")[0] for title in titles] == ["stage 1", "stage 2", "stage 3", "stage 4"]


@pytest.mark.parametrize(
    ("name", "overrides", "read"),
    [
        ("logdensenet_v1_12_16", {}, {36, 35, 34, 32, 28, 20, 4}),
        ("logdensenet_v1_12_16", dict(topology="dense", units=2), {6, 5, 4, 3, 2, 1, 0}),
        ("loglogdensenet_12_32", dict(units=4), {12, 11, 10, 9, 8, 6, 4, 3, 0}),
        ("fc_logdensenet103", {}, {91, 90, 89, 87, 83, 75, 59, 27, 4}),
    ],
)
def test_the_last_head_is_graph_with_its_sources(name, overrides, read):
    """Heads of Log-DenseNets read the last node and its sources, not those of the virtual node."""
    with torch.device("meta"):
        model = skipweave.create_model(name, **overrides)
    ((matrix, arcs),) = panels(plot_connections(model))
    out = model.stages.plan.topology.units + 1
    for links in (squares(matrix), curves(arcs)):
        assert {source for reader, source in links if reader == out} == read
    head = model.norm if hasattr(model, "norm") else model.head.read
    assert sum(head.widths) == sum(model.stages.widths[node] for node in read)


def test_axes_are_named():
    figure = plot_connections(topology.exponential(12), title="twelve units")
    ((matrix, arcs),) = panels(figure)
    assert (matrix.get_xlabel(), matrix.get_ylabel()) == ("source node", "reader")
    assert arcs.get_xlabel().startswith("node")
    assert any(axes.get_ylabel() == "distance (reader − source)" for axes in figure.axes)
    assert figure.get_suptitle() == "twelve units"


@pytest.mark.parametrize("units", [1, 4, 26, 27, 222])
def test_ticks_include_the_ends_and_are_few(units):
    ((matrix, arcs),) = panels(plot_connections(topology.exponential(units)))
    matrix.figure.canvas.draw()
    labels = [label.get_text() for label in arcs.get_xticklabels()]
    assert labels[0] == "0"
    assert labels[-1] == "out"
    assert len(labels) <= 28
    assert [label.get_text() for label in matrix.get_yticklabels()][-1] == "out"


def test_colors_are_distinct_in_gray():
    ((matrix, _),) = panels(plot_connections(topology.exponential(64)))
    (collection,) = matrix.collections
    colors = np.unique(collection.get_facecolors(), axis=0)
    gray = np.sort(colors[:, :3] @ [0.299, 0.587, 0.114])
    assert len(gray) == 7
    assert gray.max() < 0.8  # visible on white
    assert np.diff(gray).min() > 0.04


def test_files(tmp_path):
    png, svg = save_figure(plot_connections(topology.exponential(12)), tmp_path / "new" / "pictures.of" / "net")
    assert (png.name, svg.name) == ("net.png", "net.svg")
    with Image.open(png) as picture:
        assert min(picture.size) > 400
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def svg_text(figure, tmp_path):
    return save_figure(figure, tmp_path / "figure")[1].read_text(encoding="utf-8")


def test_svg_text_is_well_formed_and_repeatable(tmp_path):
    texts = {svg_text(plot_connections(topology.exponential(8), title="a & b <c>"), tmp_path) for _ in range(2)}
    assert len(texts) == 1
    (text,) = texts
    assert "a &amp; b &lt;c&gt;" in text
    ElementTree.fromstring(text)


def test_many_links_are_rasterized_in_svg(tmp_path):
    color_bar = 1
    assert svg_text(plot_connections(topology.exponential(32)), tmp_path).count("<image") == color_bar
    assert svg_text(plot_connections(topology.dense(100)), tmp_path).count("<image") == color_bar + 2


def test_narrow_figures_have_a_row_per_stage_and_text_that_is_not_too_small(tmp_path):
    figure = plot_arcs([topology.exponential(8), topology.exponential(8), topology.dense(100)])
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title.partition(":")[0] for title in titles] == ["stages 1 to 2, each", "stage 3"]
    svg = svg_text(figure, tmp_path)
    assert svg.count("<image") == 1  # of the dense stage
    assert float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1]) == pytest.approx(350, abs=1)
    sizes = re.findall(r'<text[^>]*font(?:-size)?: [^;"]*?([\d.]+)px', svg)
    assert len(sizes) == svg.count("<text")
    assert min(map(float, sizes)) >= 11


def test_global_state_does_not_change(tmp_path):
    before = dict(matplotlib.rcParams)
    svg_text(plot_connections(topology.exponential(4)), tmp_path)
    assert dict(matplotlib.rcParams) == before


def test_networks_without_stages_raise():
    with raises("topology"):
        plot_connections(nn.Conv2d(3, 4, 3))
