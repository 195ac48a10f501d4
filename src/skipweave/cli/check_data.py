"""`skipweave check-data`: read a data set through before training, and list what is wrong with it."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from skipweave.cli.output_files import make_room
from skipweave.cli.tables import BAR, new_table, print_table, say, say_of_workers
from skipweave.data import DataConfig, DataReport, Finding, check_dataset
from skipweave.errors import SkipweaveError
from skipweave.files.atomic_write import as_csv, write_text
from skipweave.ops.cpu.processor import cores
from skipweave.training import FitConfig

_KIND = {True: "bad", False: "note"}


def check_data(config: FitConfig, save: Path | None = None, workers: int | None = None) -> int:
    """Read every image of every split as training does, and list what is wrong: with files, sizes, labels, folders.

    What is `bad` stops training or evaluation; a `note` tells what they pass over or read all the same. The status is 2
    if anything is bad, else 0.

    Args:
        config: the settings, as `skipweave fit` takes them; those of the data count.
        save: also write the list to this .csv file, which must not exist yet.
        workers: processes that read; by default one a processor core.
    """
    if save:
        if save.suffix != ".csv":
            raise SkipweaveError(f"save is {save}: expected a name that ends in .csv")
        make_room([save])
    elif config.output.suffix == ".csv":
        raise SkipweaveError(f"output is {config.output}, the folder of runs: name the file for the list by --save")
    if workers is not None:
        say_of_workers(workers)
    report = _read(config.data, cores() if workers is None else workers)
    if report.findings:
        _show(report.findings)
    _show_values(report)
    if save:
        _write(save, report.findings)
    notes = len(report.findings) - report.bad
    say(
        f"{report.images:,} images read: " + (f"{report.bad:,} bad, {notes:,} notes" if report.findings else "all well")
    )
    return 2 if report.bad else 0


def _read(config: DataConfig, workers: int) -> DataReport:
    console = Console()
    with Progress(*BAR, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        return check_dataset(
            config, workers=workers, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )


def _show(findings: Sequence[Finding]) -> None:
    table = new_table("", "where", "problem", right=("",))
    for finding in sorted(findings, key=lambda finding: not finding.bad):
        table.add_row(_KIND[finding.bad], finding.place, finding.problem)
    print_table(table)


def _show_values(report: DataReport) -> None:
    """The kinds of images, and from where to where their values go."""
    numbers = ("images", "lowest value", "highest value")
    table = new_table("kind", *numbers, right=numbers)
    for values in report.values:
        table.add_row(values.kind, f"{values.images:,}", f"{values.low:g}", f"{values.high:g}")
    if report.values:
        print_table(table)
    if report.range:
        low, high = report.range
        say(f"values from {low:g} to {high:g} become 0 to 1 in training (data.range)")


def _write(path: Path, findings: Sequence[Finding]) -> None:
    rows = ((_KIND[finding.bad], finding.place, finding.problem) for finding in findings)
    write_text(path, as_csv([("kind", "where", "problem"), *rows]))
