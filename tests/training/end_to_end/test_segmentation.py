"""Training on segmentation masks: killed, resumed, shared by two processes, started from another run's weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig, count_pixels, load_segmentation
from skipweave.inference import evaluate
from skipweave.training import (
    FitConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    ScheduleConfig,
    fit,
    load_weights,
)
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.tasks.task import Segmentation
from skipweave_config.errors import SkipweaveError
from tests.errors import raises
from tests.training.end_to_end.interruption import Interruption

SMALL = ModelConfig("fc_logdensenet103", {"units": [1, 1, 1], "growth": 4, "proj_drop_rate": 0.1})


@pytest.fixture
def config(tmp_path: Path, make_pairs, class_list) -> FitConfig:
    """A run of 2 epochs of 6 steps with crops, mirroring, dropout and balanced classes."""
    make_pairs(tmp_path / "pictures", [f"picture{number}" for number in range(20)])
    class_list(tmp_path / "pictures")
    return FitConfig(
        model=SMALL,
        data=DataConfig(name="masks", root=tmp_path / "pictures", crop=8, validation=4),
        optim=OptimConfig("rmsprop", lr=1e-3, momentum=0, nesterov=False),
        schedule=ScheduleConfig(milestones=(), decay=0.9),
        loss=LossConfig(class_weights="median_frequency"),
        epochs=2,
        batch_size=2,
        output=tmp_path / "runs",
        accelerator="cpu",
    )


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return open_saved(RunDirectory(run).last).tensors()


def rows_of(run: Path) -> list[dict[str, dict[str, float]]]:
    return open_saved(RunDirectory(run).last).info["state"]["rows"]


def test_a_run_is_scored_at_full_resolution_and_describes_its_weights(config: FitConfig):
    recorder = Interruption()
    summary = fit(config, callbacks=[recorder])
    assert any(note.startswith("class weights: ground ") for note in recorder.notes)
    classes, exits = {"iou_ground", "iou_road"}, {"exit1_mean_iou", "exit2_mean_iou"}
    assert {"mean_iou", "mean_dice", "pixel_accuracy", "loss"} | classes | exits == set(summary.test_metrics)
    assert summary.test_value == summary.test_metrics["mean_iou"]
    assert summary.val_value == max(row["val_metrics"]["mean_iou"] for row in rows_of(summary.run_dir))
    heads = evaluate(summary.run_dir, "test")
    assert heads[-1].value == summary.test_value
    data = load_segmentation(config.data)
    labeled = sum(int((data.test[index][1] < data.void).sum()) for index in range(len(data.test)))
    assert [int(head.confusion.sum()) for head in heads] == [labeled] * 3
    header = RunDirectory(summary.run_dir).metrics.read_text().splitlines()[0]
    assert "val_mean_iou" in header
    assert "val_exit1_mean_iou" in header
    assert not RunDirectory(summary.run_dir).test_predictions.exists()
    confusion = RunDirectory(summary.run_dir).read_test_confusion(data.classes)
    assert confusion.tolist() == heads[-1].confusion.tolist()


@pytest.mark.parametrize(
    "text", ["", "true,a\na,1\n", "true,a,b\na,1,2\n", "true,a,b\na,1,2\nb,3,x\n", "true,a,b\na,1\nb,2\n"]
)
def test_damaged_confusion_raises(tmp_path: Path, text: str):
    folder = RunDirectory(tmp_path)
    folder.write_test_confusion("ab", np.array([[1, 2], [3, 4]]))
    assert folder.read_test_confusion("ab").tolist() == [[1, 2], [3, 4]]
    folder.test_confusion.write_text(text)
    with raises(folder.test_confusion):
        folder.read_test_confusion("ab")


def test_a_run_resumed_within_an_epoch_equals_the_uninterrupted_one(config: FitConfig):
    uninterrupted = tensors(fit(config).run_dir)
    config = replace(config, output=config.output.with_name("stopped"), checkpoint_every=2)
    with pytest.raises(KeyboardInterrupt):
        fit(config, callbacks=[Interruption(after=9)])
    (run,) = config.output.iterdir()
    resumed = tensors(fit(config, resume=run).run_dir)
    assert [name for name in uninterrupted if not torch.equal(uninterrupted[name], resumed[name])] == []


@pytest.mark.slow
def test_two_processes_score_every_image_once(config: FitConfig):
    summary = fit(replace(config, devices=2, loss=replace(config.loss, last_epochs=1)))
    alone = evaluate(summary.run_dir, "test")
    assert alone[-1].value == summary.test_value


def test_a_run_may_start_from_the_weights_of_another(config: FitConfig, tmp_path: Path):
    first = fit(replace(config, epochs=1)).run_dir / "model.safetensors"
    whole = replace(config, start=first, optim=replace(config.optim, lr=1e-12), epochs=1)
    network, _ = load_weights(first)
    tuned, _ = load_weights(fit(replace(whole, data=replace(config.data, crop=None))).run_dir / "model.safetensors")
    for (name, ours), theirs in zip(tuned.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0, msg=name)
    runs = set(config.output.iterdir())
    with pytest.raises(SkipweaveError, match=r"none\.safetensors"):
        fit(replace(config, start=tmp_path / "none.safetensors"))
    assert set(config.output.iterdir()) == runs


def test_images_without_a_labeled_pixel_raise(config: FitConfig):
    data = load_segmentation(config.data)
    for _, mask in data.val.pairs:
        Image.fromarray(np.full((12, 10), 2, dtype=np.uint8)).save(mask)
    with raises(4, "labeled pixel"):
        fit(config)


def test_a_moved_dataset_uses_its_class_list(config: FitConfig, tmp_path: Path):
    config = replace(config, data=replace(config.data, classes=config.data.root / "classes.csv"), epochs=1)
    run = fit(config).run_dir
    config.data.root.rename(tmp_path / "moved")
    assert evaluate(run, "test", root=tmp_path / "moved")[-1].images == 4


def test_classes_are_weighted_by_median_frequency(config: FitConfig):
    data = load_segmentation(config.data)
    task = Segmentation(data, balanced=True)
    assert task.weights.tolist() == pytest.approx(count_pixels(data.train).weights())
    assert Segmentation(data, balanced=False).weights is None


def test_a_classification_network_raises(config: FitConfig):
    with raises("sparsenet40_24"):
        fit(replace(config, model=ModelConfig("sparsenet40_24", {"units": 1})))
