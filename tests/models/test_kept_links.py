import pytest
import torch

import skipweave
from skipweave.models import keep_links
from skipweave_config.errors import SkipweaveError


def randomized(name, **overrides):
    model = skipweave.create_model(name, **overrides).double()
    torch.manual_seed(0)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.rand(value.shape) + 0.5)
    return model


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("densenet40_12", {}),
        ("densenet_bc100_12", {}),
        ("densenet121_32", {}),
        ("densenet40_12", {"growth": (4, 6, 8), "units": (3, 5, 4)}),
    ],
)
@pytest.mark.parametrize("topology", ["exponential", "plain", "every_other"])
def test_all_weights_of_a_sparser_network_are_set(name, options, topology):
    dense = randomized(name, **options)
    sparse = skipweave.create_model(name, topology=topology, **options).double()
    sparse.load_state_dict(keep_links(dense, sparse))


def test_equal_topologies_keep_every_weight():
    dense = randomized("densenet_bc100_12", units=4)
    kept = keep_links(dense, skipweave.create_model("densenet_bc100_12", units=4))
    assert all(torch.equal(kept[name], value) for name, value in dense.state_dict().items())


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_stage_is_the_dense_one_whose_other_links_are_zero(bottleneck):
    options = {"units": (1, 1, 5), "growth": 4, "bottleneck": bottleneck}
    dense = randomized("densenet40_12", **options)
    sparse = skipweave.create_model("densenet40_12", topology="exponential", **options).double()
    sparse.load_state_dict(keep_links(dense, sparse))
    stage, graph = dense.stages[2], sparse.stages[2].topology
    reads = [*(unit.read for unit in stage.units), dense.norm]
    with torch.no_grad():
        for node, read in enumerate(reads, start=1):
            position = 0
            for source in stage.topology.sources(node):
                width = stage.widths[source]
                if source not in graph.sources(node):
                    read.weight[position : position + width] = 0
                    read.bias[position : position + width] = 0
                position += width
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(sparse.eval()(x), dense.eval()(x))


@pytest.mark.parametrize(
    ("dense", "sparse", "named"),
    [
        ({"topology": "exponential"}, {"topology": "dense"}, "node 3 of stage 0"),
        ({}, {"growth": 8}, "growth"),
        ({}, {"units": 5}, "units"),
        ({"norm_layer": "group"}, {}, "norm_layer"),
        ({}, {"norm_layer": "layer"}, "norm_layer"),
    ],
)
def test_other_networks_are_rejected(dense, sparse, named):
    shared = {"units": 4, "growth": 4}
    networks = [skipweave.create_model("densenet40_12", **(shared | other)) for other in (dense, sparse)]
    with pytest.raises(SkipweaveError, match=named):
        keep_links(*networks)


def test_networks_without_a_classifier_are_carried_over_too():
    options = {"units": 3, "growth": 4, "num_classes": 0}
    dense = randomized("densenet40_12", **options)
    sparse = skipweave.create_model("densenet40_12", topology="plain", **options).double()
    sparse.load_state_dict(keep_links(dense, sparse))
