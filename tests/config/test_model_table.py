"""The list of models is that of the registry, figure by figure."""

import pytest

from skipweave import list_models
from skipweave.analysis.model_profiles import model_entry
from skipweave.transforms.compression.compression_overrides import _TRANSFORMS
from skipweave_config.model_table import COMPRESSION, model_table

QUICK = ["densenet40_12", "sparsenet40_24", "fc_densenet56", "seqresnet_b22", "tutorial_mnist"]


def test_every_model_takes_the_arguments_that_compress_it():
    assert tuple(_TRANSFORMS) == COMPRESSION


def test_every_model_is_listed():
    assert list(model_table()) == list_models()


@pytest.mark.parametrize("name", QUICK)
def test_a_model_is_as_listed(name: str):
    assert model_entry(name) == model_table()[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in model_table() if name not in QUICK])
def test_every_model_is_as_listed(name: str):
    assert model_entry(name) == model_table()[name]
