"""What a study shows while it goes on: a bar for the study, one for each run at work, a line for each that ends."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from skipweave.study.results import Network, Run
from skipweave.training import EpochRow, RunStart
from skipweave_config.printable import printable

#: Label and seed.
RunName = tuple[str, int]


class Display:
    """Told what a study does; shows what its subclasses choose to."""

    def planned(self, networks: Sequence[Network], runs: int, finished: int) -> None:
        """Before training: the networks, how many runs there are, and how many were finished before."""

    def noted(self, note: str) -> None:
        """What the user should know before anything is trained."""

    def run_begun(self, run: RunName) -> None:
        """A run waits for its process and its data."""

    def run_started(self, run: RunName, start: RunStart) -> None:
        """A run trains its first step, or goes on where it stopped."""

    def run_stepped(self, run: RunName, epoch: int, step: int) -> None:
        """A run has done so many steps of an epoch (counted from 0)."""

    def run_epoch(self, run: RunName, row: EpochRow) -> None:
        """A run has done an epoch."""

    def run_ended(self, run: Run) -> None:
        """A run has its error, or its failure."""

    def timing(self, done: int, rounds: int) -> None:
        """So many rounds of the timing are done."""


class Silent(Display):
    """Shows nothing."""


class RichDisplay(Display):
    """Shows a study on a terminal; to a file or pipe it writes the lines only.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._study: TaskID | None = None
        self._runs: dict[RunName, tuple[TaskID, int]] = {}  # its bar, and its steps an epoch
        self._timing: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def planned(self, networks: Sequence[Network], runs: int, finished: int) -> None:
        """Name the networks and their costs."""
        for network in networks:
            if network.cost is None:
                self._print(f"{network.label}: cannot be built: {network.failure}", style="red")
            else:
                args = ", ".join(f"{key}={value}" for key, value in network.args.items())
                counts = f"{network.cost.parameters:,} parameters, {network.cost.macs:,} multiply-accumulates"
                self._print(f"{network.label}: {counts} ({network.model}; {args})")
        if finished:
            self._print(f"{finished} of {runs} runs were finished before.")
        self._study = self._bars.add_task("study", total=runs, completed=finished, unit="runs")

    def noted(self, note: str) -> None:
        """Print it."""
        self._print(note)

    def run_begun(self, run: RunName) -> None:
        """Give the run a bar."""
        self._runs[run] = (self._bars.add_task(f"  {escape(_named(run))}", total=None, unit="starting"), 0)

    def run_started(self, run: RunName, start: RunStart) -> None:
        """Give the bar its length; say so if the run goes on from a checkpoint."""
        done = start.epoch * start.steps + start.step
        if done:
            self._print(f"{_named(run)}: going on from epoch {start.epoch + 1}, step {start.step}")
        task, _ = self._runs[run]
        self._runs[run] = (task, start.steps)
        self._bars.update(task, total=start.epochs * start.steps, completed=done, unit="steps")

    def run_stepped(self, run: RunName, epoch: int, step: int) -> None:
        """Move the bar."""
        task, steps = self._runs[run]
        self._bars.update(task, completed=epoch * steps + step)

    def run_epoch(self, run: RunName, row: EpochRow) -> None:
        """Show the newest error."""
        split, error = ("training", row.train_error) if row.val_error is None else ("validation", row.val_error)
        self._bars.update(self._runs[run][0], unit=f"steps, {split} error {error:.2f} %")

    def run_ended(self, run: Run) -> None:
        """Replace the bar by a line."""
        name = (run.label, run.seed)
        self._bars.remove_task(self._runs.pop(name)[0])
        if self._study is not None:
            self._bars.advance(self._study)
        if run.failure:
            self._print(f"{_named(name)}: failed: {run.failure}", style="red")
        else:
            self._print(f"{_named(name)}: test error {run.error:.2f} %, trained in {run.train_seconds:.0f} s")

    def timing(self, done: int, rounds: int) -> None:
        """Move the timing's bar."""
        if self._timing is None:
            self._timing = self._bars.add_task("measuring time, all networks in turns", total=rounds, unit="rounds")
        self._bars.update(self._timing, completed=done)

    def _print(self, text: str, style: str = "") -> None:
        """Print a line above the bars, as it is."""
        self._bars.console.print(text, style=style, soft_wrap=True)


def _named(run: RunName) -> str:
    return printable(f"{run[0]}, seed {run[1]}")
