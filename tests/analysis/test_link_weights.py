import copy

import numpy as np
import pytest
import torch

import skipweave
from skipweave.analysis.link_weights import cross_norms, group_maps, reuse_maps
from skipweave.analysis.weak_links import link_weights
from skipweave.layers import ChannelSparseConv2d, SeqConv2d
from skipweave.models import DelugeNet, SparseNet
from skipweave.transforms import sparsify
from tests.errors import raises

NAN = float("nan")


@pytest.mark.parametrize("cross", ["normalized", "plain"])
def test_norms_of_the_weights_across_nodes(cross):
    model = DelugeNet(units=(2, 2, 2), widths=(1, 1, 1), cross=cross)
    newest_first = torch.tensor([[0.0, 2.0], [-3.0, 4.0], [6.0, 8.0]])
    model.stages[2].collect.weight.data = newest_first
    first, _, last = cross_norms(model)
    np.testing.assert_allclose(first, [1, 1])
    np.testing.assert_allclose(last, [1, 0.5, 0.2])


def test_nodes_that_are_not_read_are_nan():
    model = DelugeNet(units=(4, 3, 3), widths=(1, 1, 1), topology="exponential")
    assert [np.isnan(norms).tolist() for norms in cross_norms(model)] == [
        [False, True, False, False],  # node 4 would read 3, 2 and 0
        [False, True, False, False],
        [False, True, False, False],
    ]


def test_norms_are_equal_at_first():
    stages = cross_norms(DelugeNet(units=(12, 24, 36), widths=(1, 1, 1)))
    assert [len(norms) for norms in stages] == [12, 25, 37]  # DelugeNet-218's, Fig. 3
    for norms in stages:
        np.testing.assert_allclose(norms, 1)


def test_reuse_by_hand():
    model = SparseNet(units=2, growth=1, stem_width=2, topology="dense", stem="cifar")
    weight = torch.zeros(1, 3, 3, 3)  # of unit 2: node 1, then the two channels of node 0
    weight[0, 0] = -4
    weight[0, 1], weight[0, 2] = 1, 3
    model.stages[0].units[1].body.conv.weight.data = weight
    np.testing.assert_allclose(reuse_maps(model)[0], [[1, 0.5], [NAN, 1]])


def test_a_bottleneck_reads_with_its_first_convolution():
    model = SparseNet(units=2, growth=1, stem_width=1, topology="dense", bottleneck=True)
    weight = torch.zeros(4, 2, 1, 1)
    weight[:, 0, 0, 0], weight[:, 1, 0, 0] = torch.tensor([1.0, -1.0, 1.0, -1.0]), 5.0
    model.stages[1].units[1].body.conv1.weight.data[:, 0] = 1.0
    model.stages[1].units[1].body.conv1.weight.data[:, 1:] = -5.0
    model.stages[0].units[1].body.conv1.weight.data = weight
    for values in reuse_maps(model)[:2]:
        np.testing.assert_allclose(values, [[1, 1], [NAN, 0.2]])


@pytest.mark.parametrize(
    ("name", "cells"),
    [("sparsenet40_24", [37] * 3), ("densenet40_12", [78] * 3), ("logdensenet_v1_12_16", [159])],
)
def test_as_many_cells_as_links(name, cells):
    maps = reuse_maps(skipweave.create_model(name))
    assert [int((~np.isnan(values)).sum()) for values in maps] == cells
    for values in maps:
        assert values.shape[0] == values.shape[1]
        np.testing.assert_allclose(np.nanmax(values, axis=0), 1)
        assert not np.isnan(values.diagonal()).any()
        assert np.isnan(values[np.tril_indices(len(values), -1)]).all()


def test_segmentation_networks_have_a_map():
    model = skipweave.create_model("fc_logdensenet103", units=(2, 2, 2), growth=4)
    (values,) = reuse_maps(model)
    assert values.shape == (6, 6)


def test_networks_without_such_weights_raise():
    with raises("DelugeNet"):
        cross_norms(skipweave.create_model("sparsenet40_12", units=2))
    summed, crossed = (skipweave.create_model(name, units=3) for name in ("preact_resnet56", "delugenet146"))
    for other in (summed, crossed, torch.nn.Conv2d(1, 1, 1)):
        with raises("DenseNet"):
            reuse_maps(other)


def test_groups_by_hand():
    layer = SeqConv2d(4, 4, group_size=2)
    for unit in layer.groups:
        unit.make.conv.weight.data.zero_()
    first, second = (unit.make.conv.weight.data for unit in layer.groups)
    first[0, 0], first[1, 3] = 4.0, -2.0  # the older and the newer group of the input, nine taps each
    second[:, :2], second[:, 2:] = 0.5, -1.0  # the newer group of the input, then the group just made
    (found,) = group_maps(torch.nn.Sequential(layer))
    assert (found.layer, found.given) == ("0", 2)
    np.testing.assert_allclose(found.values, [[1, 0.5, NAN], [NAN, 0.5, 1]])


def test_a_dense_layer_reads_its_input_as_a_whole():
    layer = SeqConv2d(3, 4, group_size=2, windowed=False)
    first, second = (unit.make.conv.weight.data for unit in layer.groups)
    first.fill_(1.0)
    second[:, :3], second[:, 3:] = -4.0, 2.0
    (found,) = group_maps(torch.nn.Sequential(layer))
    assert found.given == 1
    np.testing.assert_allclose(found.values, [[0.25, NAN], [1, 0.5]])


def test_a_bottlenecked_group_reads_with_its_1x1_convolution():
    layer = SeqConv2d(2, 4, group_size=2, bottleneck=True)
    for unit in layer.groups:
        unit.reduce.conv.weight.data.fill_(1.0)
    layer.groups[1].reduce.conv.weight.data.fill_(3.0)
    (found,) = group_maps(torch.nn.Sequential(layer))
    np.testing.assert_allclose(found.values, [[1 / 3, NAN], [NAN, 1]])


def test_a_window_has_as_many_groups_in_every_row():
    maps = group_maps(skipweave.create_model("seqresnet_k8_r4_n1", group_size=2, widening=1))
    assert [found.layer for found in maps][-1] == "stages.2.units.0.second"
    residual = [found for found in maps if ".units." in found.layer]
    assert [found.values.shape for found in residual] == [(g, 2 * g - 1) for g in (8, 8, 16, 16, 24, 24)]
    for found in residual:
        groups = found.given
        assert (~np.isnan(found.values)).sum(axis=1).tolist() == [groups] * groups
    with raises("SeqConv2d"):
        group_maps(torch.nn.Conv2d(1, 1, 1))


def densified(model):
    """The same function with dense convolutions that have zeros where the channel-sparse ones have no link."""
    dense = copy.deepcopy(model)
    for name, part in model.named_modules():
        if isinstance(part, ChannelSparseConv2d):
            dense.set_submodule(name, part.to_dense())
    return dense


@pytest.mark.parametrize("keep", [None, ["stem*", "*conv1"], ["stem*", "*conv2"]])
@pytest.mark.parametrize("pattern", ["exact", "block", "grouped"])
def test_a_sparse_bottleneck_has_the_weights_of_the_equal_dense_one(keep, pattern):
    model = skipweave.create_model("densenet_bc100_12", units=2, growth=4)
    sparse = sparsify(model, 0.5, pattern=pattern, multiple=1, keep=keep, input_size=(3, 8, 8)).model
    dense = densified(sparse)
    for values, expected in zip(reuse_maps(sparse), reuse_maps(dense), strict=True):
        np.testing.assert_allclose(values, expected)
    assert link_weights(sparse) == link_weights(dense)


@pytest.mark.parametrize("name", ["sparsenet40_12", "logdensenet_v1_12_16", "fc_logdensenet103", "delugenet146"])
def test_sparse_networks_have_the_link_weights_of_the_equal_dense_ones(name):
    widths = {"widths": 4} if name.startswith("deluge") else {"growth": 4}
    units = (2, 2, 2) if name.startswith("fc_") else 2
    sparse = sparsify(skipweave.create_model(name, units=units, **widths), 0.3, input_size=(3, 16, 16)).model
    dense = densified(sparse)
    assert any(isinstance(part, ChannelSparseConv2d) for part in sparse.modules())
    assert link_weights(sparse) == link_weights(dense)
    maps = cross_norms if name.startswith("deluge") else reuse_maps
    for values, expected in zip(maps(sparse), maps(dense), strict=True):
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("form", [{}, {"windowed": False}, {"bottleneck": True}])
def test_sparse_groups_have_the_weights_of_the_equal_dense_ones(form):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), SeqConv2d(8, 16, group_size=4, **form))
    sparse = sparsify(model, 0.3, input_size=(3, 8, 8)).model
    (found,), (expected,) = group_maps(sparse), group_maps(densified(sparse))
    np.testing.assert_array_equal(found.values, expected.values)


def test_a_unit_that_begins_with_another_layer_raises():
    model = skipweave.create_model("densenet40_12", units=2, growth=8, stem_width=8)
    converted = skipweave.convert(model, min_width=8, group_size=4, input_size=(3, 8, 8)).model
    for weights in (reuse_maps, link_weights):
        with raises("stages.0.units.0.body.conv", "RawSeqConv2d"):
            weights(converted)
