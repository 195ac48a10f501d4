"""Two processes against the definition: one that runs their shares of a batch in turn and averages the gradients."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from lightning_fabric import Fabric
from torch import nn
from torch.multiprocessing import ProcessExitedException
from torch.nn import functional

from skipweave.data import epoch_loader, load, mix_seed
from skipweave.inference import evaluate
from skipweave.inference.evaluation import Outputs, evaluate_images
from skipweave.training import FitConfig, ModelConfig, OptimConfig, fit
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.model_building import arguments_for, build_network
from skipweave.training.run.loading import load_run_images
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.config_files import as_plain
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_reports, raises


def in_turn(config: FitConfig, processes: int) -> nn.Module:
    """Train as `processes` processes do, in one."""
    data = load(config.data)
    torch.manual_seed(mix_seed(config.seed))
    network = build_network(config.model.name, arguments_for(config.model.name, config.model.args, data)).double()
    optim = config.optim
    optimizer = torch.optim.SGD(network.parameters(), 0, optim.momentum, 0, optim.weight_decay, optim.nesterov)
    for epoch in range(config.epochs):
        shares = [
            epoch_loader(
                data.train,
                data.train_transform,
                batch_size=config.batch_size // processes,
                seed=config.seed,
                epoch=epoch,
                shuffle=True,
                rank=rank,
                world_size=processes,
                drop_last=True,
            )
            for rank in range(processes)
        ]
        for step, batches in enumerate(zip(*shares, strict=True)):
            steps = len(data.train) // config.batch_size
            factor = config.schedule.factor(epoch * steps + step, config.epochs * steps, epoch)
            optimizer.param_groups[0]["lr"] = optim.lr * factor
            optimizer.zero_grad()
            statistics = {}
            for rank, (images, labels) in enumerate(batches):
                torch.manual_seed(mix_seed(config.seed, epoch, step, rank))
                logits = network(images.double()).float()  # as Fabric hands them out, whatever the precision inside
                loss = functional.cross_entropy(logits, labels)
                (loss / processes).backward()
                statistics = statistics or {name: buffer.clone() for name, buffer in network.named_buffers()}
            network.load_state_dict(statistics, strict=False)  # those of the first share
            optimizer.step()
    return network


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., FitConfig]) -> RunDirectory:
    config = make_tiny(
        tmp_path_factory.mktemp("runs"), devices=2, precision="64-true", optim=OptimConfig(decay_norms_and_biases=True)
    )
    return RunDirectory(fit(replace(config, data=replace(config.data, validation=701))).run_dir)


def test_two_processes_compute_what_one_does_with_their_shares_in_turn(run: RunDirectory):
    expected = in_turn(run.read_config(), 2).state_dict()
    trained = open_saved(run.last).tensors("network/")
    assert trained.keys() == expected.keys()
    for name, tensor in trained.items():
        assert torch.allclose(tensor, expected[name], rtol=1e-9, atol=1e-12), name


def test_activation_checkpointing_in_two_processes_changes_nothing(run_command, run: RunDirectory, tmp_path: Path):
    settings, output = tmp_path / "settings.yaml", tmp_path / "runs"
    settings.write_text(yaml.safe_dump(as_plain(replace(run.read_config(), grad_checkpointing=True, output=output))))
    assert run_command(["fit", "--config", settings], processes=2).status == 0
    (again,) = map(RunDirectory, output.iterdir())
    trained = open_saved(again.last).tensors("network/")
    for name, expected in open_saved(run.last).tensors("network/").items():
        assert torch.allclose(trained[name], expected, rtol=1e-9, atol=1e-12), name


def test_two_processes_score_every_image_once(run: RunDirectory):
    row = open_saved(run.last).info["state"]["rows"][-1]
    (scores,) = evaluate(run.path, "validation", "last")
    assert scores.images == 701
    assert row["val_metrics"]["top1_error"] == scores.value
    assert row["val_loss"] == pytest.approx(scores.mean_loss, rel=1e-5)


def test_predictions_of_two_processes_are_those_of_one(run: RunDirectory):
    images = load_run_images(run.path, "test")
    outputs = Outputs()
    (metrics,) = evaluate_images(images, outputs=outputs)
    predictions = run.read_test_predictions()
    assert predictions is not None
    assert predictions.labels.tolist() == outputs.labels.tolist()
    assert predictions.predicted.tolist() == outputs.logits.argmax(1).tolist()
    assert 100 * predictions.wrong.mean() == pytest.approx(metrics.value, abs=1e-12)


def test_processes_differ_in_data_and_agree_in_weights_after_every_step(
    run_command, tmp_path: Path, make_tiny: Callable[..., FitConfig]
):
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(as_plain(make_tiny(tmp_path / "runs", devices=2))))
    words = ["fit", "--config", settings]
    assert run_command(words, at="trace", rank=None, folder=tmp_path, processes=2).status == 0
    lines = [(tmp_path / f"trace_{rank}.txt").read_text().splitlines() for rank in (0, 1)]
    batches, weights = ([[line.split()[part] for line in trace] for trace in lines] for part in (0, 1))
    assert weights[0] == weights[1]
    assert len(set(weights[0])) == 22
    assert len({*batches[0], *batches[1]}) == 44


@pytest.mark.slow
def test_a_split_of_fewer_images_than_processes_is_scored(tmp_path: Path, make_tiny: Callable[..., FitConfig]):
    config = make_tiny(tmp_path, devices=2, epochs=1, batch_size=512)
    summary = fit(replace(config, data=replace(config.data, validation=1)))
    assert summary.val_value in (0, 100)


@pytest.mark.slow
def test_an_error_of_several_processes_is_raised_once(tmp_path: Path):
    config = FitConfig(ModelConfig("sparsnet40_24"), devices=2, accelerator="cpu", output=tmp_path / "runs")
    with raises("sparsnet40_24", "sparsenet40_24"):
        fit(config)
    assert not config.output.exists()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.slow
def test_a_killed_process_raises_with_the_checkpoint_and_the_command_to_resume(
    tmp_path: Path, make_tiny: Callable[..., FitConfig], rank: int
):
    """Processes are killed as the kernel does where memory is short, once there is a checkpoint."""
    config = make_tiny(tmp_path, devices=2, epochs=100_000, checkpoint_every=1)

    def kill() -> None:
        while not list(tmp_path.glob("*/checkpoints/previous.safetensors")) and not ended.is_set():
            time.sleep(0.01)
        processes = sorted(multiprocessing.active_children(), key=lambda process: process.pid or 0)
        processes[rank].kill()

    ended = threading.Event()  # where there is nobody left to kill
    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        try:
            with pytest.raises(SkipweaveError) as caught:
                fit(config)
        finally:
            ended.set()
    killing.result()
    (run,) = map(RunDirectory, tmp_path.iterdir())
    assert_reports(str(caught.value), f"process {rank}", "SIGKILL", run.last, f"skipweave fit --resume {run.path}")


@pytest.mark.parametrize("begun", [True, False])
def test_a_process_killed_before_the_first_checkpoint_raises(
    monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., FitConfig], begun: bool
):
    config = tiny(devices=2)

    def launch(fabric: Fabric, work: partial) -> None:
        if begun:
            work.args[0](RunDirectory.create(config).path)
        raise ProcessExitedException("process 1 terminated with signal SIGKILL", 1, 0, -9, "SIGKILL")

    monkeypatch.setattr(Fabric, "launch", launch)
    run = config.output / "sparsenet40_24_digits_1"
    with raises("process 1", "SIGKILL", *([f"skipweave fit --resume {run}"] if begun else [])):
        fit(config)
