"""Fault injection into Lightning, accelerate and plain `torch.save`: kill, stop, NaN.

The faults of `docs/reliability.md` for other tools with their defaults. A linear layer, 96 samples, batch size 4, two
epochs: 48 steps, a checkpoint every 4. Install both first:
`pip install lightning==2.6.6 accelerate==1.15.0`.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.timing import RESULTS, write

SAMPLES, BATCH, EPOCHS, EVERY = 96, 4, 2, 4
STEPS = EPOCHS * SAMPLES // BATCH


@dataclass(frozen=True)
class Row:
    """Result of one tool under one fault."""

    tool: str
    version: str
    fault: str
    seen: str


class Samples(Dataset[tuple[int, Tensor, int]]):
    """Random vectors, each with its index."""

    def __init__(self) -> None:
        self.inputs = torch.randn(SAMPLES, 8, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[int, Tensor, int]:
        return index, self.inputs[index], index % 3


@dataclass
class Task:
    """Task of a run, and its fault.

    Attributes:
        folder: Folder for `batches.txt` with the indices of each step, the final weights, and the tool's checkpoints.
        signal_at: Step after which the run sends itself the signal `sends`; -1 for never.
        nan_at: Step with a NaN loss.
        width: Outputs of the layer, which set the size of a checkpoint.
        resume: Whether to resume from the last checkpoint.
    """

    folder: Path
    signal_at: int = -1
    sends: signal.Signals = signal.SIGKILL
    nan_at: int = -1
    width: int = 3
    resume: bool = False
    step: int = field(default=0, init=False)

    def model(self) -> nn.Linear:
        """The layer; the same one in every run."""
        torch.manual_seed(0)
        return nn.Linear(8, self.width)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The loss of a batch, whose indices are written down."""
        index, inputs, labels = batch
        with (self.folder / "batches.txt").open("a") as file:
            file.write(f"{self.step} {index.tolist()}\n")
        loss = F.cross_entropy(model(inputs), labels)
        return loss * float("nan") if self.step == self.nan_at else loss

    def stepped(self) -> None:
        """A step was taken, and saved if it had to be."""
        self.step += 1
        if self.step == self.signal_at:
            os.kill(os.getpid(), self.sends)

    def finish(self, model: nn.Module) -> None:
        """Keep the weights."""
        torch.save(model.state_dict(), self.folder / "weights.pt")


def lightning(task: Task) -> None:
    """A run of Lightning: `Trainer`, `ModelCheckpoint(save_last=True)`, `ckpt_path="last"`."""
    from lightning import LightningModule, Trainer, seed_everything
    from lightning.pytorch.callbacks import Callback, ModelCheckpoint

    class Net(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = task.model()

        def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> Tensor:
            return task.loss(self.layer, batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

        def on_train_start(self) -> None:
            task.step = self.trainer.global_step

    class Fault(Callback):
        def on_train_batch_end(self, *_: object) -> None:
            task.stepped()

    seed_everything(0)
    net = Net()
    keep = ModelCheckpoint(dirpath=task.folder, every_n_train_steps=EVERY, save_last=True)
    quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = Trainer(max_epochs=EPOCHS, callbacks=[keep, Fault()], accelerator="cpu", **quiet)  # type: ignore[arg-type]
    loader = DataLoader(Samples(), BATCH, shuffle=True)
    trainer.fit(net, loader, ckpt_path="last" if task.resume else None, weights_only=False)
    task.finish(net.layer)


def accelerate(task: Task) -> None:
    """A run of accelerate as its guide writes it: `save_state` with `total_limit=1`, `skip_first_batches`."""
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration, set_seed

    set_seed(0)
    kept = ProjectConfiguration(project_dir=str(task.folder), automatic_checkpoint_naming=True, total_limit=1)
    accelerator = Accelerator(project_config=kept, cpu=True)
    layer = task.model()
    descent = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    model, optimizer, loader = accelerator.prepare(layer, descent, DataLoader(Samples(), BATCH, shuffle=True))
    if task.resume:
        accelerator.load_state()
        last = max(int(path.name.split("_")[1]) for path in (task.folder / "checkpoints").iterdir())
        kept.iteration = last + 1
        task.step = EVERY * (last + 1)
    steps = len(loader)
    for epoch in range(task.step // steps, EPOCHS):
        done = task.step - epoch * steps
        for batch in accelerator.skip_first_batches(loader, done) if done else loader:
            optimizer.zero_grad()
            accelerator.backward(task.loss(model, batch))
            optimizer.step()
            if (task.step + 1) % EVERY == 0:
                accelerator.save_state()
            task.stepped()
    task.finish(accelerator.unwrap_model(model))


def plain(task: Task) -> None:
    """A loop that overwrites one file with `torch.save`."""
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for batch in DataLoader(Samples(), BATCH, shuffle=True):
        optimizer.zero_grad()
        task.loss(model, batch).backward()
        optimizer.step()
        if (task.step + 1) % EVERY == 0:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, task.folder / "last.pt")
        task.stepped()


RUNS: dict[str, Callable[[Task], None]] = {"lightning": lightning, "accelerate": accelerate}


def in_child(run: Callable[[Task], None], task: Task, meanwhile: Callable[[int], None] = lambda _: None) -> int:
    """Run in a process of its own; return its exit status, negative for a signal that ended it."""
    task.folder.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if not child:
        status = 1
        try:
            for number in (1, 2):
                os.dup2(os.open(task.folder / "output.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY), number)
            run(task)
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        except BaseException as error:
            print(repr(error), flush=True)
        finally:
            os._exit(status)
    meanwhile(child)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def batches(folder: Path) -> dict[int, str]:
    """The indices of every step, the last time it was taken."""
    lines = (line.split(" ", 1) for line in (folder / "batches.txt").read_text().splitlines())
    return {int(step): indices for step, indices in lines}


def weights(folder: Path) -> Tensor | None:
    """The weights at the end of a run, if it came there."""
    path = folder / "weights.pt"
    return torch.load(path, weights_only=True)["weight"] if path.exists() else None


def kill_and_resume(run: Callable[[Task], None], folder: Path) -> str:
    """Kill a run in the middle of its first epoch, resume it, and compare it with an uninterrupted one."""
    in_child(run, Task(folder / "uninterrupted"))
    in_child(run, Task(folder / "killed", signal_at=18))
    status = in_child(run, Task(folder / "killed", resume=True))
    right, ours = batches(folder / "uninterrupted"), batches(folder / "killed")
    same = sum(right[step] == ours.get(step) for step in right)
    expected, made = weights(folder / "uninterrupted"), weights(folder / "killed")
    equal = expected is not None and made is not None and torch.equal(expected, made)
    return f"{same} of {STEPS} batches right; final weights {'equal' if equal else 'differ'}; exit status {status}"


def terminate(run: Callable[[Task], None], folder: Path) -> str:
    """Send SIGTERM between two checkpoints."""
    status = in_child(run, Task(folder, signal_at=18, sends=signal.SIGTERM))
    saved = _last_saved(folder)
    return f"exit status {status}; last checkpoint of step {saved}, signal after step 18"


def not_a_number(run: Callable[[Task], None], folder: Path) -> str:
    """Make one loss NaN."""
    status = in_child(run, Task(folder, nan_at=18))
    made = weights(folder)
    end = "trained on to the end" if made is not None else "stopped"
    spoilt = made is not None and bool(made.isnan().any())
    only = "every remaining checkpoint has NaN" if spoilt else "checkpoints are finite"
    return f"{end}, exit status {status}; {only}"


def kill_while_saving(run: Callable[[Task], None], folder: Path, trials: int, width: int) -> str:
    """Kill at random moments while checkpoints are written; count the runs whose last checkpoint can be loaded."""
    chance = random.Random(0)
    loadable = 0
    for trial in range(trials):
        place = folder / str(trial)
        task = Task(place, width=width)

        def kill(child: int, place: Path = place) -> None:
            log = place / "batches.txt"
            while not log.exists() or len(log.read_text().splitlines()) < 2 * EVERY:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.5))
            os.kill(child, signal.SIGKILL)

        in_child(run, task, kill)
        loadable += in_child(lambda task: _load_last(task.folder), Task(place)) == 0
    return f"{loadable} of {trials} last checkpoints can be loaded"


def _checkpoints(folder: Path) -> list[Path]:
    found = [*folder.glob("*.ckpt"), *folder.glob("*.pt"), *folder.glob("checkpoints/*")]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _load_last(folder: Path) -> None:
    """Load what a run would be resumed from; raises if that cannot be."""
    last = folder / "last.ckpt"
    path = last if last.exists() else _checkpoints(folder)[-1]
    if path.is_dir():
        from safetensors.torch import load_file

        load_file(path / "model.safetensors")
        torch.load(path / "optimizer.bin", weights_only=True)
    else:
        torch.load(path, weights_only=False)


def _last_saved(folder: Path) -> int:
    path = _checkpoints(folder)[-1]
    if path.is_dir():
        return EVERY * (int(path.name.split("_")[1]) + 1)
    return int(torch.load(path, weights_only=False)["global_step"])


def main() -> None:
    """Inject all faults, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.others_reliability", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--width", type=int, default=2_000_000, help="outputs of the layer whose checkpoints are cut")
    parser.add_argument("--output", type=Path, default=RESULTS / "others_reliability.csv")
    given = parser.parse_args()
    torch.set_num_threads(1)
    import accelerate as _accelerate  # noqa: F401  imported once: the children are forks
    import lightning as _lightning  # noqa: F401

    rows: list[Row] = []

    def tell(tool: str, fault: str, seen: str) -> None:
        rows.append(Row(tool, version("torch" if tool == "torch.save" else tool), fault, seen))
        print(f"{tool}, {fault}: {seen}", flush=True)

    with tempfile.TemporaryDirectory() as place:
        for tool, run in RUNS.items():
            folder = Path(place) / tool
            tell(tool, "SIGKILL in an epoch, resumed", kill_and_resume(run, folder / "resumed"))
            tell(tool, "SIGTERM", terminate(run, folder / "terminated"))
            tell(tool, "NaN loss", not_a_number(run, folder / "nan"))
        for tool, run in {**RUNS, "torch.save": plain}.items():
            seen = kill_while_saving(run, Path(place) / tool / "cut", given.trials, given.width)
            tell(tool, "SIGKILL while saving", seen)
    write(given.output, rows)
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
