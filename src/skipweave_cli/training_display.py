"""Terminal display of a run: bars of epochs and steps, and one line per epoch; without a terminal, the lines only."""

from collections.abc import Mapping

from rich.console import Console
from rich.progress import Progress, TaskID

from skipweave.training import METRICS, Callback, EpochRow, RunStart, RunSummary
from skipweave_cli.tables import BAR, PlainConsole

_WIDEST = len("100.00 %")


def metrics_text(values: Mapping[str, float]) -> str:
    """The metrics of a split in one line: that to compare by, and the others in brackets."""
    shown = [(METRICS[name], value) for name, value in values.items() if name in METRICS]
    first, *others = [f"{metric.label} {metric.text(value)}" for metric, value in shown]
    return f"{first} ({', '.join(others)})" if others else first


def _first(values: Mapping[str, float]) -> str:
    """The metric to compare by, so wide that lines align."""
    name, value = next(iter(values.items()))
    return f"{METRICS[name].label} {METRICS[name].text(value):>{_WIDEST}}"


class RunDisplay(Callback):
    """Progress bars, a line per epoch, and the results of a run in the terminal."""

    def __init__(self) -> None:
        self._console: Console | None = None  # made where it is used: the display may move to another process first
        self._bars: Progress | None = None
        self._epochs_bar = self._steps_bar = TaskID(0)
        self._epochs = 0

    def on_image_checked(self, done: int, total: int) -> None:
        """Advance the bar of the images read."""
        self._console = self._console or PlainConsole(soft_wrap=True)
        if not self._console.is_terminal:
            return
        if not self._bars:
            self._bars = Progress(*BAR, console=self._console, transient=True)
            self._steps_bar = self._bars.add_task("reading images", total=total)
            self._bars.start()
        self._bars.update(self._steps_bar, completed=done, total=total)

    def on_fit_start(self, start: RunStart) -> None:
        """Print what is trained and where, and start the bars."""
        self.teardown()
        self._epochs = start.epochs
        images = ", ".join(f"{number:,} {split}" for split, number in start.images.items())
        processes = f", {start.processes} processes" if start.processes > 1 else ""
        frozen = start.trained_parameters != start.parameters
        trained = f" ({start.trained_parameters:,} trained)" if frozen else ""
        self._print(f"{start.model}, {start.parameters:,} parameters{trained}, on {start.data} ({images} images)")
        self._print(f"{start.device}{processes}; run directory: {start.run_dir}")
        for note in start.notes:
            self._print(note)
        if start.epoch or start.step:
            self._print(f"resuming after {start.epoch} epochs and {start.step} of {start.steps} steps")
        if self._console and self._console.is_terminal:
            self._bars = Progress(*BAR, console=self._console, transient=True)
            self._epochs_bar = self._bars.add_task("epochs", total=start.epochs, completed=start.epoch)
            self._steps_bar = self._bars.add_task("steps", total=start.steps, completed=start.step)
            self._bars.start()

    def on_log(self, epoch: int, step: int, loss: float) -> None:
        """Advance the bar of steps."""
        if self._bars:
            self._bars.update(self._steps_bar, completed=step, description=f"loss {loss:.4f}")

    def on_epoch_end(self, row: EpochRow) -> None:
        """Print the epoch's line."""
        if self._bars:
            self._bars.update(self._epochs_bar, completed=row.epoch)
        splits = {"training": row.train_metrics, "validation": row.val_metrics}
        shown = [f"   {split} {_first(values)}" for split, values in splits.items() if values]
        self._print(
            f"epoch {row.epoch:>{len(str(self._epochs))}}/{self._epochs}   lr {row.lr:<8.3g} "
            f"loss {row.train_loss:<8.4f}{''.join(shown)}   {row.seconds:>6.1f} s"
        )

    def on_fit_end(self, summary: RunSummary) -> None:
        """Remove the bars and print the results."""
        self.teardown()
        weights = "best by validation" if summary.weights == "best" else "of the last epoch"
        if summary.test_metrics:
            self._print(f"test {metrics_text(summary.test_metrics)}, weights {weights}")
        if summary.tta_value is not None:
            metric = METRICS[summary.metric]
            self._print(f"test {metric.label} with test-time augmentation {metric.text(summary.tta_value)}")
        if summary.stopped_early:
            self._print(f"stopped early, after {summary.epochs} epochs: no improvement for early_stopping.patience")
        for phase in summary.phases:
            self._print(f"density {phase.density:g}: {phase.steps} steps, {phase.steps_per_second:.1f} per second")
        if summary.skipped:
            self._print(f"{summary.skipped} training image(s) could not be read and were left out: see skipped.csv")
        self._print(f"weights, metrics and curves are in {summary.run_dir}")

    def teardown(self) -> None:
        """Remove the bars."""
        if self._bars:
            self._bars.stop()
            self._bars = None

    def _print(self, line: str) -> None:
        self._console = self._console or PlainConsole(soft_wrap=True)
        self._console.print(line)
