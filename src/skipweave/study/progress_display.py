"""Progress display of a study: a bar for the study, one per run in progress, and a line per finished run."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from skipweave.study.halving import rung_text
from skipweave.study.results import Network, Run, Rung
from skipweave.training import METRICS, Callback, EpochRow, Metric, RunStart
from skipweave_config.printable import printable

#: Label and seed.
RunName = tuple[str, int]


class Display:
    """Follows a study; every method does nothing."""

    def on_study_start(self, networks: Sequence[Network], runs: int, finished: int) -> None:
        """Called before training with the networks, the number of runs, and the number of those finished before."""

    def on_note(self, note: str) -> None:
        """Called before training with what the user should know."""

    def on_run_start(self, run: RunName) -> Callback:
        """Called when a run gets its process; returns the callback of the run."""
        return Callback()

    def on_run_lost(self, run: RunName, reason: str) -> None:
        """Called when the machine that trains a run is gone, before the run is started again."""

    def on_run_end(self, run: Run, metric: Metric) -> None:
        """Called when a run has finished or failed, or was stopped to be resumed."""

    def on_rung_end(self, rung: Rung, runs: int, metric: Metric) -> None:
        """Called when successive halving has compared the networks after some epochs, and ended so many runs."""

    def on_engines(self, network: Network) -> None:
        """Called before a network is converted for the engines in which it is timed."""

    def on_timing_round_end(self, done: int, rounds: int) -> None:
        """Called after each round of the timing."""


class RichDisplay(Display):
    """Shows a study on a terminal; to a file or pipe it writes the lines only."""

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
        self._runs: dict[RunName, _RunBar] = {}
        self._timing: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def on_study_start(self, networks: Sequence[Network], runs: int, finished: int) -> None:
        """Print the networks and their costs."""
        for network in networks:
            if network.cost is None:
                self._print(f"{network.label}: cannot be built: {network.failure}", style="red")
            else:
                args = ", ".join(f"{key}={value}" for key, value in network.args.items())
                model = f"{network.model}; {args}" if args else network.model
                counts = f"{network.cost.parameters:,} parameters, {network.cost.macs:,} multiply-accumulates"
                self._print(f"{network.label}: {counts} ({model})")
        if finished:
            self._print(f"{finished} of {runs} runs were finished before.")
        self._study = self._bars.add_task("study", total=runs, completed=finished, unit="runs")

    def on_note(self, note: str) -> None:
        """Print it."""
        self._print(note)

    def on_run_start(self, run: RunName) -> Callback:
        """Add the run's bar."""
        self._runs[run] = _RunBar(self._bars, _named(run))
        return self._runs[run]

    def on_run_lost(self, run: RunName, reason: str) -> None:
        """Replace the run's bar by a line."""
        self._remove_bar(run)
        self._print(f"{_named(run)}: its worker is lost ({reason}); it starts again from its last checkpoint")

    def on_run_end(self, run: Run, metric: Metric) -> None:
        """Replace the run's bar by a line."""
        name = (run.label, run.seed)
        self._remove_bar(name)
        if self._study is not None and (run.failure or run.value is not None):
            self._bars.advance(self._study)
        if run.failure:
            self._print(f"{_named(name)}: failed: {run.failure}", style="red")
        elif run.value is not None:
            result = f"test {metric.label} {metric.text(run.value)}"
            augmented = "" if run.tta_value is None else f" (with test-time augmentation {metric.text(run.tta_value)})"
            self._print(f"{_named(name)}: {result}{augmented}, trained in {run.train_seconds:.0f} s")

    def on_rung_end(self, rung: Rung, runs: int, metric: Metric) -> None:
        """Print which networks are stopped."""
        self._print(f"Stopped {rung_text(rung, metric)}.")
        if self._study is not None:
            self._bars.advance(self._study, runs)

    def on_engines(self, network: Network) -> None:
        """Show it at the study's bar."""
        if self._study is not None:
            self._bars.update(self._study, unit=f"runs, converting {escape(printable(network.label))}")

    def on_timing_round_end(self, done: int, rounds: int) -> None:
        """Advance the timing's bar."""
        if self._timing is None:
            if self._study is not None:
                self._bars.update(self._study, unit="runs")
            self._timing = self._bars.add_task("measuring time, all networks interleaved", total=rounds, unit="rounds")
        self._bars.update(self._timing, completed=done)

    def _remove_bar(self, run: RunName) -> None:
        if bar := self._runs.pop(run, None):
            self._bars.remove_task(bar.task)

    def _print(self, text: str, style: str = "") -> None:
        """Print a line above the bars, as it is."""
        self._bars.console.print(text, style=style, soft_wrap=True)


class _RunBar(Callback):
    """The bar of one run."""

    def __init__(self, bars: Progress, name: str) -> None:
        self._bars = bars
        self._name = name
        self._steps = 0  # per epoch
        self.task = bars.add_task(f"  {escape(name)}", total=None, unit="starting")

    def on_fit_start(self, start: RunStart) -> None:
        done, self._steps = start.epoch * start.steps + start.step, start.steps
        if done:
            line = f"{self._name}: resuming at epoch {start.epoch + 1}, step {start.step}"
            self._bars.console.print(line, soft_wrap=True)
        self._bars.update(self.task, total=start.epochs * start.steps, completed=done, unit="steps")

    def on_step_end(self, epoch: int, step: int) -> None:
        self._bars.update(self.task, completed=epoch * self._steps + step)

    def on_epoch_end(self, row: EpochRow) -> None:
        split, values = ("validation", row.val_metrics) if row.val_metrics else ("training", row.train_metrics)
        name, value = next(iter(values.items()))
        self._bars.update(self.task, unit=f"steps, {split} {METRICS[name].label} {METRICS[name].text(value)}")


def _named(run: RunName) -> str:
    return printable(f"{run[0]}, seed {run[1]}")
