import pytest
import torch

from skipweave.layers import CrossConv
from skipweave.models import create_model
from skipweave.transforms.node_readers import readers

SMALL = {
    "sparsenet40_12": dict(units=(3, 2, 2), growth=2),
    "logdensenet_v1_12_16": dict(units=(3, 2, 2), growth=2),
    "delugenet146": dict(units=(4, 3, 3), widths=2),
    "fc_logdensenet103": dict(units=(2, 2, 2), growth=2),
}


def small(name):
    with torch.device("meta"):
        return create_model(name, **SMALL[name])


@pytest.mark.parametrize("name", SMALL)
def test_names_match_modules_and_convolutions(name):
    model = small(name)
    found = list(readers(model))
    for reader in found:
        assert model.get_submodule(reader.name) is reader.module
        if reader.cross:
            assert model.get_submodule(reader.cross[0]) is reader.cross[1]
            assert reader.cross[1].weight.shape[0] == len(reader.sources)
        else:
            conv, module = reader.convolution
            assert model.get_submodule(conv) is module
            assert module.in_channels == sum(reader.concat.widths)
            assert len(reader.concat.widths) == len(reader.sources)


def test_readers_of_units_and_stages():
    assert [(r.stage, r.node, r.sources) for r in readers(small("sparsenet40_12"))][:4] == [
        (0, 1, (0,)),
        (0, 2, (1, 0)),
        (0, 3, (2, 1)),
        (1, 1, (0,)),
    ]
    deluge = [r for r in readers(small("delugenet146")) if isinstance(r.module, CrossConv)]
    assert [(r.stage, r.node, r.sources, r.min_sources) for r in deluge] == [
        (0, 4, (3, 2, 1, 0), 2),
        (1, 4, (3, 2, 1, 0), 2),
        (2, 4, (3, 2, 1, 0), 2),
    ]


def test_heads_read_the_last_nodes_of_spanning_stages():
    assert [r.node for r in readers(small("logdensenet_v1_12_16")) if r.shared] == [3, 5, 7]
    assert not any(r.shared for r in readers(small("sparsenet40_12")))


def test_exits_read_the_nodes_of_their_units():
    with torch.device("meta"):
        local = create_model("sparsenet40_12", **SMALL["sparsenet40_12"], heads=[2, 4])
        spanning = create_model("logdensenet_v1_12_16", **SMALL["logdensenet_v1_12_16"], heads=[1])
    assert [(r.stage, r.node) for r in readers(local) if r.shared] == [(0, 2), (1, 1)]
    assert [r.node for r in readers(spanning) if r.shared] == [1, 3, 5, 7]


@pytest.mark.parametrize("name", ["preact_resnet56", "seqresnet_k8_r4_n1"])
def test_sums_and_groups_have_no_node_readers(name):
    with torch.device("meta"):
        assert list(readers(create_model(name))) == []
