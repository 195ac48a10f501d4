import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from skipweave.data import load
from skipweave.inference.evaluation import Outputs, evaluate, evaluate_images
from skipweave.training import EmaConfig, FitConfig, ModelConfig, RunSummary, fit, loop
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.distributed import devices
from skipweave.training.learner import Learner
from skipweave.training.run.loading import load_run_images
from skipweave.training.run.run_directory import RunDirectory
from tests.errors import raises

Tiny = Callable[..., FitConfig]
TEXTS = {".yaml", ".json", ".jsonl", ".txt", ".csv", ".svg"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_tiny: Tiny) -> RunSummary:
    return fit(make_tiny(tmp_path_factory.mktemp("runs"), epochs=3))


def test_the_run_directory_is_complete(run: RunSummary):
    names = {str(path.relative_to(run.run_dir)) for path in run.run_dir.rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith("events/")} == {
        "config.yaml",
        "versions.json",
        "metrics.csv",
        "splits.csv",
        "summary.json",
        "test_predictions.csv",
        "log.txt",
        "log.jsonl",
        "model.safetensors",
        "curves.png",
        "curves.svg",
        "checkpoints/last.safetensors",
        "checkpoints/previous.safetensors",
        "checkpoints/best.safetensors",
    }
    assert any(name.startswith("events/events.out.tfevents") for name in names)
    assert json.loads((run.run_dir / "versions.json").read_text())["torch"] == torch.__version__.partition("+")[0]
    assert RunDirectory(run.run_dir).read_config().model.name == run.model


def test_metrics_have_one_row_per_epoch(run: RunSummary):
    with (run.run_dir / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "11"), ("2", "22"), ("3", "33")]
    assert [float(row["lr"]) for row in rows] == pytest.approx([0.1, 0.01, 0.001])  # falls at steps 17 and 25 of 33
    assert all(0 <= float(row[name]) <= 100 for row in rows for name in ("train_top1_error", "val_top1_error"))
    assert {name for name in rows[0] if name.startswith("val_")} == {
        "val_loss",
        "val_top1_error",
        "val_top1_accuracy",
        "val_balanced_accuracy",
        "val_macro_f1",
    }
    assert run.val_value == min(float(row["val_top1_error"]) for row in rows)
    assert run.val_metrics["top1_accuracy"] == 100 - run.val_value


def test_the_summary_describes_the_chosen_weights(run: RunSummary):
    assert (run.weights, run.epochs, run.seed, run.model) == ("best", 3, 0, "sparsenet40_24")
    assert run.parameters > 1000
    assert run.test_value is not None
    assert run.step_seconds > 0
    best = open_saved(RunDirectory(run.run_dir).best)
    assert best.info["sha256"] == open_saved(RunDirectory(run.run_dir).weights).info["sha256"]


def test_predictions_are_those_of_the_chosen_weights_in_the_order_of_the_split(run: RunSummary):
    folder = RunDirectory(run.run_dir)
    predictions, test = folder.read_test_predictions(), load(folder.read_config().data).test
    assert predictions is not None
    assert predictions.labels.tolist() == test.labels.tolist()
    assert run.test_value == pytest.approx(100 * predictions.wrong.mean(), abs=1e-12)
    evaluate_images(load_run_images(run.run_dir, "test"), outputs=(outputs := Outputs()))
    assert predictions.predicted.tolist() == outputs.logits.argmax(1).tolist()
    assert predictions.confidences == pytest.approx(outputs.logits.softmax(1).amax(1).numpy(), abs=1e-5)


def test_damaged_predictions_raise(run: RunSummary, tmp_path: Path):
    folder = RunDirectory(shutil.copytree(run.run_dir, tmp_path / "run"))
    folder.test_predictions.write_text("label,predicted\n1,x\n")
    with raises(folder.test_predictions):
        folder.read_test_predictions()
    folder.test_predictions.unlink()
    assert folder.read_test_predictions() is None


def test_the_network_learns(tiny: Tiny):
    summary = fit(tiny(model=ModelConfig("sparsenet40_24", {"units": 2, "growth": 12}), epochs=6))
    assert summary.test_value is not None
    assert summary.test_value < 20


def test_without_validation_the_last_weights_are_chosen(tiny: Tiny):
    config = tiny(epochs=1)
    summary = fit(replace(config, data=replace(config.data, validation=0), batch_size=256))
    assert (summary.weights, summary.val_value) == ("last", None)
    folder = RunDirectory(summary.run_dir)
    assert not folder.best.exists()
    last, chosen = open_saved(folder.last).tensors("network/"), open_saved(folder.weights).tensors()
    assert all(torch.equal(last[name], chosen[name]) for name in chosen)


def test_one_seed_gives_one_result_and_another_seed_another(tiny: Tiny):
    config = tiny(epochs=1, batch_size=256)
    first, again = fit(config), fit(config)
    other = fit(replace(config, seed=1))
    digests = [open_saved(RunDirectory(summary.run_dir).weights).info["sha256"] for summary in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]
    assert len({summary.run_dir for summary in (first, again, other)}) == 3


def test_a_models_own_name_in_timm_works_too(tiny: Tiny):
    model = ModelConfig("resnet10t", {"stem_width": 8})
    summary = fit(tiny(model=model, epochs=1, batch_size=512))
    assert summary.model == "resnet10t"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_loss_stops_the_run(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, value: float):
    real, read = loop.epoch_loader, []

    def poisoned(*args: object, **settings: object) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in real(*args, **settings):  # type: ignore[arg-type]
            read.append(len(labels))
            yield (images * value, labels) if len(read) == 7 else (images, labels)

    monkeypatch.setattr(loop, "epoch_loader", poisoned)
    config = tiny(checkpoint_every=2)
    with raises("epoch 1", "step 7", "loss"):
        fit(config)
    assert len(read) == 7
    (run_dir,) = config.output.iterdir()
    folder = RunDirectory(run_dir)
    saved, note = folder.newest()
    assert saved is not None
    assert not note
    assert saved.info["state"]["step"] == 6
    assert all(torch.isfinite(tensor).all() for tensor in saved.tensors().values())
    assert not folder.summary.exists()
    assert not folder.weights.exists()


def test_non_finite_weights_are_not_saved(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        Learner, "optimizer_step", lambda self, *rates: next(self.network.parameters()).data.fill_(torch.inf)
    )
    config = tiny(checkpoint_every=1)
    with raises("step 1", "weight"):
        fit(config)
    (run_dir,) = config.output.iterdir()
    assert RunDirectory(run_dir).newest() == (None, "")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": ModelConfig("sparsnet40_24")}, ("sparsnet40_24", "sparsenet40_24")),
        ({"model": ModelConfig("sparsenet40_24", {"num_classes": 7})}, ("num_classes", 7, "digits", 10)),
        ({"model": ModelConfig("sparsenet40_24", {"in_chans": 3})}, ("in_chans", 3, "digits", 1)),
        ({"model": ModelConfig("resnet18", {"pretrained": True})}, ("pretrained",)),
        ({"model": ModelConfig("resnet18", {"nonsense": 1})}, ("resnet18", "nonsense")),
        ({"batch_size": 5000}, ("batch_size", 5000, 738)),
    ],
)
def test_an_invalid_config_raises_before_a_directory_is_made(
    tiny: Tiny, changes: dict[str, object], named: tuple[object, ...]
):
    config = tiny(**changes)
    with raises(*named):
        fit(config)
    assert not config.output.exists()


def test_an_output_that_is_a_file_raises(tiny: Tiny, tmp_path: Path):
    (tmp_path / "file").touch()
    with raises("output", tmp_path / "file"):
        fit(tiny(output=tmp_path / "file"))


def test_a_run_directory_holds_safetensors_and_text_only(run: RunSummary):
    for path in run.run_dir.rglob("*"):
        if path.suffix == ".safetensors":
            open_saved(path).tensors()
        elif path.is_file() and path.suffix != ".png" and path.parent.name != "events":
            assert path.read_text(encoding="utf-8").isprintable() or path.suffix in TEXTS


def test_what_auto_stood_for_is_kept_with_the_run(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    config = tiny(epochs=1, precision="auto", compile="auto")
    monkeypatch.setattr(devices, "has_bfloat16", lambda: False)
    run = fit(config).run_dir
    assert (RunDirectory(run).read_config().precision, RunDirectory(run).read_config().compile) == ("32-true", "none")
    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    assert fit(replace(config, epochs=2), resume=run).epochs == 2
    assert RunDirectory(run).read_config().precision == "32-true"
    with raises("precision", "bf16-mixed", "32-true"):
        fit(replace(config, epochs=3, precision="bf16-mixed"), resume=run)
    with raises("compile", "network", "none"):
        fit(replace(config, epochs=3, compile="network"), resume=run)


def test_training_in_a_slow_precision_has_a_warning(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices.sys, "platform", "linux")
    monkeypatch.setattr(devices, "has_bfloat16", lambda: False)
    run = fit(tiny(epochs=1, precision="bf16-mixed")).run_dir
    assert "precision is bf16-mixed" in (run / "log.txt").read_text()


def test_the_test_images_are_evaluated_with_test_time_augmentation_too(tiny: Tiny):
    """As `evaluate` does it afterwards, for the network's own head."""
    args = {"units": 2, "growth": 6, "heads": "stages"}
    run = fit(tiny(epochs=1, tta="flip", ema=EmaConfig(0.5), model=ModelConfig("sparsenet40_24", args)))
    *_, plain = evaluate(run.run_dir)
    *_, augmented = evaluate(run.run_dir, tta="flip")
    assert run.test_value == plain.value
    assert run.tta_value == augmented.value != plain.value
    found = {name: value for name, value in run.test_metrics.items() if name.startswith("tta_")}
    assert found == pytest.approx({f"tta_{name}": value for name, value in augmented.compute().items()})
    assert RunDirectory(run.run_dir).read_summary() == run
