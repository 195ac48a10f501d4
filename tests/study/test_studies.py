"""The studies that the repository ships can be read, say what they cost, and hold equal what they say is equal."""

from pathlib import Path

import pytest

from skipweave import topology
from skipweave.study.config import StudyConfig
from skipweave.training.settings import read

STUDIES = {path.stem: path for path in (Path(__file__).parents[2] / "studies").glob("*.yaml")}
UNITS = 72


def test_there_are_some():
    assert set(STUDIES) == {
        "camvid",
        "cifar10",
        "mnist",
        "distance_cifar10",
        "distance_digits",
        "log_densenet_one_change",
        "thinning_cifar10",
        "thinning_mnist",
        "densify_mnist",
    }


@pytest.mark.parametrize("name", STUDIES)
def test_it_can_be_read_and_tells_command_and_cost(name):
    study = read(StudyConfig, STUDIES[name])
    assert study.output == Path("runs") / f"study_{name}"
    assert study.data.validation == 0 or study.data.name == "camvid"  # else nothing is chosen by any error
    header = "".join(
        line for line in STUDIES[name].read_text(encoding="utf-8").splitlines(keepends=True) if line[0] == "#"
    )
    assert f"skipweave study --config studies/{name}.yaml" in header
    assert "Cost:" in header


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_the_families_are_compared(name):
    titles = {network.title for network in read(StudyConfig, STUDIES[name]).networks}
    assert titles >= {"DenseNet", "SparseNet", "SparseNet-BC", "ResNet"}


@pytest.mark.parametrize("name", ["distance_cifar10", "distance_digits"])
def test_distances_are_compared_at_equal_links(name):
    study = read(StudyConfig, STUDIES[name])
    assert study.match is None
    assert len(study.seeds) >= 3
    assert {network.name for network in study.networks} == {"logdensenet_v1_12_16"}
    assert len({str(network.args | {"topology": ""}) for network in study.networks}) == 1
    graphs = {network.title: topology.make(network.args["topology"], UNITS) for network in study.networks}
    header = STUDIES[name].read_text(encoding="utf-8").split("title:")[0]
    for budget, links in ((("LD", "E", "N"), "384"), (("E/2", "N/2"), "1,332")):
        first, *others = (graphs[label] for label in budget)
        assert f"{first.links:,}" == links
        assert all(graph.in_degrees == first.in_degrees for graph in others)
        for label in budget:
            measures = f"{graphs[label].max_distance}, {'mean ' * (label == 'LD')}{graphs[label].mean_distance:.2f})"
            assert f"{label} ({'longest distance ' * (label == 'LD')}{measures}" in header


def test_the_log_densenets_differ_in_one_thing():
    networks = read(StudyConfig, STUDIES["log_densenet_one_change"]).networks
    for network, following in zip(networks, [*networks[1:], networks[0]], strict=True):
        differing = [key for key in network.args if network.args[key] != following.args[key]]
        assert len(differing) + (network.name != following.name) == 1


@pytest.mark.parametrize("name", ["thinning_cifar10", "thinning_mnist"])
def test_narrow_and_sparse_networks_are_compared_in_pairs(name):
    """A narrow network has the root of the density as its multiplier, so that both cost about the same."""
    dense, *others = (network.args for network in read(StudyConfig, STUDIES[name]).networks)
    assert dense == {}
    narrow = [args["depth_multiplier"] for args in others if "depth_multiplier" in args]
    sparse = [args["sparsify"] for args in others if "sparsify" in args]
    assert min(sparse) == 0.01
    assert len(narrow) + len(sparse) == len(others)
    assert {given["rule"] for given in narrow} == {"ceil"}
    assert [given["alpha"] for given in narrow] == [round(density**0.5, 4) for density in sparse]


def test_densification_differs_from_dense_training_in_nothing_else():
    networks = read(StudyConfig, STUDIES["densify_mnist"]).networks
    assert {network.name for network in networks} == {"tutorial_mnist"}
    assert networks[0].args == {}
    for network in networks[1:]:
        assert network.args.keys() == {"sparsify"}
        assert network.densify.every
