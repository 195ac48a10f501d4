"""How to cite a study: BibTeX entries of the software, and of the papers of the networks that it compares."""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.resources import files

from skipweave.models import list_models
from skipweave.study.results import Network
from skipweave_config.model_table import COMPRESSION

#: Start of a model's name and its papers, by their keys in papers.bib.
_PAPERS = {
    "densenet": ("densenet",),
    "sparsenet_fast": ("sparsenet", "airbench"),
    "sparsenet": ("sparsenet",),
    "preact_resnet": ("preact_resnet",),
    "logdensenet": ("logdensenet",),
    "loglogdensenet": ("logdensenet",),
    "fc_densenet": ("tiramisu",),
    "fc_logdensenet": ("logdensenet", "tiramisu"),
    "seqres": ("seqconv",),
    "delugenet": ("delugenets",),
    "fractalnet": ("fractalnet",),
    "hardnet": ("hardnet",),
    "resnet110": ("resnet",),
    "resnet9_fast": ("resnet", "airbench"),
    "airbench": ("airbench",),
    "wide_resnet": ("wide_resnet",),
    "resnext": ("resnext",),
    "vgg16n": ("sparsity",),
    "tutorial": ("sparsity",),
}

#: A pattern that is given as a network's topology.
_TOPOLOGIES = {
    "exponential": "sparsenet",
    "loglog": "logdensenet",
    "nearest": "logdensenet",
    "evenly_spaced": "logdensenet",
    "nearest_half": "logdensenet",
    "every_other": "logdensenet",
    "nearest_half_and_log": "logdensenet",
    "harmonic": "hardnet",
    "fractal": "fractalnet",
}


def bibtex(networks: Iterable[Network]) -> str:
    """BibTeX of the software, then of each paper that a network is from, in the order of papers.bib.

    Networks that are timm's own are cited as timm.
    """
    keys = {"skipweave", *(key for network in networks for key in papers_of(network))}
    entries = files("skipweave.study.report").joinpath("papers.bib").read_text(encoding="utf-8").split("\n\n")
    cited = [entry.strip() for entry in entries if entry.partition("{")[2].partition(",")[0] in keys]
    return "\n\n".join(cited).replace("VERSION", version("skipweave"))


def papers_of(network: Network) -> Iterator[str]:
    """Keys of the papers of a network: of its family, its topology and its compression."""
    name = network.model.partition(".")[0]
    starts = [start for start in _PAPERS if name.startswith(start)]
    if starts and name in list_models():
        yield from _PAPERS[max(starts, key=len)]
    else:
        yield "timm"
    pattern = re.match(r"\w*", str(network.args.get("topology", "")))
    if pattern and (key := _TOPOLOGIES.get(pattern[0])):
        yield key
    if any(network.args.get(option) for option in COMPRESSION):
        yield "sparsity"
