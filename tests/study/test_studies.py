"""The studies that the repository ships can be read, say what they cost, and hold equal what they say is equal."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import skipweave
from skipweave import topology
from skipweave.ledger import rows
from skipweave.models import arguments_of
from skipweave.study.cost_matching import match_cost
from skipweave.training.model_building import count_parameters
from skipweave_config.config_files import read
from skipweave_config.study_config import StudyConfig

STUDIES = {path.stem: path for path in (Path(__file__).parents[2] / "studies").glob("*.yaml")}
UNITS = 72
DELUGENETS = ["delugenet_digits", "delugenet_cifar10"]


def test_studies_are_found():
    assert set(STUDIES) == {
        "camvid",
        "camvid_distance",
        "camvid_half",
        "cifar10_families",
        "mnist",
        "patterns_mnist",
        "patterns_cifar10",
        "patterns_fast",
        "patterns_resnet",
        "distance_cifar10",
        "distance_digits",
        "deep_supervision_cifar10",
        "log_densenet_efficiency_cifar10",
        "log_densenet_one_change",
        "thinning_cifar10",
        "thinning_mnist",
        "densify_mnist",
        "fine_tune_crops",
        "fine_tune_digits",
        "thinning_inception",
        "thinning_vgg16n",
        "densify_inception",
        "seqresnet_digits",
        "seqresnet_cifar10",
        "windows_digits",
        "digits_60k",
        "delugenet_digits",
        "delugenet_cifar10",
        "masks_backbones",
        "depth_sum_digits",
        "depth_concat_digits",
        "efficiency_cifar10",
    }


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_loaded_and_has_command_and_cost(name):
    study = read(StudyConfig, STUDIES[name])
    assert study.output == Path("runs") / f"study_{name}"
    has_validation = study.data.name == "camvid" or name == "fine_tune_crops"
    assert study.data.validation == 0 or has_validation  # else nothing is chosen by any error
    header = "".join(
        line for line in STUDIES[name].read_text(encoding="utf-8").splitlines(keepends=True) if line[0] == "#"
    )
    assert f"skipweave study --config studies/{name}.yaml" in header
    assert "Cost:" in header


def parameters(study: StudyConfig) -> list[int]:
    """Of each network, as it will be trained."""
    channels = 1 if study.data.name == "digits" else 3

    def build(name: str, **args: Any) -> nn.Module:
        with torch.device("meta"):
            return skipweave.create_model(name, num_classes=10, in_chans=channels, **args)

    counts = []
    for network in study.networks:
        make, args = partial(build, network.name), network.args
        if study.match:
            args = match_cost(network.name, args, make, count_parameters, study.target)
        counts.append(count_parameters(make(**args)))
    return counts


@pytest.mark.parametrize(
    "name",
    [
        "seqresnet_digits",
        "seqresnet_cifar10",
        "windows_digits",
        "delugenet_digits",
        pytest.param("delugenet_cifar10", marks=pytest.mark.slow),
    ],
)
def test_parameters_are_as_equal_as_the_header_says(name):
    counts = parameters(read(StudyConfig, STUDIES[name]))
    header = STUDIES[name].read_text(encoding="utf-8").split("title:")[0]
    printed = re.search(r"parameters within ([\d.]+) %", header)
    assert max(counts) / min(counts) - 1 < float(printed[1]) / 100
    assert all(f"{count:,}" in header for count in (min(counts), max(counts)))


@pytest.mark.parametrize("name", ["seqresnet_digits", "seqresnet_cifar10"])
def test_the_resnet_of_seqresnet_has_one_group_per_layer(name):
    theirs = {network.title: network.args for network in read(StudyConfig, STUDIES[name]).networks}
    assert theirs["ResNet"]["group_size"] == theirs["ResNet"]["widths"]
    assert {key: value for key, value in theirs["ResNet"].items() if key not in ("group_size", "widths")} == {
        key: value for key, value in theirs["SeqResNet"].items() if key not in ("group_size", "widths")
    }


def test_the_windowed_and_dense_networks_have_half_the_widths_of_the_paper():
    printed = {
        "S1": dict(group_size=8, widths=[64, 128, 192], units=1, windowed=True),
        "S2": dict(group_size=8, widths=[48, 96, 144], units=[1, 2, 1], windowed=False),
        "S3": dict(group_size=16, widths=[64, 128, 192], units=1, windowed=True),
        "S4": dict(group_size=16, widths=[48, 96, 144], units=[1, 2, 2], windowed=True),
    }
    for network in read(StudyConfig, STUDIES["windows_digits"]).networks:
        args, paper = network.args, printed[network.title]
        widths = args.get("widths", [args.get("widening", 0) * width for width in (16, 32, 48)])
        assert (2 * args["group_size"], 2 * args["stem_width"]) == (paper["group_size"], 16)
        assert [2 * width for width in widths] == paper["widths"]
        assert (args.get("units", 1), args.get("windowed", True)) == (paper["units"], paper["windowed"])


@pytest.mark.parametrize("name", DELUGENETS)
def test_the_delugenets_baselines_differ_in_how_nodes_are_read_and_carried(name):
    shared, *others = (network.args for network in read(StudyConfig, STUDIES[name]).networks)
    assert others == [shared | {"cross": "sum"}, shared | {"cross": "sum", "shortcut": "projection"}]


def test_resnets_and_sparse_sums_are_compared_at_the_depths_of_the_paper():
    networks = read(StudyConfig, STUDIES["depth_sum_digits"]).networks
    published = {"ResNet": "preact_resnet", "SparseNet[+]": "sparsenet_sum"}
    for residual, sparse in zip(networks[::2], networks[1::2], strict=True):
        assert residual.args == sparse.args
    for network in networks:
        family, _, depth = network.label.rpartition("-")
        assert network.args["units"] == arguments_of(f"{published[family]}{depth}")["units"]


def test_dense_and_sparse_concatenation_are_compared_at_the_depths_of_the_paper():
    networks = read(StudyConfig, STUDIES["depth_concat_digits"]).networks
    for network in networks:
        family, _, depth = network.label.rpartition("-")
        growth = 4 if family == "DenseNet-BC" and depth != "100" else 12
        published = arguments_of(f"{family.lower().replace('-', '_')}{depth}_{growth}")
        assert network.args["units"] == published["units"]


def test_each_family_has_the_same_three_sizes():
    sizes: dict[str, list[Any]] = {}
    for network in read(StudyConfig, STUDIES["efficiency_cifar10"]).networks:
        sizes.setdefault(network.name, []).append(network.args)
    first, *others = sizes.values()
    assert len(first) == 3
    assert all(other == first for other in others)


@pytest.mark.parametrize("name", ["depth_concat_digits", "efficiency_cifar10"])
def test_parameters_are_those_of_the_header(name):
    counts = parameters(read(StudyConfig, STUDIES[name]))
    header = STUDIES[name].read_text(encoding="utf-8").split("title:")[0]
    assert all(f"{count:,}" in header for count in (min(counts), max(counts)))


@pytest.mark.parametrize(
    ("name", "families"),
    [
        (
            "cifar10_families",
            {"densenet40_12", "sparsenet40_12", "preact_resnet56", "delugenet146", "seqresnet_k8_r4_n1"},
        ),
        ("mnist", {"densenet40_12", "sparsenet40_24", "sparsenet_bc100_24", "preact_resnet56"}),
    ],
)
def test_the_families_are_compared(name, families):
    assert {network.name for network in read(StudyConfig, STUDIES[name]).networks} >= families


LOG_BUDGET, HALF_BUDGET = (("LD", "E", "N"), "384"), (("E/2", "N/2"), "1,332")


@pytest.mark.parametrize(
    ("name", "budgets"), [("distance_cifar10", [LOG_BUDGET]), ("distance_digits", [LOG_BUDGET, HALF_BUDGET])]
)
def test_distances_are_compared_at_equal_links(name, budgets):
    study = read(StudyConfig, STUDIES[name])
    assert study.match is None
    assert len(study.seeds) >= 3
    assert {network.name for network in study.networks} == {"logdensenet_v1_12_16"}
    assert len({str(network.args | {"topology": ""}) for network in study.networks}) == 1
    graphs = {network.title: topology.make(network.args["topology"], UNITS) for network in study.networks}
    header = STUDIES[name].read_text(encoding="utf-8").split("title:")[0]
    for budget, links in budgets:
        first, *others = (graphs[label] for label in budget)
        assert f"{first.links:,}" == links
        assert all(graph.in_degrees == first.in_degrees for graph in others)
        for label in budget:
            measures = f"{graphs[label].max_distance}, {'mean ' * (label == 'LD')}{graphs[label].mean_distance:.2f})"
            assert f"{label} ({'longest distance ' * (label == 'LD')}{measures}" in header


def test_the_log_densenets_differ_in_one_argument():
    networks = read(StudyConfig, STUDIES["log_densenet_one_change"]).networks
    for network, following in zip(networks, [*networks[1:], networks[0]], strict=True):
        differing = [key for key in network.args if network.args[key] != following.args[key]]
        assert len(differing) + (network.name != following.name) == 1


def test_deep_supervision_is_compared_in_pairs():
    study = read(StudyConfig, STUDIES["deep_supervision_cifar10"])
    assert (study.loss.heads, study.loss.last_epochs) == ("halves", 0)
    for without, supervised in zip(study.networks[::2], study.networks[1::2], strict=True):
        assert without.name == supervised.name
        assert supervised.args == without.args | {"heads": "stages"}
        assert without.args["heads"] == "last"


def test_each_family_of_the_efficiency_study_has_the_same_sizes():
    networks = read(StudyConfig, STUDIES["log_densenet_efficiency_cifar10"]).networks
    sizes: dict[str, list[int]] = {}
    for network in networks:
        assert (network.args["growth"], network.args["heads"]) == (8, "stages")
        sizes.setdefault(network.title.rpartition(", ")[0], []).append(network.args["units"])
    assert sizes == {key: [6, 12] for key in ("V1", "V2", "DenseNet", "LogLog", "LogLog with hubs x 3")}


def test_segmentation_is_compared_at_the_links_and_distances_of_the_header():
    header = STUDIES["camvid_distance"].read_text(encoding="utf-8").split("title:")[0]
    networks = read(StudyConfig, STUDIES["camvid_distance"]).networks
    assert [network.args["topology"] for network in networks] == [
        "exponential",
        "evenly_spaced(budget='equal')",
        "nearest",
    ]
    for network in networks:
        with torch.device("meta"):
            graph = skipweave.create_model(network.name, **network.args).stages.plan.as_read
        noun = " links" if network.title == "LD" else ""
        assert f"{network.title} ({graph.links}{noun}, {graph.max_distance})" in header


@pytest.mark.parametrize(
    ("name", "draws"), [("thinning_cifar10", ["uniform"]), ("thinning_mnist", ["uniform", "balanced"])]
)
def test_narrow_and_sparse_networks_are_compared_in_pairs(name, draws):
    """A narrow network has the root of the density as its multiplier, so that both cost about the same."""
    dense, *others = (network.args for network in read(StudyConfig, STUDIES[name]).networks)
    assert dense == {}
    narrow = [args["depth_multiplier"] for args in others if "depth_multiplier" in args]
    sparse = [args["sparsify"] for args in others if "sparsify" in args]
    densities = [given["density"] for given in sparse]
    assert min(densities) == 0.01
    assert len(narrow) + len(sparse) == len(others)
    assert {given["rule"] for given in narrow} == {"ceil"}
    assert [given["choice"] for given in sparse] == [draw for draw in draws for _ in narrow]
    assert len(draws) * [given["alpha"] for given in narrow] == [round(density**0.5, 4) for density in densities]


def test_the_densities_and_multipliers_of_inception_are_those_of_table_1():
    networks = read(StudyConfig, STUDIES["thinning_inception"]).networks
    printed = {
        (row.overrides.get("depth_multiplier"), row.overrides.get("sparsify", {}).get("density"))
        for row in rows("channel_sparsity")
        if row.table == "Table 1" and row.model.endswith("inception_v3")
    }
    assert {
        (network.args.get("depth_multiplier"), network.args.get("sparsify", {}).get("density")) for network in networks
    } == printed
    assert {network.args["sparsify"]["choice"] for network in networks if "sparsify" in network.args} == {"uniform"}


@pytest.mark.parametrize(
    ("name", "model"), [("densify_mnist", "tutorial_mnist"), ("densify_inception", "inception_v3")]
)
def test_densification_differs_from_dense_training_in_the_links_only(name, model):
    networks = read(StudyConfig, STUDIES[name]).networks
    assert {network.name for network in networks} == {model}
    assert networks[0].args == {}
    for network in networks[1:]:
        assert network.args.keys() == {"sparsify"}
        assert network.densify.every
