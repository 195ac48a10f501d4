"""The training loop: when it waits for the device and other processes, and what that must not change."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from skipweave.data import DataConfig, batch_indices, load
from skipweave.training import FitConfig, ModelConfig, RunSummary, fit, loop
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.distributed.synchronization import STEPS_PER_SYNC, StepBuffer
from skipweave.training.learner import Learner
from skipweave.training.run.run_directory import RunDirectory
from skipweave_cli.commands.fit import fit as run_fit
from skipweave_cli.options import FitOptions
from skipweave_config.config_files import as_plain
from skipweave_config.errors import SkipweaveError

Tiny = Callable[..., FitConfig]
# Operations that wait for an accelerator, as the size or the value of their result is needed on the host.
WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::bincount", "aten::equal"}


@pytest.fixture
def as_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Synchronize every ten steps, in a single process on the CPU."""

    class Buffer(StepBuffer):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            self.interval = STEPS_PER_SYNC

    monkeypatch.setattr(loop, "StepBuffer", Buffer)


class CountWaits(TorchDispatchMode):
    """Counts what would make the host wait for an accelerator."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        indices = args[1] if operation.name().startswith("aten::index.") else ()
        masked = any(isinstance(index, Tensor) and index.dtype is torch.bool for index in indices)
        self.waits += masked or operation.name().partition(".")[0] in WAITING
        return operation(*args, **(kwargs or {}))


def label_maps(tmp_path: Path, make_pairs, class_list) -> dict[str, object]:
    """Changes to a tiny run that make it one of 2 x 6 steps on segmentation masks."""
    make_pairs(tmp_path / "pictures", [f"picture{number}" for number in range(20)])
    class_list(tmp_path / "pictures")
    return dict(
        model=ModelConfig("fc_logdensenet103", {"units": [1, 1, 1], "growth": 4}),
        data=DataConfig(name="masks", root=tmp_path / "pictures", crop=8, validation=4),
        batch_size=2,
    )


@pytest.mark.usefixtures("as_on_an_accelerator")
@pytest.mark.parametrize(("masks", "steps", "copies"), [(False, 22, 4), (True, 12, 2)])
def test_one_wait_per_interval(
    tiny: Tiny, tmp_path: Path, make_pairs, class_list, monkeypatch: pytest.MonkeyPatch, masks, steps, copies
):
    """11 steps per epoch are two intervals, 6 are one; a step waits for nothing, a synchronization copies once."""
    in_steps, in_synchronizations, copied, count = CountWaits(), [], 0, 0

    def watched(name: str) -> None:
        method = getattr(Learner, name)

        def watch(*args: object) -> object:
            nonlocal count
            count += name == "optimizer_step"
            with in_steps:
                return method(*args)

        monkeypatch.setattr(Learner, name, watch)

    def copy(tensor: Tensor) -> Tensor:
        nonlocal copied
        copied += 1
        return tensor.clone()

    def synchronize(self: loop.Loop, since: float) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(Tensor, "cpu", copy)
            before = copied
            answer = original(self, since)
        in_synchronizations.append(copied - before)
        return answer

    original = loop.Loop.synchronize
    watched("backward")
    watched("optimizer_step")
    monkeypatch.setattr(loop.Loop, "synchronize", synchronize)
    fit(tiny(**(label_maps(tmp_path, make_pairs, class_list) if masks else {})))
    assert (in_steps.waits, count) == (0, steps)
    assert in_synchronizations == [1] * copies


COUNTING = """
import json, os, pathlib, sys
from torch import distributed
from skipweave_cli import main
from skipweave.training import loop

counts, all_reduce, train_epoch = [0], distributed.all_reduce, loop.Loop.train_epoch

def counted(*args, **options):
    counts[-1] += 1
    return all_reduce(*args, **options)

def epoch(self):
    counts.append(0)
    train_epoch(self)
    counts.append(0)

distributed.all_reduce, loop.Loop.train_epoch = counted, epoch
status = main({words})
pathlib.Path("counts_" + os.environ["RANK"] + ".json").write_text(json.dumps(counts[1::2]))
assert status == 0
"""


def test_one_all_reduce_per_interval(run_command, tiny: Tiny, tmp_path: Path):
    """Beside those of the gradients, which DistributedDataParallel sums up by itself."""
    settings, script = tmp_path / "settings.yaml", tmp_path / "count.py"
    settings.write_text(yaml.safe_dump(as_plain(tiny(devices=2))))
    script.write_text(COUNTING.replace("{words}", repr(["fit", "--config", str(settings)])))
    ended = run_command([script], processes=2)
    assert ended.status == 0, ended.texts
    counts = [json.loads((tmp_path / f"counts_{rank}.json").read_text()) for rank in (0, 1)]
    assert counts == [[2, 2], [2, 2]]  # after 10 and 11 steps of each epoch


def result(summary: RunSummary) -> tuple[object, ...]:
    """What a run computed, wall-clock times aside."""
    saved = open_saved(RunDirectory(summary.run_dir).last)
    rows = [{**row, "seconds": 0, "step_seconds": 0, "energy_wh": 0} for row in saved.info["state"]["rows"]]
    return saved.info["sha256"], rows


def test_the_interval_changes_no_result(tiny: Tiny, request: pytest.FixtureRequest):
    every_step = result(fit(tiny()))
    request.getfixturevalue("as_on_an_accelerator")
    assert result(fit(tiny())) == every_step
    assert result(fit(tiny(checkpoint_every=3))) == every_step


@pytest.mark.usefixtures("as_on_an_accelerator")
@pytest.mark.parametrize("batch", [3, 7, 11])
def test_the_first_non_finite_loss_of_an_interval_is_named(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, batch: int):
    real, met = loop.epoch_loader, 0

    def poisoned(*args: object, **settings: object) -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal met
        for images, labels in real(*args, **settings):  # type: ignore[arg-type]
            met += 1
            yield (images * nan, labels) if met == batch else (images, labels)

    monkeypatch.setattr(loop, "epoch_loader", poisoned)
    config = tiny(checkpoint_every=8)
    with pytest.raises(SkipweaveError):
        fit(config)
    assert met <= batch + STEPS_PER_SYNC
    (run,) = map(RunDirectory, config.output.iterdir())
    report = json.loads(run.divergence.read_text())
    size = len(load(config.data).train)
    assert (report["epoch"], report["step"], report["loss"]) == (1, batch, "nan")
    assert report["training_images"] == batch_indices(size, config.batch_size, seed=0, epoch=0, step=batch - 1)
    saved, _ = run.newest()
    assert (saved and saved.info["state"]["step"]) == (8 if batch > 8 else None)


def test_a_batch_passes_five_files(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    """From the command to the step of the optimizer."""
    passed: set[str] = set()
    step = torch.optim.SGD.step

    def watched(*args: object, **options: object) -> object:
        frame = sys._getframe()
        while frame := frame.f_back:
            if found := re.search(r"/(skipweave\w*/.+)$", frame.f_code.co_filename):
                passed.add(found[1])
        return step(*args, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    config = tiny(epochs=1, batch_size=512)
    run_fit(FitOptions(replace(config, schedule=replace(config.schedule, milestones=()))))
    assert "skipweave_cli/commands/fit.py" in passed
    assert len(passed) <= 5, passed
