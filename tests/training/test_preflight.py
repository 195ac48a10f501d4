"""What is said before a run begins, and that nothing is left of a run that cannot begin."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig, load, workers_warning
from skipweave.data.loader_workers import check_workers
from skipweave.inference import evaluate, segment
from skipweave.ops.cpu.processor import cores
from skipweave.study.runner import run_study
from skipweave.training import (
    Callback,
    DensifyConfig,
    FitConfig,
    ModelConfig,
    OptimConfig,
    ProgressiveConfig,
    RunStart,
    fit,
    load_run,
)
from skipweave.training.preflight import notes_before
from skipweave_config.errors import SkipweaveError
from skipweave_config.study_config import NetworkConfig, StudyConfig
from tests.errors import assert_each_reports, assert_reports, raises

SMALL = ModelConfig("sparsenet40_24", {"units": 1, "growth": 4})


def pictures(root: Path, counts: dict[str, int], side: int = 20) -> Path:
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


def settings(tmp_path: Path, counts: dict[str, int], **options: object) -> FitConfig:
    root = pictures(tmp_path / "photos", counts)
    data = DataConfig(name="folder", root=root, image_size=16, validation=0)
    config = FitConfig(SMALL, data, epochs=1, batch_size=4, output=tmp_path / "runs", accelerator="cpu")
    return replace(config, **options)  # type: ignore[arg-type]


class Notes(Callback):
    """Hears the notes."""

    def __init__(self) -> None:
        self.notes: tuple[str, ...] = ()

    def on_fit_start(self, start: RunStart) -> None:
        self.notes = start.notes


def problems(config: FitConfig) -> tuple[str, ...]:
    with pytest.raises(SkipweaveError) as caught:
        fit(config)
    assert not config.output.exists()
    return caught.value.problems


@pytest.mark.parametrize(
    ("model", "side", "batch_size", "named"),
    [
        (
            ModelConfig("densenet121_32"),
            16,
            4,
            ("densenet121_32", "16x16", "29x29"),
        ),
        (ModelConfig("vgg16n"), 8, 4, ("vgg16n", "8x8", "16x16")),
        (SMALL, 2, 4, ("sparsenet40_24", "2x2", "4x4")),
        (
            ModelConfig("vit_tiny_patch16_224"),
            16,
            4,
            ("16x16", "224x224"),
        ),
        (SMALL, 4, 1, ("4x4",)),
    ],
)
def test_too_small_images_are_reported_with_the_smallest_size(tmp_path, model, side, batch_size, named):
    config = settings(tmp_path, {"cat": 5, "ape": 5}, model=model, batch_size=batch_size)
    (found,) = problems(replace(config, data=replace(config.data, image_size=side)))
    assert_reports(found, *named)


def test_too_small_images_of_the_first_epochs_are_reported(tmp_path):
    config = settings(tmp_path, {"cat": 5, "ape": 5}, model=SMALL, batch_size=4)
    (found,) = problems(replace(config, progressive=ProgressiveConfig(scale=(0.125,), epochs=(1,)), epochs=2))
    assert_reports(found, "progressive.scale", "0.125", "2x2", "4x4")


@pytest.mark.parametrize("every", [4, 100])
def test_links_that_would_be_added_after_the_last_step_are_reported(tmp_path, every):
    """Two epochs of two steps, in a run and in a study."""
    args = {**SMALL.args, "sparsify": 0.2}
    config = settings(tmp_path, {"cat": 5, "ape": 5}, model=ModelConfig(SMALL.name, args), epochs=2)
    densify = DensifyConfig(every=every)
    (found,) = problems(replace(config, densify=densify))
    assert_reports(found, "densify.every", every, 4)
    networks = (NetworkConfig(SMALL.name, args, "growing", densify=densify),)
    shared = {"data": config.data, "epochs": 2, "batch_size": 4, "accelerator": "cpu", "output": tmp_path / "study"}
    with raises("densify.every", every, 4):
        run_study(StudyConfig(networks, seeds=(0,), **shared))


def test_mistakes_of_the_config_are_reported_before_data_is_read(tmp_path):
    """With data that does not exist, which would be the only problem if it was read first."""
    config = FitConfig(
        ModelConfig("inception_v3"),
        DataConfig("folder", root=tmp_path / "nowhere"),
        OptimConfig("adamw", lr=0.1, args={"betas": "x"}),
        start=tmp_path / "nothing.pth",
        freeze=99,
        grad_checkpointing=True,
        compile="units",
        output=tmp_path / "runs",
    )
    named = [("compile", "inception_v3"), ("grad_checkpointing", "inception_v3"), ("freeze", 99, "inception_v3")]
    named += [("start", tmp_path / "nothing.pth"), ("optim", "adamw")]
    assert_each_reports(problems(config), *named)
    norms = replace(config, model=ModelConfig("sparsenet40_12", {"norm_layer": "group"}), freeze=9)
    norms = replace(norms, compile="none", start=None, optim=OptimConfig(), freeze_norms=True)
    assert_each_reports(problems(norms), ("freeze_norms", "sparsenet40_12"), ("freeze", 9, "sparsenet40_12"))
    norms = replace(norms, freeze="none")
    masks = replace(norms, model=ModelConfig("fc_densenet56", pretrained=True), freeze_norms=False)
    assert_each_reports(problems(masks), ("model", "fc_densenet56"), ("model", "fc_densenet56"))
    wrong = replace(norms, model=ModelConfig("sparsenet40_12", {"norm_layer": "instance"}), freeze_norms=False)
    assert_each_reports(problems(wrong), ("model", "norm_layer", "'instance'"))


@pytest.mark.parametrize("content", [b"no weights", None])
def test_a_damaged_file_to_start_from_is_reported_before_data_is_read(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content) if content else torch.save({"epoch": 1}, path)
    data = DataConfig("folder", root=tmp_path / "nowhere")
    assert_each_reports(problems(FitConfig(SMALL, data, start=path, output=tmp_path / "runs")), ("start", path))


def test_the_least_size_trains(tmp_path):
    config = settings(tmp_path, {"cat": 5, "ape": 5})
    fit(replace(config, data=replace(config.data, image_size=4)))
    fit(replace(config, data=replace(config.data, image_size=8), batch_size=1))


def test_a_single_class_raises(tmp_path):
    (found,) = problems(settings(tmp_path, {"cat": 9}))
    assert_reports(found, "folder", "cat")


def test_a_batch_larger_than_the_data_is_named(tmp_path):
    (found,) = problems(settings(tmp_path, {"cat": 5, "ape": 5}, batch_size=9))
    assert_reports(found, "batch_size", 9, 8)


def test_all_problems_are_reported_at_once(tmp_path):
    config = settings(tmp_path, {"cat": 9}, batch_size=99, model=ModelConfig("densenet121_32"))
    assert len(problems(config)) == 3


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_any_number_of_images_trains_in_whole_batches(tmp_path, count):
    """A last incomplete batch, of one image too, is left out of training; in evaluation it counts."""
    config = settings(tmp_path, {"cat": count, "ape": count}, batch_size=2)
    config = replace(config, data=replace(config.data, validation=1))
    data = load(config.data)
    if len(data.train) < 2:
        return
    run = fit(config)
    for split, images in {"train": data.train, "validation": data.val, "test": data.test}.items():
        if images:
            assert evaluate(run.run_dir, split)[-1].images == len(images)


def test_an_empty_validation_split_is_none_and_is_reported(tmp_path):
    config = settings(tmp_path, {"cat": 3, "ape": 3}, batch_size=2)
    config = replace(config, data=replace(config.data, validation=0.05))
    notes = Notes()
    run = fit(config, callbacks=[notes])
    assert load(config.data).val is None
    note, *_ = notes.notes
    assert_reports(note, "validation", 0.05, 5)
    with raises("validation"):
        evaluate(run.run_dir, "validation")


def test_unused_columns_of_a_table_are_noted_before_training(tmp_path):
    root = pictures(tmp_path / "photos", {"cat": 9, "ape": 9})
    rows = [f"{name}/{number}.png,{name},{number // 2}" for name in ("cat", "ape") for number in range(9)]
    (root / "labels.csv").write_text("\n".join(["path,label,patient", *rows]))
    data = DataConfig(name="csv", labels=root / "labels.csv", image_size=16)
    unused, group, *_ = notes_before(FitConfig(SMALL, data), load(data))
    assert_reports(unused, "patient")
    assert_reports(group, "patient", "--data.group_column patient")


def test_an_empty_test_split_is_none(tmp_path):
    config = settings(tmp_path, {"cat": 1, "ape": 1}, batch_size=2, tta="flip")
    run = fit(config)
    assert run.test_value is run.tta_value is None
    with raises("test"):
        evaluate(run.run_dir)


def test_more_workers_than_cores_are_reported(tmp_path):
    config = settings(tmp_path, {"cat": 3, "ape": 3}, batch_size=2)
    many = replace(config, data=replace(config.data, workers=cores() + 1))
    *_, note = notes_before(many, load(many.data))
    assert_reports(note, "workers", cores() + 1, cores())
    assert not any("workers" in note for note in notes_before(config, load(config.data)))
    assert workers_warning(cores()) == ""
    assert_reports(workers_warning(cores(), 2), "2 processes")
    for wrong in (-1, 1025):
        with raises("workers", wrong, 0, 1024):
            check_workers(wrong)
        with raises("workers", wrong):
            DataConfig(workers=wrong)


def test_an_image_may_have_one_label_or_none(tmp_path):
    root = pictures(tmp_path / "photos", {"all": 12})
    rows = [f"all/{number}.png,{number % 2}" for number in range(12)]
    (root / "labels.csv").write_text("\n".join(["path,lesion", *rows]))
    data = DataConfig(name="csv", labels=root / "labels.csv", image_size=16, validation=0)
    run = fit(FitConfig(SMALL, data, epochs=1, batch_size=4, output=tmp_path / "runs", accelerator="cpu"))
    assert run.metric == "mean_average_precision"
    with raises("monitor", "balanced_accuracy", "macro_f1"):
        fit(FitConfig(SMALL, data, monitor="balanced_accuracy", batch_size=4, output=tmp_path, accelerator="cpu"))
    with pytest.raises(SkipweaveError, match=r"data\.sampling is balanced"):
        load(replace(data, sampling="balanced"))


def test_a_split_without_any_label_raises_before_training(tmp_path):
    root = pictures(tmp_path / "photos", {"all": 12})
    splits = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    rows = [f"all/{number}.png,{int(number < 6)},{int(number < 2)},{split}" for number, split in enumerate(splits)]
    (root / "labels.csv").write_text("\n".join(["path,lesion,scar,split", *rows]))
    data = DataConfig(name="csv", labels=root / "labels.csv", image_size=16)
    config = FitConfig(SMALL, data, epochs=1, batch_size=4, output=tmp_path / "runs", accelerator="cpu")
    (problem,) = problems(config)
    assert_reports(problem, "validation, test", "lesion, scar", "mAP")
    (problem,) = problems(replace(config, monitor="macro_f1"))
    assert_reports(problem, "macro F1")


def masks(root: Path, sides: list[int], classes: str = "name\nground\nroad\n") -> DataConfig:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, side in enumerate(sides):
        Image.fromarray(rng.integers(0, 256, (side, 40, 3), dtype=np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray(rng.integers(0, 2, (side, 40), dtype=np.uint8)).save(root / "masks" / f"{number}.png")
    (root / "classes.csv").write_text(classes)
    return DataConfig(name="masks", root=root, validation=0)


FC = ModelConfig("fc_densenet56", {"growth": 2, "units": [1] * 11})


def test_the_smallest_image_with_a_mask_counts(tmp_path):
    config = FitConfig(FC, masks(tmp_path / "set", [40, 40, 20, 33, 40, 31]), batch_size=1, output=tmp_path / "runs")
    (found,) = problems(config)
    assert_reports(found, "fc_densenet56", "20x40", "64x64", tmp_path / "set" / "images" / "2.png")  # batches of one


def test_crops_and_resized_images_count_by_their_final_size(tmp_path):
    config = FitConfig(FC, masks(tmp_path / "set", [40] * 6), batch_size=2, output=tmp_path / "runs", epochs=1)
    for change in ({"crop": 16}, {"image_size": 16}):
        (found,) = problems(replace(config, data=replace(config.data, **change)))
        assert_reports(found, "16x16", "32x32")
    small = FitConfig(FC, masks(tmp_path / "small", [20] * 6), batch_size=2, output=tmp_path / "runs", epochs=1)
    fit(replace(small, data=replace(small.data, crop=32, image_size=32)))


def test_a_single_class_of_masks_raises(tmp_path):
    config = FitConfig(FC, masks(tmp_path / "set", [40] * 6, "name\nground\nvoid\n"), batch_size=2)
    (found,) = problems(replace(config, output=tmp_path / "runs"))
    assert_reports(found, "masks", "ground")


def test_a_too_small_image_does_not_stop_the_prediction_of_others(tmp_path):
    data = masks(tmp_path / "set", [40] * 6)
    run = fit(FitConfig(FC, data, epochs=1, batch_size=2, output=tmp_path / "runs", accelerator="cpu"))
    network, _, description = load_run(run.run_dir)
    Image.new("RGB", (50, 8)).save(tmp_path / "low.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    good = tmp_path / "set" / "images" / "0.png"
    first, second, third = segment(network, description, [tmp_path / "low.png", tmp_path / "broken.png", good])
    assert_reports(first.problem, tmp_path / "low.png", "fc_densenet56", "8x50", "32x32")
    assert "broken.png" in second.problem
    assert not third.problem
    assert third.labels is not None
    small = masks(tmp_path / "moved", [20] * 6)
    with raises("20x40", "32x32"):
        evaluate(run.run_dir, root=small.root)


def test_a_study_reports_each_problem_once(tmp_path):
    networks = [NetworkConfig("densenet121_32"), NetworkConfig("vgg16n")]
    config = StudyConfig(networks, match=None, target=None, output=tmp_path / "study", accelerator="cpu")
    with pytest.raises(SkipweaveError) as caught:
        run_study(config)
    values = (("densenet121_32", "8x8", "29x29"), ("vgg16n", "8x8", "16x16"))
    assert_each_reports(caught.value.problems, *values)
    with pytest.raises(SkipweaveError) as caught:
        run_study(replace(config, batch_size=5000))
    assert len(caught.value.problems) == 1
    root = pictures(tmp_path / "photos", {"cat": 9})
    with pytest.raises(SkipweaveError) as caught:
        run_study(replace(config, data=DataConfig(name="folder", root=root)))
    assert_each_reports(caught.value.problems, ("folder", "cat"), ("batch_size", 64))
