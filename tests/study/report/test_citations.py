import re
from importlib.metadata import version
from importlib.resources import files

import pytest

from skipweave.models import list_models
from skipweave.study.report.citations import bibtex, papers_of
from skipweave.study.results import Network

ENTRIES = files("skipweave.study.report").joinpath("papers.bib").read_text("utf-8")
KEYS = re.findall(r"^@\w+\{(\w+),$", ENTRIES, re.MULTILINE)


@pytest.mark.parametrize(
    ("model", "args", "keys"),
    [
        ("sparsenet40_24", {}, {"sparsenet"}),
        ("sparsenet_fast_64.cifar10", {}, {"sparsenet", "airbench"}),
        ("densenet40_12", {"topology": "nearest(budget=log)"}, {"densenet", "logdensenet"}),
        ("densenet40_12", {"topology": [[0], [0, 1]]}, {"densenet"}),
        ("fc_logdensenet103", {}, {"logdensenet", "tiramisu"}),
        ("tutorial_mnist", {"sparsify": 0.1}, {"sparsity"}),
        ("delugenet92", {"depth_multiplier": 0.5}, {"delugenets", "sparsity"}),
        ("resnet18", {}, {"timm"}),
        ("densenet121", {}, {"timm"}),
    ],
)
def test_papers_of_a_network(model, args, keys):
    assert {*papers_of(Network(model, model, args))} == keys


def test_every_model_has_papers_and_every_paper_an_entry():
    assert len(KEYS) == len(set(KEYS))
    cited = {
        key: papers for name in list_models() for key in [name] for papers in [{*papers_of(Network(name, name, {}))}]
    }
    assert not [name for name, papers in cited.items() if not papers or "timm" in papers]
    assert set().union(*cited.values()) | {"skipweave", "timm"} == set(KEYS)


def test_entries_are_complete_and_in_the_order_of_the_file():
    networks = [Network(name, name, {}) for name in ("hardnet68", "resnet18", "densenet40_12", "hardnet85")]
    text = bibtex(networks)
    assert re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE) == ["skipweave", "timm", "densenet", "hardnet"]
    assert text.count("{") == text.count("}")
    assert f"version {version('skipweave')}" in text
