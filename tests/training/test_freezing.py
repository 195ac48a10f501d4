import pytest
import timm
import torch

import skipweave
from skipweave.training import ModelConfig, fit, load_weights
from skipweave.training.freezing import freeze
from skipweave_config.errors import SkipweaveError
from skipweave_config.recipe import OptimConfig
from tests.errors import raises

MODELS = ["sparsenet40_12", "delugenet146", "seqresnet_k8_r4_n1", "logdensenet_v1_12_16", "resnet18"]


def trained_parameters(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", MODELS)
def test_stem_stages_and_numbers_of_stages_are_frozen(name):
    counts = []
    for parts in ("none", "stem", 1, 2, "stages"):
        model = timm.create_model(name)
        kept = freeze(name, model, parts, norms=False)
        counts.append(len(trained_parameters(model)))
        assert all(not parameter.requires_grad for module in kept for parameter in module.parameters())
    assert counts == sorted(set(counts), reverse=True)
    classifier = model.pretrained_cfg["classifier"]
    assert f"{classifier}.weight" in trained_parameters(model)


def test_frozen_layers_do_not_change_and_the_others_do(tiny):
    model = ModelConfig("sparsenet40_12", {"units": 2, "growth": 6})
    first = fit(tiny(model=model)).run_dir
    run = fit(tiny(model=model, start=first, freeze=2))
    assert 0 < run.trained_parameters < run.parameters
    last = run.run_dir
    (before, _), (after, _) = (load_weights(run / "model.safetensors") for run in (first, last))
    theirs, frozen = before.state_dict(), ("stem.", "stages.0.", "stages.1.")
    for name, value in after.state_dict().items():
        assert torch.equal(value, theirs[name]) == name.startswith(frozen), name


def test_frozen_norms_keep_statistics_and_parameters(tiny):
    model = ModelConfig("seqresnet_k8_r4_n1", {"widths": (16, 32, 64)})
    first = fit(tiny(model=model, epochs=1, optim=OptimConfig(lr=1e-3))).run_dir
    slow = OptimConfig(lr=1e-4)
    last = fit(tiny(model=model, epochs=1, start=first, freeze_norms=True, optim=slow)).run_dir
    (before, _), (after, _) = (load_weights(run / "model.safetensors") for run in (first, last))
    theirs = before.state_dict()
    norms = [name for name, part in after.named_modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert norms
    for name, value in after.state_dict().items():
        assert torch.equal(value, theirs[name]) == (name.rpartition(".")[0] in norms), name


@pytest.mark.parametrize(
    "name", ["densenet40_12", "sparsenet_sum56", "delugenet146", "fc_densenet56", "efficientnet_b0"]
)
def test_frozen_norms_have_no_parameter_of_one_dimension_left(name):
    """But for biases of convolutions and of the classifier, and the depthwise weights across nodes."""
    model = timm.create_model(name)
    kept = freeze(name, model, "none", norms=True)
    assert kept == [part for part in model.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    owners = {key.rpartition(".")[0] for key in trained_parameters(model)}
    assert owners
    assert {type(model.get_submodule(owner)).__name__ for owner in owners} <= {
        *("Conv2d", "ConvTranspose2d", "Linear", "CrossConv"),
    }


@pytest.mark.parametrize("name", ["vgg11", "vit_tiny_patch16_224", "resnet50_gn"])
def test_a_network_without_batch_norms_has_none_to_freeze(name):
    with raises("freeze_norms", name):
        freeze(name, timm.create_model(name), "none", norms=True)


@pytest.mark.parametrize(("name", "parts"), [("sparsenet40_12", 4), ("fc_densenet56", "stem"), ("fc_densenet56", 1)])
def test_layers_that_do_not_exist_are_rejected(name, parts):
    with pytest.raises(SkipweaveError, match=f"freeze is {parts}.*{name}"):
        freeze(name, skipweave.create_model(name), parts, norms=False)


@pytest.mark.parametrize("name", ["efficientnet_b0", "vgg11_bn", "sparsenet40_12"])
def test_statistics_of_frozen_layers_do_not_change(name):
    model = timm.create_model(name, num_classes=3)
    kept = freeze(name, model, "stages", norms=False)
    model.train()
    for module in kept:
        module.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model(torch.randn(2, 3, 64, 64))
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    trained = {key.rpartition(".")[0] for key in trained_parameters(model)}
    assert {key.rpartition(".")[0] for key in changed} <= trained
