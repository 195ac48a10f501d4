"""The learning-rate range test: its steps, its end and its files."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from skipweave.training import FitConfig, OptimConfig
from skipweave.training.distributed import devices
from skipweave.training.optimization.lr_range_test import LrRangeTest, lr_range_test
from skipweave_cli import main

Tiny = Callable[..., FitConfig]


def test_rates_rise_by_a_constant_factor_and_losses_are_those_of_training(tiny: Tiny):
    config = tiny(batch_size=256, optim=OptimConfig(accumulate=2))
    test = lr_range_test(config, start=1e-4, end=1e-1, steps=4)
    assert test.rates == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert test.losses[0] == pytest.approx(2.3, abs=0.3)
    assert test == lr_range_test(config, start=1e-4, end=1e-1, steps=4)
    assert not config.output.exists()


def test_it_ends_where_the_loss_diverges(tiny: Tiny):
    test = lr_range_test(tiny(), start=1e-3, end=1e9, steps=40)
    assert len(test.rates) < 40
    assert test.suggestion is not None
    assert 1e-4 < test.suggestion < 10


@pytest.mark.parametrize(("smoothed", "suggestion"), [((3.0, 2.0, 1.0, 2.0), 0.01), ((1.0, 2.0, 2.0, 2.0), None)])
def test_the_suggestion_is_a_tenth_of_the_best_rate(smoothed: tuple[float, ...], suggestion: float | None):
    test = LrRangeTest((0.001, 0.01, 0.1, 1.0), smoothed, smoothed)
    assert test.suggestion == (suggestion if suggestion is None else pytest.approx(suggestion))


def test_the_command_prints_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["--model.name", "sparsenet40_24", "--model.args.units", "1", "--model.args.growth", "4"]
    words += ["--start_lr", "0.001", "--end_lr", "1", "--steps", "10", "--save", str(tmp_path / "lr.csv")]
    assert main(["find-lr", *words]) == 0
    assert "learning rate" in capsys.readouterr().out
    with (tmp_path / "lr.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([10 ** (-3 + step / 3) for step in range(10)])
    assert "mathdefault" not in (tmp_path / "lr.svg").read_text()
    assert main(["find-lr", *words]) == 2  # the files are there
    assert main(["find-lr", "--start_lr", "1", "--end_lr", "0.1"]) == 2
    assert "end_lr is 0.1: should be more than start_lr" in capsys.readouterr().err


def test_a_slow_precision_has_a_warning(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices.sys, "platform", "linux")
    monkeypatch.setattr(devices, "has_bfloat16", lambda: False)
    words = ["--model.name", "sparsenet40_24", "--model.args.units", "1", "--model.args.growth", "4"]
    for precision in ("bf16-mixed", "auto"):
        assert main(["find-lr", *words, "--steps", "10", "--precision", precision, "--accelerator", "cpu"]) == 0
        assert ("warning: precision is bf16-mixed" in capsys.readouterr().out) == (precision == "bf16-mixed")
