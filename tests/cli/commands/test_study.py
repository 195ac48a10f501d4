import json

import pytest

from skipweave_cli import main
from skipweave_cli.options import StudyOptions
from skipweave_cli.parser import parse
from skipweave_config.study_config import StudyConfig
from tests.errors import assert_each_reports, assert_reports

SMALL = ["--seeds", "[0]", "--epochs", "1", "--processes", "1", "--timing_repeats", "1", "--time_engines", "false"]


def networks(*entries):
    return ["--networks", json.dumps(list(entries))]


TINY = {"name": "sparsenet40_24", "args": {"units": 1, "growth": 2}, "label": "tiny"}
WIDE = {"name": "densenet40_12", "args": {"units": 1, "growth": 3}, "label": "wide"}
BAD = {"name": "densenet40_12", "args": {"units": -1}, "label": "bad"}
MISFIT = {"name": "densenet40_12", "args": {"num_classes": 7}, "label": "misfit"}  # which only the data shows


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_a_study_ends_with_its_answer_and_can_be_resumed(tmp_path, capsys):
    folder = tmp_path / "study"
    assert main(["study", *SMALL, *networks(TINY, WIDE), "--output", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "Lowest mean test top-1 error: " in said
    assert f"Report: {folder / 'report.html'}" in said
    assert (folder / "report.html").is_file()
    trained = sorted(path.stat().st_mtime_ns for path in folder.rglob("model.safetensors"))
    assert main(["study", "--resume", str(folder)]) == 0
    assert "2 of 2 runs" in capsys.readouterr().out
    assert sorted(path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")) == trained


def test_the_default_networks_can_be_trained(tmp_path, monkeypatch):
    for name in ("write_plots", "draw_networks"):  # which take most of the time
        monkeypatch.setattr(f"skipweave.study.runner.{name}", lambda *_: {})
    assert main(["study", *SMALL, "--batch_size", "512", "--output", str(tmp_path)]) == 0
    assert len(list(tmp_path.rglob("model.safetensors"))) == len(StudyConfig().networks)


def test_a_failing_network_shows_in_the_exit_status(tmp_path, capsys):
    assert main(["study", *SMALL, *networks(TINY, MISFIT), "--output", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    failure = next(line for line in said.splitlines() if "misfit: " in line)
    assert_reports(failure, "misfit", "densenet40_12", "num_classes", 7)


def test_the_printed_config_can_be_loaded(tmp_path, capsys):
    assert main(["study", "--epochs", "4", "--print_config"]) == 0
    file = tmp_path / "study.yaml"
    file.write_text(capsys.readouterr().out)
    parsed = parse(StudyOptions, ["--config", str(file)], "skipweave study")
    assert parsed.config == StudyConfig(epochs=4)


def test_networks_are_given_as_names_of_any_library(tmp_path, capsys):
    """timm's are not scaled, and nothing is to be said about it."""
    words = ["--networks", "sparsenet40_12,resnet10t", "--epochs", "1", "--seeds", "0", "--timing_repeats", "0"]
    size = ["--batch_size", "512", "--processes", "1", "--output", str(tmp_path)]
    assert main(["study", *words, *size]) == 0
    said = capsys.readouterr().out
    assert "sparsenet40_12, seed 0: test top-1 error" in said
    assert "resnet10t, seed 0: test top-1 error" in said
    assert parse(StudyOptions, ["--resume", str(tmp_path)], "skipweave study").config.match is None


def test_wrong_values_of_a_grid_are_reported_at_once(tmp_path, capsys):
    grid = {"units": [-1, 2], "topology": ["dense", "no such"]}
    entry = networks({"name": "densenet40_12", "label": "DenseNet", "grid": grid})
    assert main(["study", *entry, "--output", str(tmp_path / "x")]) == 2
    _, *found = capsys.readouterr().err.strip().splitlines()
    first, second = ("topology=dense", "units", -1), ("topology=no such", "units", -1)
    last = [("units=-1", "topology", "'no such'"), ("units=2", "topology", "'no such'")]
    assert_each_reports(found, first, second, *last)


@pytest.mark.parametrize(("words", "named"), [
    (["--match", "flops"], ["match", "'flops'"]),
    (["--resume", "nowhere"], ["nowhere"]),
    (networks(BAD), ["units", -1]),
    (["--data.name", "mnist"], ["data.root", None]),
    (["--accelerator", "mps"], ["accelerator", "'mps'"]),
    (["--optim.lr", "0"], ["optim.lr", 0]),
    (networks({"name": "test_vit", "grad_checkpointing": True, "devices": 3}), ["batch_size", "3 (test_vit)"]),
    (networks({"name": "inception_v3", "grad_checkpointing": True}), ["inception_v3", "grad_checkpointing"]),
    (["--halving.min_epochs", "1"], ["epochs", 1, "halving.min_epochs"]),
])  # fmt: skip
def test_invalid_values_are_rejected(tmp_path, rejects, words, named):
    rejects(["study", *SMALL[:-4], *words, "--output", tmp_path / "x"], *named)
