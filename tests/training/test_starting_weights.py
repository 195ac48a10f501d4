"""What a run starts from, by the weights after a run whose learning rate changes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import DenseNet

import skipweave
from skipweave.models import from_densenet_layout, keep_links
from skipweave.training import Callback, DensifyConfig, ModelConfig, fit, load_weights
from skipweave_config.errors import SkipweaveError
from tests.errors import raises

SMALL = {"units": 2, "growth": 6}


class Notes(Callback):
    """The notes printed before training."""

    def on_fit_start(self, start):
        self.notes = start.notes


def started(config) -> tuple[dict[str, Tensor], str]:
    """The parameters that a run starts from, and its note about them."""
    still = replace(config.optim, lr=1e-12, weight_decay=0.0)
    notes = Notes()
    summary = fit(replace(config, optim=still, epochs=1), callbacks=[notes])
    network, _ = load_weights(summary.run_dir / "model.safetensors")
    return dict(network.named_parameters()), next((note for note in notes.notes if "starting from" in note), "")


def assert_equal(ours, theirs, but=()):
    """That all parameters are equal but the named ones, which all differ."""
    differ = {name for name in ours if not torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-8)}
    assert differ == set(but)


def without(parameters, *names):
    return {name: value for name, value in parameters.items() if name not in names}


@pytest.fixture(scope="module")
def trained(make_tiny, tmp_path_factory) -> Path:
    return fit(make_tiny(tmp_path_factory.mktemp("runs"), model=ModelConfig("densenet40_12", SMALL))).run_dir


@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_a_run_directory_or_its_weights(tiny, trained, file):
    network, _ = load_weights(trained / "model.safetensors")
    ours, note = started(tiny(model=ModelConfig("densenet40_12", SMALL), start=trained / file))
    assert_equal(ours, dict(network.named_parameters()))
    assert str(trained) in note
    assert "head" not in note


def test_other_classes_get_a_new_head(tiny, trained, tmp_path):
    for number in range(16):
        folder = tmp_path / "photos" / ("cat", "ape")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (16 * number, 0, 0)).save(folder / f"{number}.png")
    config = tiny(model=ModelConfig("densenet40_12", SMALL), start=trained)
    photos = replace(config.data, name="folder", root=tmp_path / "photos", validation=0.5, image_size=32)
    network, _ = load_weights(trained / "model.safetensors")
    ours, note = started(replace(config, data=photos, batch_size=4))
    theirs = dict(network.named_parameters())
    assert ours["head.fc.weight"].shape[0] == 2
    assert "2 classes" in note
    assert "in_chans 3" in note  # the digits are gray
    assert_equal(without(ours, "stem.conv.weight", "head.fc.weight", "head.fc.bias"), theirs)
    torch.testing.assert_close(ours["stem.conv.weight"].sum(1, keepdim=True), theirs["stem.conv.weight"])


def test_a_sparser_topology_keeps_the_weights_of_its_links(tiny, trained):
    dense, _ = load_weights(trained / "model.safetensors")
    model = ModelConfig("densenet40_12", {**SMALL, "topology": "plain"})
    sparse = skipweave.create_model(model.name, num_classes=10, in_chans=1, **model.args)
    sparse.load_state_dict(keep_links(dense, sparse))
    ours, _ = started(tiny(model=model, start=trained))
    assert_equal(ours, dict(sparse.named_parameters()))


@pytest.mark.parametrize("topology", ["dense", "plain"])
@pytest.mark.parametrize(
    ("theirs", "ours", "new"),
    [
        ("stages", "last", ()),
        ("last", "stages", (2, 4)),
        ("stages", "stages", ()),
        ([1, 4], [4], ()),
        ([2, 4], [3, 4], (3,)),
    ],
)
def test_exits_after_other_units(tiny, theirs, ours, new, topology):
    """An exit is that after the same unit, unless it reads other nodes."""
    run = fit(tiny(model=ModelConfig("densenet40_12", {**SMALL, "heads": theirs}))).run_dir
    dense, _ = load_weights(run / "model.safetensors")
    args = {**SMALL, "heads": ours, "topology": topology}
    parameters, note = started(tiny(model=ModelConfig("densenet40_12", args), start=run))
    network = skipweave.create_model("densenet40_12", num_classes=10, in_chans=1, **args)
    of_exits = {name for name in parameters if name.startswith("exits.")}
    expected = keep_links(dense, network)
    assert_equal(without(parameters, *of_exits), expected)
    for index, unit in enumerate(network.exit_units):
        same = unit in dense.exit_units and (topology == "dense" or unit == 1)
        for name in (name for name in of_exits if name.startswith(f"exits.{index}.")):
            part = name.split(".", 2)[2]
            saved = dense.state_dict()[f"exits.{dense.exit_units.index(unit)}.{part}"] if same else None
            assert (saved is not None and torch.allclose(parameters[name], saved, rtol=0, atol=1e-8)) == same, name
    listed = ", ".join(map(str, new if topology == "dense" else network.exit_units))
    assert note.partition("new early exits after units ")[2] == listed
    assert "new head" not in note


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_state_dicts_of_timm(tiny, tmp_path, ending):
    args = {"num_classes": 7, "in_chans": 1}
    theirs = timm.create_model("test_resnet", **args).state_dict()
    path = tmp_path / f"weights.{ending}"
    torch.save({"state_dict": theirs}, path) if ending == "pth" else save_file(theirs, path)
    ours, note = started(tiny(model=ModelConfig("test_resnet"), start=path))
    assert_equal(without(ours, "fc.weight", "fc.bias"), theirs)
    assert "10 classes" in note


def test_densenets_of_torchvision(tiny, tmp_path):
    theirs = DenseNet(8, (2, 2, 2, 2), 16, num_classes=10)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    model = ModelConfig("densenet121_32", {"units": 2, "growth": 8, "stem_width": 16, "topology": "plain"})
    dense = skipweave.create_model(model.name, **{**model.args, "topology": "dense"}, num_classes=10)
    dense.load_state_dict(from_densenet_layout(theirs.state_dict(), dense))
    sparse = skipweave.create_model(model.name, **model.args, num_classes=10)
    expected = keep_links(dense, sparse)
    config = tiny(model=model, start=tmp_path / "weights.pth")
    ours, note = started(replace(config, data=replace(config.data, image_size=32)))
    assert_equal(without(ours, "stem.conv.weight"), expected)
    gray = timm.models.adapt_input_conv(1, expected["stem.conv.weight"])
    torch.testing.assert_close(ours["stem.conv.weight"], gray)
    assert "head" not in note


def test_pretrained_weights(tiny, tmp_path, monkeypatch):
    theirs = timm.create_model("test_resnet.r160_in1k")
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr("timm.models._hub.hf_hub_download", lambda *_, **__: str(tmp_path / "model.safetensors"))
    config = tiny(model=ModelConfig("test_resnet.r160_in1k", pretrained=True))
    ours, note = started(config)
    assert "pretrained weights of test_resnet" in note
    assert_equal(without(ours, "conv1.0.weight", "fc.weight", "fc.bias"), dict(theirs.named_parameters()))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"no weights", "weights.pth"),
        (b"no weights", "weights.safetensors"),
        (b"no weights", "weights.txt"),
        (None, "weights.safetensors"),
    ],
)
def test_files_without_weights_are_named_before_a_run_directory_is_made(tiny, tmp_path, content, name):
    if content:
        (tmp_path / name).write_bytes(content)
    config = tiny(start=tmp_path / name)
    with pytest.raises(SkipweaveError, match=name):
        fit(config)
    assert not config.output.exists()


def test_weights_of_another_network_name_its_parameters(tiny, trained):
    args = {**SMALL, "units": 1}
    for model, named in (
        (ModelConfig("densenet40_12", args), ("units", SMALL["units"], 1)),
        (ModelConfig("sparsenet40_24", {"units": 2, "growth": 8}), ("model.name", "densenet40_12", "growth", 6, 8)),
    ):
        with raises("start", *named):
            fit(tiny(model=model, start=trained))


def test_a_pickled_model_is_no_state_dict(tiny, tmp_path):
    torch.save(nn.Linear(1, 1), tmp_path / "weights.pth")
    with raises("start", tmp_path / "weights.pth", "model.state_dict()"):
        fit(tiny(start=tmp_path / "weights.pth"))


@pytest.mark.parametrize("name", ["lost", "lost.pth"])
def test_a_missing_start_does_not_exist(tiny, tmp_path, name):
    with raises("start", tmp_path / name, "does not exist"):
        fit(tiny(start=tmp_path / name))


def test_a_run_without_final_weights_is_to_be_finished(tiny, tmp_path):
    (tmp_path / "config.yaml").touch()
    with raises("start", tmp_path, f"--resume {tmp_path}"):
        fit(tiny(start=tmp_path))


def test_code_in_a_file_is_not_run(tiny, tmp_path):
    torch.save({"state_dict": Path("x"), "weight": print}, tmp_path / "weights.pth")
    with pytest.raises(SkipweaveError, match=r"weights\.pth"):
        fit(tiny(start=tmp_path / "weights.pth"))


def test_models_without_pretrained_weights_are_named_first(tiny):
    config = tiny(model=ModelConfig("sparsenet40_12", pretrained=True))
    with pytest.raises(SkipweaveError, match="sparsenet40_12"):
        fit(config)


def sparse(density: float) -> ModelConfig:
    return ModelConfig("densenet40_12", {"units": 1, "growth": 8, "sparsify": density})


@pytest.fixture(scope="module")
def densified(make_tiny, tmp_path_factory) -> Path:
    """Weights of a run from density 0.1 to 0.3."""
    config = make_tiny(tmp_path_factory.mktemp("densified"), model=sparse(0.1), epochs=1)
    return fit(replace(config, densify=DensifyConfig(every=2, densities=(0.3,)))).run_dir


def test_weights_of_another_density_are_not_taken(tiny, densified):
    with raises("start", "sparsify", 0.32, 0.0696, str(densified)):
        fit(tiny(model=sparse(0.05), start=densified))


def test_densified_weights_keep_their_links(tiny, densified):
    network, _ = load_weights(densified / "model.safetensors")
    ours, note = started(tiny(model=sparse(0.1), start=densified))
    assert_equal(ours, dict(network.named_parameters()))
    assert "densified: 0.32" in note
    ours, note = started(tiny(model=sparse(0.3), start=densified))
    assert_equal(ours, dict(network.named_parameters()))
    assert "densified:" not in note


def test_densified_weights_are_known_as_such_by_their_run_only(tiny, densified, tmp_path):
    other = replace(sparse(0.1), args=sparse(0.1).args | {"drop_rate": 0.1})
    assert "densified: 0.32" in started(tiny(model=other, start=densified))[1]
    state = tmp_path / "state.pth"
    torch.save(load_weights(densified / "model.safetensors")[0].state_dict(), state)
    with raises("start", "sparsify", 0.32, 0.125, str(state)):
        fit(tiny(model=sparse(0.1), start=state))


def test_links_are_added_to_the_density_of_the_config_only(tiny, densified):
    config = replace(tiny(model=sparse(0.1), start=densified), densify=DensifyConfig(every=2))
    with raises("start", "sparsify", 0.32, 0.125, str(densified)):
        fit(config)
    assert fit(replace(config, model=sparse(0.3), epochs=1)).phases[0].density == 0.3


@pytest.mark.parametrize("args", [{"depth_multiplier": 0.5}, {"sparsify": 0.1}])
def test_pretrained_excludes_compression_and_start(args):
    with pytest.raises(SkipweaveError, match=f"pretrained.*{next(iter(args))}"):
        ModelConfig("densenet121_32", args, pretrained=True)
