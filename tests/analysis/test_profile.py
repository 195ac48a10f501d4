import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import skipweave
from skipweave import profile
from skipweave.analysis.connection_matrix import connection_matrix
from skipweave.analysis.memory import peak_inference_bytes, saved_bytes
from skipweave.analysis.operation_counts import CONVENTIONS
from skipweave.analysis.profile import topologies_of
from skipweave.layers import CrossConv
from skipweave.tracing.copies import on_meta
from tests.errors import raises

# SparseNet's Table 4: MACs, elements that batch norms read, and the split of the parameters.
IMAGENET = {
    "densenet121_32": (2834161664, 15667456, (6870208, 83648, 1025000)),
    "densenet169_32": (3359843328, 19022976, (12326080, 158400, 1665000)),
    "densenet201_32": (4291365888, 24705408, (17863872, 229056, 1921000)),
    "densenet264_32": (5479789568, 31993472, (24712384, 316096, 2177000)),
    "sparsenet121_32": (1723480320, 8257872, (3042912, 29664, 1441000)),
    "sparsenet169_32": (1862454784, 8964256, (4455520, 44096, 1729000)),
    "sparsenet201_32": (2055130624, 9967776, (5438560, 54336, 1729000)),
    "sparsenet201_48": (4578492672, 14951664, (12233232, 81504, 2593000)),
}


def on_meta_device(name, **overrides):
    with torch.device("meta"):
        return skipweave.create_model(name, **overrides)


@pytest.mark.parametrize("name", IMAGENET)
def test_counts_of_the_imagenet_networks(name):
    macs, normalized, split = IMAGENET[name]
    measured = profile(on_meta_device(name))
    assert measured.macs == macs
    assert measured.counts.normalized == normalized
    assert tuple(measured.parameters_by_type[kind] for kind in ("convolution", "normalization", "linear")) == split
    assert measured.parameters == sum(split)
    assert measured.parameters_with_statistics == sum(split) + split[1]


def test_a_shared_normalization_counts_once_per_reader():
    """Normalization per node or per reader is the same function and has the same counts."""
    ours = profile(on_meta_device("densenet121_32"))
    with torch.device("meta"):
        theirs = profile(torchvision.models.densenet121(), (3, 224, 224))
    assert ours.parameters_by_type == theirs.parameters_by_type
    assert ours.counts.macs == theirs.counts.macs
    assert ours.counts.normalized == theirs.counts.normalized
    assert ours.counts.rectified == theirs.counts.rectified
    for convention in CONVENTIONS:
        assert ours.operations(convention) == theirs.operations(convention)


@pytest.mark.parametrize(
    ("network", "giga"), [("resnet50", 3.862), ("resnet101", 7.343), ("resnet152", 10.830), ("resnext50_32x4d", 4.009)]
)
def test_old_operation_counter_of_seqconv(network, giga):
    with torch.device("meta"):
        model = torchvision.models.get_model(network)
    assert round(profile(model, (3, 224, 224)).operations("seqconv") / 2**30, 3) == giga


def test_macs_are_those_of_torchs_own_counter():
    model = on_meta_device("sparsenet40_24").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 32, 32, device="meta"))
    assert profile(model).macs == counter.get_total_flops() / 2


def test_macs_by_kind_of_layer():
    measured = profile(on_meta_device("sparsenet_bc100_24", num_classes=10))
    assert list(measured.counts.macs) == ["convolution 1x1", "convolution 3x3", "linear"]
    assert measured.counts.macs["linear"] == measured.counts.linear_macs == 10 * 120
    assert measured.counts.convolution_macs + measured.counts.linear_macs == measured.macs


def test_links_of_the_stages():
    measured = profile(on_meta_device("sparsenet40_24"))
    assert (measured.units, measured.links) == (36, 3 * 37)
    assert measured.mean_in_degree == pytest.approx(37 / 12)
    assert measured.max_in_degree == 4
    assert [topology.max_distance for topology in measured.topologies] == [3, 3, 3]
    assert profile(on_meta_device("densenet40_12")).links == 3 * 78


def test_a_topology_that_spans_the_stages_is_one():
    measured = profile(on_meta_device("logdensenet_v1_12_16"))
    assert [topology.units for topology in measured.topologies] == [36]
    assert (measured.links, measured.topologies[0].max_distance) == (159, 5)


def test_other_networks_have_no_links():
    measured = profile(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), (1, 8, 8))
    assert (measured.topologies, measured.links, measured.mean_in_degree, measured.max_in_degree) == ((), 0, 0.0, 0)
    assert measured.macs == 4 * 9 * 36
    assert (measured.counts.normalized, measured.counts.rectified) == (4 * 36, 4 * 36)


def test_pools_count_their_windows():
    measured = profile(nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(3)), (1, 28, 28))
    assert measured.counts.max_pooled == 9 * 14 * 14
    assert measured.counts.mean_pooled == 4 * 7 * 7 + 81  # three windows of three from seven, either way
    assert measured.counts.means == 7 * 7 + 9


def test_additions_of_maps():
    measured = profile(on_meta_device("preact_resnet56", units=2, num_classes=10))
    nodes = [64 * 32 * 32, 128 * 16 * 16, 256 * 8 * 8]
    assert measured.counts.added == 2 * sum(nodes)


def test_convolutions_across_nodes():
    """Over normalized nodes one batch norm per node and their sum, as in the paper; over raw ones a convolution."""

    class Across(nn.Module):
        def __init__(self, normalized):
            super().__init__()
            self.cross = CrossConv(3, 4, normalized=normalized)

        def forward(self, x):
            return self.cross(x, x, x)

    normed, raw = (profile(Across(normalized), (4, 8, 8)) for normalized in (True, False))
    assert (normed.counts.normalized, normed.counts.added, normed.macs) == (3 * 4 * 64, 2 * 4 * 64, 0)
    assert (raw.counts.normalized, raw.counts.added) == (0, 0)
    assert raw.counts.macs == {"convolution across nodes": 3 * 4 * 64}
    assert normed.parameters_by_type["normalization"] == normed.parameters == 24
    assert raw.parameters_by_type["convolution"] == raw.parameters == 16


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["sparsenet_bc100_24", "sparsenet_sum56", "delugenet146"])
def test_bytes_are_the_same_on_the_meta_device(name, checkpointing):
    model = skipweave.create_model(name, units=3, num_classes=10)
    model.set_grad_checkpointing(checkpointing)
    real = saved_bytes(copy.deepcopy(model), torch.randn(2, 3, 16, 16))
    measured = profile(model, (3, 16, 16))
    assert measured.saved_bytes == real // 2
    assert measured.inference_bytes == peak_inference_bytes(model, torch.randn(1, 3, 16, 16))


def test_recomputing_saves_memory():
    model = on_meta_device("sparsenet_bc100_24")
    plain = profile(model).saved_bytes
    model.set_grad_checkpointing()
    assert profile(model).saved_bytes < plain / 2


def test_saved_bytes_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.ReLU())
    # the convolution keeps its input, the ReLU its output; weights are not counted
    assert saved_bytes(model, torch.randn(2, 1, 8, 8)) == 4 * 2 * (64 + 4 * 36)


def test_the_model_does_not_change():
    model = skipweave.create_model("sparsenet40_24", units=2, num_classes=10)
    before = copy.deepcopy(model.state_dict())
    profile(model, (3, 8, 8))
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_shared_modules_are_shared_in_the_copy_on_the_meta_device():
    shared = nn.Linear(4, 4)
    twin = on_meta(nn.Sequential(shared, shared))
    assert twin[0].weight is twin[1].weight
    assert twin[0].weight.device.type == "meta"
    assert profile(nn.Sequential(nn.Flatten(), shared, shared), (1, 2, 2)).parameters == 20


@pytest.mark.parametrize(
    ("size", "value"),
    [
        (None, "input_size"),
        ((3, 32), (3, 32)),
        ((3, 32, 0), (3, 32, 0)),
        ((1, 32, 32), (1, 32, 32)),
    ],
)
def test_wrong_sizes_raise(size, value):
    with raises(value):
        profile(nn.Conv2d(3, 4, 3), size)


def test_an_unknown_convention_raises():
    with raises("'flops'"):
        profile(nn.Conv2d(3, 4, 3), (3, 8, 8)).operations("flops")


@pytest.mark.parametrize(
    ("name", "fractions"), [("logdensenet_v1_32_32", [0.72, 0.94, 1.0]), ("logdensenet_v2_32_32", [0.61, 0.90, 1.0])]
)
def test_cost_of_each_exit(name: str, fractions: list[float]) -> None:
    with torch.device("meta"):
        model = skipweave.create_model(name, heads="stages", bottleneck=True)
    measured = profile(model)
    assert [round(macs / measured.exit_macs[-1], 2) for macs in measured.exit_macs] == fractions
    assert measured.macs < measured.exit_macs[-1]  # one forward pass leaves the exits out
    assert profile(skipweave.create_model("sparsenet40_12", units=2)).exit_macs == ()


@pytest.mark.parametrize("pattern", ["exact", "grouped"])
def test_sparse_convolutions_count_by_their_links(pattern):
    dense = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.Conv2d(16, 32, 3, stride=2, padding=1))
    sparse = skipweave.sparsify(dense, 0.25, pattern=pattern, input_size=(3, 8, 8)).model
    measured = profile(sparse, (3, 8, 8))
    assert measured.parameters_by_type["convolution"] == 3 * 16 * 9 + 4 * 32 * 9 + 32
    assert measured.counts.macs == {"convolution 3x3": 64 * 3 * 16 * 9 + 16 * 4 * 32 * 9}


def test_exits_of_a_sparse_network_count_by_links():
    model = skipweave.create_model("sparsenet40_12", units=2, heads="stages")
    result = skipweave.sparsify(model, 0.1)
    dense, sparse = profile(model).exit_macs, profile(result.model).exit_macs
    assert len(sparse) == 3
    assert sparse[-1] < 0.5 * dense[-1]


def test_blocks_of_fc_densenet_are_listed_but_not_joined() -> None:
    network = skipweave.create_model("fc_densenet56", units=(2, 3, 2), growth=2)
    assert [graph.units for graph in profile(network, (3, 16, 16)).topologies] == [2, 3, 2]
    assert topologies_of(network) == ()
    with raises("topology"):
        connection_matrix(network)
