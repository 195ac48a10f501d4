import csv
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave import topology
from skipweave.data import DataConfig, find_unreadable
from skipweave.study.engine_timing import engine_names
from skipweave.study.progress_display import Display
from skipweave.study.runner import run_study
from skipweave.training import Callback, DensifyConfig, EpochRow, ModelConfig, RunStart, RunSummary, fit
from skipweave.training.run import skipped_images
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.tasks.metrics import TOP1_ERROR
from skipweave.training.tasks.predictions import Predictions
from skipweave_config.errors import SkipweaveError
from skipweave_config.study_config import NetworkConfig, StudyConfig
from tests.errors import assert_reports, raises


@dataclass
class Trainer:
    """Writes what `fit` writes, without training; stops or fails where it is told to."""

    stop_at: int = -1
    fail: str = ""
    calls: list[tuple[str, int, bool]] = field(default_factory=list)

    def __call__(self, config, *, resume, stop_after, callbacks, skipped_images):
        self.skipped_images = skipped_images
        self.calls.append((config.model.name, config.seed, resume is not None))
        folder = RunDirectory(resume) if resume else RunDirectory.create(config)
        start = RunStart(
            folder.path, config.model.name, 1, 1, "digits", {}, "cpu", 1, TOP1_ERROR, config.epochs, 2, 0, 0, ()
        )
        (callback,) = callbacks
        callback.on_fit_start(start)
        if len(self.calls) - 1 == self.stop_at:
            raise KeyboardInterrupt
        if config.model.name == self.fail:
            raise SkipweaveError("the loss is\nnon-finite")
        rows = [
            EpochRow(e, 2 * e, 0.1, 1 / e, {"top1_error": 9.0 / e}, None, {"top1_error": 8.0 / e}, 1.0, 0.1)
            for e in (1, 2)
        ]
        for row in rows:
            callback.on_step_end(row.epoch - 1, 2)
            callback.on_epoch_end(row)
        folder.write_metrics(rows)
        error = 2.0 + config.seed + (1.0 if config.model.name == "densenet40_12" else 0.0)
        val, test = ({"top1_error": value} for value in (4.0, error))
        if config.tta == "flip":
            test["tta_top1_error"] = error - 1
        model, metric = config.model, "top1_error"
        summary = RunSummary(
            folder.path, model.name, model.args, config.seed, 2, 1, "best", metric, val, test, 2.0, 0.1
        )
        folder.write_summary(summary)
        return summary


SPARSE, DENSE = "sparsenet40_24", "densenet40_12"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A small study; plots and pictures, which take most of the time, are drawn where a test undoes this."""
    for name in ("write_plots", "draw_networks"):
        monkeypatch.setattr(f"skipweave.study.runner.{name}", lambda *_: {})
    networks = [NetworkConfig(SPARSE, {"units": 2}, "sparse"), NetworkConfig(DENSE, {"units": 2}, "dense")]
    return StudyConfig(
        networks=networks, seeds=[0, 1], epochs=2, target="4k", output=tmp_path / "study", processes=1, timing_repeats=0
    )


def rows_of(config, name="results.csv"):
    return list(csv.DictReader((config.output / name).read_text().splitlines()))


def test_links_are_added_to_networks_with_densification(config):
    sparse = NetworkConfig(SPARSE, {"units": 2, "sparsify": 0.2}, "growing", densify=DensifyConfig(every=3))
    asked = []
    results = run_study(
        replace(config, networks=[sparse, config.networks[1]], match=None),
        trainer=lambda config, **options: asked.append(config) or Trainer()(config, **options),
    )
    assert [fit.densify.every for fit in asked] == [3, 0, 3, 0]
    assert ("densification", "growing: every 3 steps, fresh weights") in results.facts["Recipe"]
    assert results.networks[0].cost.parameters < 0.7 * results.networks[1].cost.parameters


def test_every_network_is_trained_from_every_seed(config):
    trainer = Trainer()
    results = run_study(config, trainer=trainer)
    assert trainer.calls == [(SPARSE, 0, False), (DENSE, 0, False), (SPARSE, 1, False), (DENSE, 1, False)]
    assert [(run.label, run.seed, run.value) for run in results.runs] == [
        ("sparse", 0, 2.0),
        ("sparse", 1, 3.0),
        ("dense", 0, 3.0),
        ("dense", 1, 4.0),
    ]
    assert [epoch.val_value for epoch in results.runs[0].curve] == [8.0, 4.0]
    assert [row["mean_test_top1_error"] for row in rows_of(config, "summary.csv")] == ["2.5", "3.5"]
    assert results.failures == ()


def test_auto_is_the_precision_that_the_runs_have(config):
    """It is chosen where a run is trained, which may be another machine than that of the study."""
    trainer = Trainer()
    asked = replace(config, precision="auto")
    run_study(asked, trainer=lambda run, **options: trainer(replace(run, precision="bf16-mixed"), **options))
    results = run_study(asked, trainer=trainer)
    assert len(trainer.calls) == 4
    assert ("precision", "bf16-mixed") in results.facts["Recipe"]


def test_the_precisions_of_runs_on_several_machines_are_reported(config):
    def trainer(run, **options):
        return Trainer()(replace(run, precision="bf16-mixed" if run.seed else "32-true"), **options)

    results = run_study(replace(config, precision="auto"), trainer=trainer)
    assert ("precision", "32-true in 2 runs, bf16-mixed in 2 runs") in results.facts["Recipe"]


def test_a_study_without_a_finished_run_is_reported(config):
    results = run_study(replace(config, networks=config.networks[:1], precision="auto"), trainer=Trainer(fail=SPARSE))
    assert len(results.failures) == 2
    assert ("precision", "auto") in results.facts["Recipe"]
    assert (config.output / "report.html").is_file()


def test_test_time_augmentation_is_in_tables_and_report(config, monkeypatch):
    monkeypatch.undo()
    results = run_study(replace(config, tta="flip"), trainer=Trainer())
    assert [run.tta_value for run in results.runs] == [1.0, 2.0, 2.0, 3.0]
    assert [row["test_tta_top1_error"] for row in rows_of(config)] == ["1.0", "2.0", "2.0", "3.0"]
    assert [row["mean_test_tta_top1_error"] for row in rows_of(config, "summary.csv")] == ["1.5", "2.5"]
    assert ("test-time augmentation", "flip, beside the result without") in results.facts["Recipe"]
    assert "with test-time augmentation [%]" in (config.output / "report.html").read_text().replace("<small>", "")


def test_everything_is_written(config, monkeypatch):
    monkeypatch.undo()
    results = run_study(config, trainer=Trainer())
    for name in ("config.yaml", "results.csv", "summary.csv", "comparisons.csv", "report.html"):
        assert (config.output / name).is_file()
    plots = {path.name for path in (config.output / "plots").iterdir()}
    for name in ("top1_error_vs_parameters", "top1_error_vs_macs", "learning_curves", "connections_1", "connections_2"):
        assert {f"{name}.svg", f"{name}.png"} <= plots
    report = (config.output / "report.html").read_text()
    assert all(run.run_dir in report for run in results.runs)
    assert all((config.output / run.run_dir / "summary.json").is_file() for run in results.runs)


def test_networks_are_compared_image_by_image_where_all_runs_have_predictions(config):
    run_study(config, trainer=Trainer())
    (row,) = rows_of(config, "comparisons.csv")
    assert (row["label"], row["reference"], row["difference_test_top1_error"]) == ("dense", "sparse", "1.0")
    assert (row["paired_images"], row["test"]) == ("0", "t")  # no run has any
    labels = np.zeros(4, np.int64)
    for number, run in enumerate(sorted((config.output / "runs").glob("*/*/*/"))):
        RunDirectory(run).write_test_predictions(Predictions(labels, labels + (np.arange(4) < number)))
    results = run_study(config, trainer=Trainer())
    assert [run.predictions.wrong.sum() for run in results.runs] == [2, 3, 0, 1]
    assert [run.class_values[:2] for run in results.runs] == [(50.0, None), (25.0, None), (100.0, None), (75.0, None)]
    sparse, dense = results.summaries
    assert (sparse.confusion[0, :2].tolist(), dense.confusion[0, :2].tolist()) == ([3, 5], [7, 1])
    assert results.classes == tuple("0123456789")
    assert sum(results.class_counts["test"]) == results.test_images
    assert [row["test_recall_0"] for row in rows_of(config)] == ["50.0", "25.0", "100.0", "75.0"]
    assert len(rows_of(config, "classes.csv")) == 10
    (row,) = rows_of(config, "comparisons.csv")
    assert row["paired_images"] == "4"


def test_networks_are_matched(config):
    results = run_study(config, trainer=Trainer())
    costs = [network.cost.parameters for network in results.networks]
    assert all(abs(cost / 4000 - 1) < 0.2 for cost in costs)
    assert f"reached {min(costs):,} to {max(costs):,}" in dict(results.facts["Recipe"])["equal cost"]


def test_distances_are_those_of_the_whole_network(config):
    spanning = NetworkConfig("logdensenet_v1_12_16", {"units": 3, "growth": 2}, "spanning")
    local = NetworkConfig(DENSE, {"units": 3, "growth": 2, "topology": "plain"}, "local")
    resnet = NetworkConfig("resnet18", {}, "no topology")
    networks = [spanning, local, resnet]
    results = run_study(replace(config, networks=networks, match=None, seeds=[0]), trainer=Trainer())
    graphs = [topology.exponential(9), topology.plain(9)]
    measured = [(network.cost.max_distance, network.cost.mean_distance) for network in results.networks]
    assert measured == [*((graph.max_distance, graph.mean_distance) for graph in graphs), (0, 0)]
    assert [row["max_distance"] for row in rows_of(config)] == ["3", "9", "0"]
    assert [row["mean_distance"] for row in rows_of(config)] == ["1.5111", "3.6667", "0.0"]  # 68 / 45: one-bits


def test_finished_runs_are_not_repeated(config):
    first = run_study(config, trainer=Trainer())
    again = Trainer()
    assert run_study(config, trainer=again).runs == first.runs
    assert again.calls == []


@pytest.mark.parametrize("stop_at", [0, 1, 3])
def test_an_interrupted_study_resumes(config, stop_at):
    whole = run_study(replace(config, output=config.output.with_name("whole")), trainer=Trainer())
    stopped, again = Trainer(stop_at=stop_at), Trainer()
    with pytest.raises(KeyboardInterrupt):
        run_study(config, trainer=stopped)
    assert len(rows_of(config)) == stop_at if stop_at else not (config.output / "results.csv").exists()
    results = run_study(config, trainer=again)
    assert [call[:2] for call in stopped.calls[:stop_at] + again.calls] == [
        (SPARSE, 0), (DENSE, 0), (SPARSE, 1), (DENSE, 1),
    ]  # fmt: skip
    assert [resumed for *_, resumed in again.calls] == [True] + [False] * (3 - stop_at)
    assert results.runs == whole.runs


def test_a_run_killed_before_its_config_was_written_is_restarted(config):
    (config.output / "runs" / "sparse" / "seed-0" / "sparsenet40_24_digits_1").mkdir(parents=True)
    trainer = Trainer()
    run_study(config, trainer=trainer)
    assert trainer.calls[0] == (SPARSE, 0, False)


def test_seeds_and_networks_can_be_added(config):
    run_study(config, trainer=Trainer())
    trainer = Trainer()
    more = replace(config, seeds=[0, 1, 2], networks=[*config.networks, NetworkConfig(SPARSE, {"units": 3}, "deep")])
    results = run_study(more, trainer=trainer)
    assert len(trainer.calls) == 5
    assert len(results.runs) == 9


def test_another_recipe_raises(config):
    run_study(config, trainer=Trainer())
    with raises("epochs", 3, 2):
        run_study(replace(config, epochs=3), trainer=Trainer())


def test_a_failed_run_is_reported_and_repeated(config):
    results = run_study(config, trainer=Trainer(fail=DENSE))
    reason = "the loss is non-finite"
    assert results.failures == (("dense, seed 0", reason), ("dense, seed 1", reason))
    assert [summary.network.label for summary in results.summaries] == ["sparse"]
    assert reason in (config.output / "report.html").read_text()
    assert [row["failure"] for row in rows_of(config)] == ["", "", reason, reason]
    again = Trainer()
    assert run_study(config, trainer=again).failures == ()
    assert again.calls == [(DENSE, 0, True), (DENSE, 1, True)]


def test_networks_have_devices_and_memory_of_their_own(config):
    """Batch size and activation checkpointing are planned once, so that the runs can be resumed."""
    args = {"units": 2, "growth": 8}
    networks = [
        NetworkConfig(SPARSE, args, "default"),
        NetworkConfig(SPARSE, args, "two", devices=2),
        NetworkConfig(SPARSE, args, "checkpointed", grad_checkpointing=True),
        NetworkConfig(SPARSE, args, "small", max_memory="600kB"),
        NetworkConfig(SPARSE, args, "too small", max_memory="1kB"),
    ]
    config = replace(config, networks=networks, match=None, target=None, seeds=[0], timing_repeats=1)
    trained = []

    def train(config, **options):
        trained.append(config)
        return Trainer(stop_at=1)(config, **options)

    results = run_study(config, trainer=train)
    small = trained[3].batch_size
    assert 2 <= small < config.batch_size
    runs = [(run.devices, run.grad_checkpointing, run.batch_size, run.max_memory) for run in trained]
    assert runs == [(1, False, 64, None), (2, False, 64, None), (1, True, 64, None), (1, True, small, None)]
    rows = {row["label"]: (row["devices"], row["grad_checkpointing"], row["batch_size"]) for row in rows_of(config)}
    assert rows["two"] == ("2", "False", "64")
    assert rows["small"] == ("1", "True", str(small))
    assert list(results.timings) == ["default", "checkpointed"]  # the others do not take such a batch on one device
    *others, last = dict(results.facts["Recipe"])["devices and memory"].split("; ")
    assert others == ["two: 2 devices", "checkpointed: activation checkpointing"]
    assert last == f"small: activation checkpointing, batches of {small}"
    ((label, failure),) = results.failures
    assert label == "too small"
    assert_reports(failure, "max_memory")
    assert run_study(config, trainer=Trainer(stop_at=0)).runs == results.runs


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_runs_on_several_devices_report_their_progress(tmp_path, processes):
    networks = [NetworkConfig(SPARSE, {"units": 1, "growth": growth}, str(growth), devices=2) for growth in (2, 3)]
    config = StudyConfig(
        networks=networks,
        seeds=[0],
        data=DataConfig(validation=0),
        epochs=2,
        batch_size=512,
        timing_repeats=0,
        processes=processes,
        accelerator="cpu",
        output=tmp_path / "study",
    )
    display = Recorder()
    results = run_study(config, display=display)
    assert results.failures == ()
    for network in networks:
        assert display.epochs[network.label] == [1, 2]
        (run,) = (run for run in results.runs if run.label == network.label)
        alone = config.fit_config(ModelConfig(SPARSE, network.args), 0, tmp_path / f"alone{network.label}", network)
        assert run.value == fit(alone).test_value


class Recorder(Display):
    """The epochs of which each run reported the end."""

    def __init__(self):
        self.epochs = {}

    def on_run_start(self, run):
        reported = self.epochs.setdefault(run[0], [])
        callback = Callback()
        callback.on_epoch_end = lambda row: reported.append(row.epoch)
        return callback


def test_a_network_that_cannot_be_built_is_reported(config):
    bad = [NetworkConfig(SPARSE, {"growth": [1, 2]}, "two"), NetworkConfig("sparsnet40_24", {}, "typo")]
    results = run_study(replace(config, networks=[*config.networks, *bad]), trainer=Trainer())
    (two, why_two), (typo, why_typo) = results.failures
    assert (two, typo) == ("two", "typo")
    assert_reports(why_two, "growth", [1, 2])
    assert_reports(why_typo, "sparsnet40_24", "sparsenet40_24")
    assert len(results.runs) == 4


def test_a_study_without_valid_networks_raises(config):
    with raises("typo", "'nothing'"):
        run_study(replace(config, networks=[NetworkConfig("nothing", {}, "typo")]), trainer=Trainer())


def test_a_study_without_finished_runs_has_a_report(config):
    results = run_study(replace(config, networks=config.networks[:1]), trainer=Trainer(fail=SPARSE))
    assert results.summaries == ()
    assert "No network finished" in (config.output / "report.html").read_text()


def test_times_are_measured_once(config):
    config = replace(config, timing_repeats=2, time_engines=False, seeds=[0])
    first = run_study(config, trainer=Trainer())
    assert list(first.timings) == ["sparse", "dense"]
    assert all(timing.inference_ms > 0 and timing.step_ms > 0 for timing in first.timings.values())
    assert "medians of 2 interleaved rounds" in first.timing_note
    assert run_study(config, trainer=Trainer()).timings == first.timings
    assert run_study(replace(config, timing_repeats=3), trainer=Trainer()).timings != first.timings


@pytest.mark.slow
def test_engines_are_timed_beside_the_networks(config):
    config = replace(config, timing_repeats=1, seeds=[0], networks=config.networks[:1])
    first = run_study(config, trainer=Trainer())
    assert tuple(first.timings["sparse"].engine_ms) == engine_names(torch.device("cpu"))
    assert run_study(config, trainer=Trainer()).timings == first.timings
    assert f"onnxruntime {version('onnxruntime')}" in first.engine_note


@pytest.mark.slow
def test_two_processes_give_the_results_of_one(tmp_path):
    networks = [NetworkConfig(name, {"units": 1, "growth": 2}, name) for name in (SPARSE, DENSE)]
    config = StudyConfig(
        networks=networks, seeds=[0], data=DataConfig(validation=0), epochs=1, match=None, timing_repeats=0, processes=1
    )
    one = run_study(replace(config, output=tmp_path / "one"))
    two = run_study(replace(config, output=tmp_path / "two", processes=2))
    assert [run.value for run in one.runs] == [run.value for run in two.runs]
    assert one.failures == two.failures == ()
    assert all(Path(tmp_path / "two" / run.run_dir / "model.safetensors").is_file() for run in two.runs)


def test_unreadable_images_are_searched_once_and_skipped_in_every_run(config, tmp_path, monkeypatch):
    read = []

    def find(images, share, **options):
        read.append(len(share))
        return find_unreadable(images, share, **options)

    monkeypatch.setattr(skipped_images, "find_unreadable", find)
    for part, count in (("train", 4), ("test", 2)):
        for name in ("ape", "cat"):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    bad = tmp_path / "photos" / "train" / "cat" / "1.png"
    bad.write_bytes(b"")
    data = DataConfig(name="folder", root=tmp_path / "photos", image_size=8, validation=0, on_bad="skip")
    trainer = Trainer()
    run_study(replace(config, data=data, match=None, batch_size=2), trainer=trainer)
    assert read == [8, 4]
    assert len(trainer.calls) == 4
    assert [image.file for image in trainer.skipped_images] == [str(bad)]
