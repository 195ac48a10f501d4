"""A run on a folder with damaged images: it stops, or is the run on the same folder without them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig, FileDataset
from skipweave.inference import predict
from skipweave.training import FitConfig, ModelConfig, RunSummary, fit, load_run
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory
from skipweave_cli import main
from skipweave_config.errors import SkipweaveError
from tests.errors import raises
from tests.training.end_to_end.interruption import Interruption

BAD = ("train/ape/3.png", "train/cat/7.png")


def settings(place: Path) -> FitConfig:
    """Bright and dark pictures, 20 each, with a validation split; two of the training pictures are damaged."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 4)):
        for name, least in (("ape", 0), ("cat", 128)):
            folder = place / "photos" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(least, least + 128, (9, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    for name in BAD:
        path = place / "photos" / name
        path.write_bytes(path.read_bytes()[:-30])
    model = ModelConfig("sparsenet40_24", {"units": 1, "growth": 4})
    data = DataConfig(name="folder", root=place / "photos", image_size=8, on_bad="skip")
    return FitConfig(model, data, epochs=2, batch_size=8, output=place / "runs", accelerator="cpu", checkpoint_every=3)


@pytest.fixture
def config(tmp_path: Path) -> FitConfig:
    return settings(tmp_path)


@pytest.fixture
def photos(config: FitConfig, tmp_path: Path) -> Path:
    return tmp_path / "photos"


def digest(run: Path) -> str:
    return open_saved(RunDirectory(run).weights).info["sha256"]


@pytest.fixture(scope="module")
def listener() -> Interruption:
    return Interruption(after=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, listener: Interruption) -> RunSummary:
    """A run that skips, never disturbed."""
    return fit(settings(tmp_path_factory.mktemp("whole")), callbacks=[listener])


def test_by_default_an_unreadable_image_stops_the_run_and_is_named(config: FitConfig):
    with pytest.raises(SkipweaveError, match=r"photos/train/(ape/3|cat/7)\.png"):
        fit(replace(config, data=replace(config.data, on_bad="raise")))


def test_skipped_images_are_named_and_counted(whole: RunSummary, listener: Interruption):
    folder = RunDirectory(whole.run_dir)
    skipped = folder.read_skipped() or []
    assert whole.skipped == 2
    assert folder.read_summary() == whole
    assert [image.file.endswith(name) for image, name in zip(skipped, BAD, strict=True)] == [True, True]
    assert any(note.startswith("2 ") and str(folder.skipped) in note for note in listener.notes)
    assert listener.read[39:41] == [(40, 40), (1, 8)]


def test_skipping_trains_as_without_the_files(whole: RunSummary, config: FitConfig, photos: Path):
    for name in BAD:
        (photos / name).unlink()
    other = fit(replace(config, data=replace(config.data, on_bad="raise")))
    assert other.skipped == 0
    assert not RunDirectory(other.run_dir).skipped.exists()
    assert digest(other.run_dir) == digest(whole.run_dir)


def test_a_resumed_run_skips_the_same_images(whole: RunSummary, config: FitConfig, photos: Path):
    with pytest.raises(KeyboardInterrupt):
        fit(config, callbacks=[Interruption(after=5)])
    run = config.output / "sparsenet40_24_folder_1"
    Image.new("RGB", (8, 8)).save(photos / BAD[0])  # mended
    listener = Interruption(after=0)
    resumed = fit(replace(config, data=replace(config.data, workers=2)), resume=run, callbacks=[listener])
    assert listener.read == []
    assert (resumed.skipped, resumed.run_dir) == (2, run)
    assert digest(run) == digest(whole.run_dir)


def test_known_unreadable_images_are_not_checked_again(whole: RunSummary, config: FitConfig):
    listener = Interruption(after=0)
    run = fit(config, callbacks=[listener], skipped_images=RunDirectory(whole.run_dir).read_skipped())
    assert listener.read == []
    assert run.skipped == 2
    assert digest(run.run_dir) == digest(whole.run_dir)


def test_resuming_with_other_images_raises(config: FitConfig, photos: Path):
    with pytest.raises(KeyboardInterrupt):
        fit(config, callbacks=[Interruption(after=5)])
    run = config.output / "sparsenet40_24_folder_1"
    (photos / "train" / "ape" / "0.png").unlink()
    with raises("training image"):
        fit(config, resume=run)
    (run / "skipped.csv").write_text("index,file\n")
    with raises(run / "skipped.csv"):
        fit(config, resume=run)


@pytest.mark.parametrize("on_bad", ["raise", "skip"])
def test_evaluation_skips_nothing(config: FitConfig, photos: Path, on_bad: str):
    for name in BAD:
        (photos / name).unlink()
    (photos / "val" / "cat" / "1.png").write_bytes(b"")
    with raises(photos / "val" / "cat" / "1.png"):
        fit(replace(config, data=replace(config.data, on_bad=on_bad)))
    if on_bad == "skip":  # and raises before training
        assert not config.output.exists()


@pytest.mark.slow
def test_two_processes_skip_the_same_images(config: FitConfig):
    config = replace(config, devices=2, epochs=1)
    summary = fit(config)
    assert summary.skipped == 2
    assert [image.index for image in RunDirectory(summary.run_dir).read_skipped() or ()] == [13, 37]


def test_exif_rotation_is_applied_in_training_and_prediction(whole: RunSummary, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "lying.png", exif=exif)
    Image.fromarray(pixels).save(tmp_path / "upright.png")
    paths = [tmp_path / "lying.png", tmp_path / "upright.png"]
    images = FileDataset(paths, [0, 0], in_chans=3)
    assert torch.equal(images[0][0], images[1][0])
    network, _, description = load_run(whole.run_dir)
    lying, upright = predict(network, description, paths)
    assert lying.probabilities == upright.probabilities


def test_classes_whose_directories_are_not_utf8_are_escaped(config: FitConfig, photos: Path, tmp_path: Path):
    try:
        for part in ("train", "val"):
            (photos / part / "cat").rename(photos / part / "caf\udce9")  # the byte e9
    except (OSError, UnicodeError):
        pytest.skip("this file system accepts UTF-8 only")
    summary = fit(replace(config, epochs=1))
    assert load_run(summary.run_dir)[2].classes == ("ape", "caf\\udce9")
    assert main(["export", str(summary.run_dir), "--output", str(tmp_path / "out"), "--formats", "[timm, onnx]"]) == 0
    labels = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["label_names"]
    assert labels == ["ape", "caf\\udce9"]
