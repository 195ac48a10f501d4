"""Registration and creation of models."""

import pytest
import timm

import skipweave
from skipweave.models import SparseNet, arguments_of
from skipweave.models.registry import register_variants
from tests.errors import raises


def test_all_variants_are_registered_with_timm() -> None:
    names = skipweave.list_models()
    assert set(names) <= set(timm.list_models())
    assert {f"sparsenet_sum{d}" for d in (56, 110, 200, 1001, 2000)} <= set(names)


def test_list_models_filters_by_part_or_pattern() -> None:
    assert skipweave.list_models("sparsenet1*_32") == ["sparsenet121_32", "sparsenet169_32"]
    assert skipweave.list_models("preact_resnet") == [f"preact_resnet{d}" for d in (56, 110, 164, 200, 1001, 2000)]


def test_arguments_of_a_variant() -> None:
    assert arguments_of("sparsenet40_24") == dict(units=12, growth=24, topology="exponential")
    assert arguments_of("resnet18") == {}


def test_an_unknown_name_suggests_the_closest() -> None:
    with raises("'sparsnet40_24'", "sparsenet40_24"):
        skipweave.create_model("sparsnet40_24")


@pytest.mark.parametrize("name", ["sparsenet40_12", "densenet121_32", "resnet18", "smp:unet:tu-sparsenet40_12"])
@pytest.mark.parametrize("pretrained", [False, True])
def test_an_unknown_tag_of_weights_is_named(name: str, pretrained: bool) -> None:
    model = name.rpartition("tu-")[2]
    with raises(model, "'nope'", *timm.list_models(f"{model}.*", pretrained=True)):
        skipweave.create_model(f"{name}.nope", pretrained=pretrained)


def test_a_given_config_needs_no_tag() -> None:
    network = skipweave.create_model("sparsenet40_12.mine", units=1, growth=2, pretrained_cfg={"num_classes": 10})
    assert network.num_classes == 10


def test_an_unknown_override_suggests_the_closest() -> None:
    with raises("growht", "growth"):
        skipweave.create_model("sparsenet40_24", growht=4)


def test_registered_names_are_not_overwritten() -> None:
    with raises("'resnet18'"):
        register_variants(SparseNet, {"resnet18": dict(units=1)}, {})


def test_features_only_needs_a_classification_network() -> None:
    with raises("features_only", "fc_logdensenet103"):
        skipweave.create_model("fc_logdensenet103", features_only=True)
