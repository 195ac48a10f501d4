"""Runs on images of 16 bits and of floating-point numbers: what was found of the values stays with the run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig
from skipweave.export.timm_folder import hub_config, model_card
from skipweave.inference import evaluate, predict, segment
from skipweave.study.runner import run_study
from skipweave.training import FitConfig, ModelConfig, RunSummary, fit, load_run, load_run_images
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.config_files import read
from skipweave_config.study_config import NetworkConfig, StudyConfig
from tests.errors import assert_reports, raises
from tests.training.end_to_end.interruption import Interruption


def scans(place: Path) -> Path:
    """Scans of 12 bits in files of 16: two classes that differ by 120 of 65,536 levels within a square."""
    rng = np.random.default_rng(0)
    for name, top in (("clear", 0), ("lesion", 120)):
        (place / name).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(963, 1013, (16, 16)).astype(np.uint16)
            pixels[5:10, 5:10] += top
            Image.fromarray(pixels).save(place / name / f"{number}.png")
    return place


def settings(place: Path, **options: object) -> FitConfig:
    data = DataConfig(name="folder", root=place / "scans", image_size=16)
    config = FitConfig(ModelConfig("sparsenet40_24", {"units": 1, "growth": 6}), data, epochs=4, batch_size=8)
    return replace(config, **{"output": place / "runs", "accelerator": "cpu", "checkpoint_every": 2, **options})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("deep")
    scans(place / "scans")
    return place


@pytest.fixture(scope="module")
def whole(place: Path) -> tuple[RunSummary, Interruption]:
    listener = Interruption()
    return fit(settings(place), callbacks=[listener]), listener


def test_classes_that_8_bits_cannot_distinguish_are_learned(whole: tuple[RunSummary, Interruption]):
    run, listener = whole
    assert run.test_value == 0
    assert any("963" in note and "1132" in note for note in listener.notes)


def test_the_run_s_config_has_the_measured_range(whole: tuple[RunSummary, Interruption], place: Path):
    run, _ = whole
    _, config, description = load_run(run.run_dir)
    own = description.preprocessing
    assert own.range == config.data.range == (963, 1132)
    assert (own.mean, own.std) == (config.data.mean, config.data.std)
    assert list(description.as_plain()["preprocessing"]["range"]) == [963, 1132]
    assert evaluate(run.run_dir)[-1].value == run.test_value


def test_evaluation_reads_no_training_image(whole: tuple[RunSummary, Interruption], tmp_path: Path):
    run, _ = whole
    scans(tmp_path / "moved")
    brighter = Image.fromarray(np.full((16, 16), 60_000, dtype=np.uint16))
    brighter.save(tmp_path / "moved" / "clear" / "extra.png")
    loaded = load_run_images(run.run_dir, root=tmp_path / "moved")
    assert loaded.data.preprocessing == load_run(run.run_dir)[2].preprocessing


def test_a_resumed_run_has_the_same_range(whole: tuple[RunSummary, Interruption], place: Path, tmp_path: Path):
    run, _ = whole
    output = tmp_path / "runs"
    with pytest.raises(KeyboardInterrupt):
        fit(settings(place, output=output), callbacks=[Interruption(after=7)])
    (stopped,) = output.iterdir()
    resumed = fit(settings(place, output=output), resume=stopped)  # settings that do not name the range
    digests = [open_saved(RunDirectory(folder).weights).info["sha256"] for folder in (run.run_dir, resumed.run_dir)]
    assert digests[0] == digests[1]


def test_another_range_is_another_run(whole: tuple[RunSummary, Interruption], place: Path):
    run, _ = whole
    config = settings(place)
    with raises("data.range"):
        fit(replace(config, data=replace(config.data, range=(0, 4095))), resume=run.run_dir)


def test_data_of_another_bit_depth_raises(whole: tuple[RunSummary, Interruption], tmp_path: Path):
    run, _ = whole
    scans(tmp_path / "moved")
    for path in (tmp_path / "moved").rglob("*.png"):
        Image.new("L", (16, 16)).save(path)
    with raises("range", "folder"):
        evaluate(run.run_dir, root=tmp_path / "moved")


def test_exported_files_have_the_range(whole: tuple[RunSummary, Interruption]):
    network, _, description = load_run(whole[0].run_dir)
    assert hub_config(network, description)["value_range"] == [963, 1132]
    assert "963 to 1132" in model_card(description, 1, {})


def test_a_study_measures_the_range_once_for_all_runs(place: Path, tmp_path: Path):
    config = StudyConfig(
        [NetworkConfig("sparsenet40_24", {"units": 1, "growth": 6}), NetworkConfig("preact_resnet56", {"units": 1})],
        seeds=[0],
        data=replace(settings(place).data, validation=0),
        epochs=1,
        batch_size=8,
        match=None,
        target=None,
        output=tmp_path / "study",
        accelerator="cpu",
        processes=1,
        timing_repeats=0,
    )
    results = run_study(config)
    kept = read(StudyConfig, tmp_path / "study" / "config.yaml").data
    assert kept.range == (963, 1132)
    for run in results.runs:
        assert load_run(tmp_path / "study" / run.run_dir)[1].data == kept
    again = run_study(config)  # settings that do not name it find the same, so that nothing is trained again
    assert [run.run_dir for run in again.runs] == [run.run_dir for run in results.runs]


def test_an_image_of_another_bit_depth_is_named_and_does_not_stop_the_others(
    whole: tuple[RunSummary, Interruption], place: Path, tmp_path: Path
):
    run, _ = whole
    network, _, description = load_run(run.run_dir)
    Image.new("L", (16, 16), 100).save(tmp_path / "bytes.png")
    paths = [place / "scans" / "lesion" / "0.png", tmp_path / "bytes.png", place / "scans" / "clear" / "0.png"]
    first, second, third = predict(network, description, paths)
    assert (first.classes[0], third.classes[0]) == ("lesion", "clear")
    assert_reports(second.problem, paths[1], "8-bit gray")
    with raises("8 bits", 7):
        description.preprocessing(torch.full((3, 16, 16), 7, dtype=torch.uint8))


def test_a_network_for_8_bits_rejects_more(tmp_path: Path, make_tiny, place: Path):
    run = fit(make_tiny(tmp_path, epochs=1))
    network, _, description = load_run(run.run_dir)
    (prediction,) = predict(network, description, [place / "scans" / "lesion" / "0.png"])
    assert_reports(prediction.problem, "16-bit gray")
    with raises("8 bits"):
        description.preprocessing(torch.full((1, 8, 8), 7.0))


@pytest.mark.slow
def test_two_processes_measure_the_same_range(whole: tuple[RunSummary, Interruption], place: Path, tmp_path: Path):
    run = fit(settings(place, output=tmp_path, devices=2, epochs=1))
    assert load_run(run.run_dir)[1].data == load_run(whole[0].run_dir)[1].data


def test_high_bit_depth_images_are_segmented(tmp_path: Path, class_list):
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for number in range(10):
        labels = np.zeros((16, 16), dtype=np.uint8)
        labels[:, rng.integers(4, 12) :] = 1
        Image.fromarray(labels).save(tmp_path / "set" / "masks" / f"{number}.png")
        pixels = 0.1 + 0.001 * labels + rng.normal(0, 1e-5, labels.shape)
        Image.fromarray(pixels.astype(np.float32)).save(tmp_path / "set" / "images" / f"{number}.tif")
    class_list(tmp_path / "set")
    model = ModelConfig("fc_logdensenet103", {"units": [1, 1, 1], "growth": 4})
    data = DataConfig(name="masks", root=tmp_path / "set", validation=2)
    run = fit(FitConfig(model, data, epochs=6, batch_size=2, output=tmp_path / "runs", accelerator="cpu"))
    network, _, description = load_run(run.run_dir)
    image = tmp_path / "set" / "images" / "0.tif"
    Image.new("L", (16, 16)).save(tmp_path / "bytes.png")
    seen, refused = segment(network, description, [image, tmp_path / "bytes.png"])
    assert seen.image is not None
    assert seen.image.dtype == torch.uint8
    assert seen.image.unique().numel() > 10
    assert seen.labels is not None
    truth = np.asarray(Image.open(tmp_path / "set" / "masks" / "0.png"))
    assert (seen.labels.numpy() == truth).mean() > 0.9
    assert "has 8-bit gray" in refused.problem
