"""Successive halving: who stays is a function of the validation values at the rungs, whatever happens between."""

import csv
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave.data import DataConfig
from skipweave.study.halving import decide
from skipweave.study.results import Epoch, Run, Standing
from skipweave.study.runner import run_study
from skipweave.training import EpochRow, RunSummary
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.tasks.metrics import METRICS, TOP1_ERROR
from skipweave_config.errors import SkipweaveError
from skipweave_config.study_config import HalvingConfig, NetworkConfig, StudyConfig
from tests.errors import raises

EPOCHS = 8
CURVES = {  # validation error after each epoch, of networks by their growth, for seed 0; seed 1 has one more
    2: (9, 8, 7, 6, 5, 4, 3, 2),  # would be the best in the end, but is the worst after two epochs
    3: (1, 7, 6, 6, 6, 6, 6, 6),
    4: (8, 6, 5, 4, 4, 4, 4, 4),
    5: (7, 5, 5, 5, 5, 5, 5, 1),
    6: (9, 6, 9, 9, 9, 9, 9, 9),
}


@dataclass
class Trainer:
    """Writes what `fit` writes: the curves above, as far as it is asked."""

    stop_at: int = -1
    fail: int = 0
    calls: list[tuple[int, int, int, int]] = field(default_factory=list)

    def __call__(self, config, *, resume, stop_after, callbacks, skipped_images):
        growth = config.model.args["growth"]
        folder = RunDirectory(resume) if resume else RunDirectory.create(config)
        done = len(folder.metrics.read_text().splitlines()) - 1 if folder.metrics.exists() else 0
        last = stop_after or config.epochs
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        if growth == self.fail:
            raise SkipweaveError("the loss is non-finite")
        self.calls.append((growth, config.seed, done, last))
        rows = [row(epoch, CURVES[growth][epoch - 1] + config.seed) for epoch in range(1, last + 1)]
        folder.write_metrics(rows)
        model, val = config.model, rows[-1].val_metrics
        test = {"top1_error": float(growth)} if last == config.epochs else {}
        summary = RunSummary(
            folder.path, model.name, model.args, config.seed, last, 1, "best", "top1_error", val, test, float(last), 0.1
        )
        if last == config.epochs:
            folder.write_summary(summary)
        return summary


def row(epoch: int, error: float) -> EpochRow:
    return EpochRow(epoch, epoch, 0.1, 1.0, {"top1_error": 50.0}, 1.0, {"top1_error": float(error)}, 1.0, 0.1)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyConfig:
    for name in ("write_plots", "draw_networks"):
        monkeypatch.setattr(f"skipweave.study.runner.{name}", lambda *_: {})
    network = NetworkConfig("sparsenet40_24", {"units": 1}, "n", {"growth": list(CURVES)})
    return StudyConfig(
        networks=[network],
        seeds=[0, 1],
        data=DataConfig(validation=0.2),
        halving=HalvingConfig(min_epochs=2),
        epochs=EPOCHS,
        output=tmp_path / "study",
        processes=1,
        timing_repeats=0,
        accelerator="cpu",
    )


def growth_of(label: str) -> int:
    return int(label.partition("=")[2].rstrip(")"))


def test_the_best_at_each_rung_are_trained_further(config: StudyConfig):
    trainer = Trainer()
    results = run_study(config, trainer=trainer)
    rungs = [(rung.epoch, [(growth_of(one.label), one.value, one.stays) for one in rung.standings])
             for rung in results.rungs]  # fmt: skip
    assert rungs == [
        (2, [(5, 5.5, True), (4, 6.5, True), (6, 6.5, True), (3, 7.5, False), (2, 8.5, False)]),  # 3 of 5; 4 before 6
        (4, [(4, 4.5, True), (5, 5.5, True), (6, 9.5, False)]),  # 2 of 3, though 5 will be better in the end
    ]
    trained = [(growth, seed, 0, 2) for seed in (0, 1) for growth in CURVES]
    trained += [(growth, seed, 2, 4) for seed in (0, 1) for growth in (4, 5, 6)]
    assert trainer.calls == trained + [(growth, seed, 4, 8) for seed in (0, 1) for growth in (4, 5)]
    ended = {(growth_of(run.label), run.seed): (run.stopped_after, len(run.curve), run.value) for run in results.runs}
    after = {2: 2, 3: 2, 4: None, 5: None, 6: 4}
    assert ended == {(growth, seed): (after[growth], after[growth] or 8, None if after[growth] else growth)
                     for growth in CURVES for seed in (0, 1)}  # fmt: skip
    assert [growth_of(summary.network.label) for summary in results.summaries] == [4, 5]


def test_what_was_stopped_is_in_the_tables_and_the_report(config: StudyConfig):
    results = run_study(config, trainer=Trainer())
    rows = list(csv.DictReader((config.output / "results.csv").read_text().splitlines()))
    stopped = [(growth_of(row["label"]), row["seed"], row["stopped_after"], row["stopped_val_top1_error"])
               for row in rows if row["stopped_after"]]  # fmt: skip
    assert stopped == [
        (2, "0", "2", "8.0"), (2, "1", "2", "9.0"), (3, "0", "2", "7.0"), (3, "1", "2", "8.0"),
        (6, "0", "4", "9.0"), (6, "1", "4", "10.0"),
    ]  # fmt: skip
    (first, *_, last) = csv.DictReader((config.output / "halving.csv").read_text().splitlines())
    assert list(first.values()) == ["2", "1", "n (growth=5)", "5.5", "True"]
    assert list(last.values()) == ["4", "3", "n (growth=6)", "9.5", "False"]
    report = (config.output / "report.html").read_text()
    assert "n (growth=3) (7.50 %), n (growth=2) (8.50 %)" in report
    assert report.count("stopped after 2 epochs") == 4
    assert [name for name, _ in results.facts["Recipe"][-3:]] == ["successive halving", "stopped", "stopped"]


@pytest.mark.parametrize("stop_at", [4, 12, 17])  # at the first and second rung, and after them
def test_an_interrupted_study_decides_as_the_uninterrupted_one(config: StudyConfig, stop_at: int):
    whole, again = Trainer(), Trainer()
    expected = run_study(replace(config, output=config.output.with_name("whole")), trainer=whole)
    stopped = Trainer(stop_at=stop_at)
    with pytest.raises(KeyboardInterrupt):
        run_study(config, trainer=stopped)
    results = run_study(config, trainer=again)
    assert (results.runs, results.rungs) == (expected.runs, expected.rungs)
    assert sorted(stopped.calls + again.calls) == sorted(whole.calls)
    assert run_study(config, trainer=Trainer(stop_at=0)).runs == expected.runs


def test_runs_that_were_trained_further_before_are_stopped_all_the_same(config: StudyConfig):
    run_study(replace(config, halving=HalvingConfig()), trainer=Trainer())
    again = Trainer()
    results = run_study(config, trainer=again)
    assert again.calls == []
    assert results.runs == run_study(replace(config, output=config.output.with_name("new")), trainer=Trainer()).runs


def test_a_network_with_a_failed_run_does_not_stay(config: StudyConfig):
    results = run_study(config, trainer=Trainer(fail=4))
    assert results.rungs[0].standings[-1] == Standing("n (growth=4)", None, stays=False)
    assert [growth_of(one.label) for one in results.rungs[0].standings if one.stays] == [5, 6, 3]
    assert [what for what, _ in results.failures] == ["n (growth=4), seed 0", "n (growth=4), seed 1"]
    healed = run_study(config, trainer=Trainer())
    assert healed.runs == run_study(replace(config, output=config.output.with_name("new")), trainer=Trainer()).runs


def test_without_validation_images_there_is_no_halving(config: StudyConfig):
    with raises("halving.min_epochs", 2, "digits", "data.validation"):
        run_study(replace(config, data=DataConfig(validation=0)), trainer=Trainer())
    with raises("epochs", 8, "halving.min_epochs"):
        replace(config, halving=HalvingConfig(min_epochs=8))


tables = st.lists(st.lists(st.floats(0, 100), min_size=2, max_size=2), min_size=1, max_size=9)


@given(tables, st.integers(2, 4), st.sampled_from([TOP1_ERROR, METRICS["mean_iou"]]))
def test_as_many_stay_as_halving_keeps_and_none_is_worse_than_one_that_does_not(table, factor, metric):
    runs = {
        str(number): [Run(str(number), seed, "", curve=(Epoch(1, 1.0, None, value),)) for seed, value in enumerate(own)]
        for number, own in enumerate(table)
    }
    rung = decide(1, runs, factor, metric)
    assert {one.label: one.value for one in rung.standings} == {str(n): sum(own) / 2 for n, own in enumerate(table)}
    staying, other = ([metric.rank(one.value) for one in rung.standings if one.stays is kept] for kept in (True, False))
    assert len(staying) == math.ceil(len(table) / factor)
    assert max(staying) <= min(other, default=math.inf)


def test_the_networks_that_stay_are_those_of_a_study_without_halving(tmp_path: Path):
    """Bit by bit, by the schedule of all epochs."""
    networks = [NetworkConfig("sparsenet40_24", {"units": 1, "growth": growth}, str(growth)) for growth in (2, 3)]
    config = StudyConfig(
        networks=networks,
        seeds=[0],
        data=DataConfig(validation=0.3),
        epochs=2,
        batch_size=256,
        timing_repeats=0,
        processes=1,
        accelerator="cpu",
        output=tmp_path / "whole",
    )
    whole = run_study(config)
    halved = run_study(replace(config, halving=HalvingConfig(min_epochs=1), output=tmp_path / "halved"))
    (rung,) = halved.rungs
    assert {one.label: one.value for one in rung.standings} == {run.label: run.val_value(1) for run in whole.runs}
    (run,) = (run for run in halved.runs if not run.stopped_after)
    (same,) = (other for other in whole.runs if other.label == run.label)
    assert run.value == same.value
    files = [tmp_path / name / run.run_dir / "model.safetensors" for name in ("whole", "halved")]
    first, second = (open_saved(file).info["sha256"] for file in files)
    assert first == second
