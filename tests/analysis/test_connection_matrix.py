import numpy as np
import torch
from torch import nn

from skipweave.analysis.connection_matrix import connection_matrix
from skipweave.models import create_model
from skipweave.plotting.connections import plot_connection_matrix
from tests.errors import raises


def on_meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def test_separate_stages_are_joined():
    whole = connection_matrix(on_meta("sparsenet40_12", units=2, growth=1))
    assert whole.ends == (2, 4, 6)
    expected = [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0],  # node 3 reads the output of stage 1: nodes 2 and 1
        [0, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]
    np.testing.assert_array_equal(whole.values, np.array(expected, dtype=bool))


def test_a_spanning_topology_is_one_already():
    whole = connection_matrix(on_meta("logdensenet_v1_12_16", units=(2, 1, 1), growth=1))
    assert whole.ends == (2, 3, 4)
    reads = [np.flatnonzero(row).tolist() for row in whole.values]
    assert reads == [[0], [0, 1], [1, 2], [0, 2, 3], [0, 2, 3, 4]]  # a head reads node 4 and its sources


def test_the_matrix_is_drawn_with_lines_between_the_stages():
    figure = plot_connection_matrix(on_meta("densenet40_12", units=(2, 3, 4)), title="a net")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("source node", "reader")
    borders = {line.get_xdata()[0] for line in axes.lines if line.get_xdata()[0] == line.get_xdata()[1]}
    assert borders == {2.5, 5.5}
    (squares,) = axes.collections
    assert len(squares.get_paths()) == 10 * 11 // 2  # joined dense stages: every node reads all before it


def test_networks_without_stages_raise():
    with raises("topology"):
        connection_matrix(nn.Conv2d(1, 1, 1))
