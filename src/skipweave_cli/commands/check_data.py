"""`skipweave check-data`: what is wrong with a dataset."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from skipweave.data import ClassificationData, DataConfig, DataReport, Finding, check_dataset, workers_warning
from skipweave.files.atomic_write import as_csv, write_text
from skipweave.ops.cpu.processor import cores
from skipweave.training.preflight import check_labeled
from skipweave.training.split_notes import class_warnings, validation_note
from skipweave.training.tasks.task import metric_for
from skipweave_cli.options import CheckDataOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.tables import BAR, complain, new_table, print_table, say
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig

_MOST_CLASSES = 10  # whose numbers of images are printed
_EXAMPLES = 3  # of findings of one kind
_KIND = {True: "bad", False: "note"}


def check_data(options: CheckDataOptions) -> int:
    """Read a dataset and list what is wrong with it.

    Returns:
        The exit status: 2 if there are bad entries, else 0.

    Raises:
        SkipweaveError: The dataset is not there, or the file exists already.
    """
    save, workers = options.save, cores() if options.workers is None else options.workers
    if save:
        make_room([save])
    if options.workers is not None:
        complain(workers_warning(workers), "warning")
    report = _read(options.config.data, workers)
    report = replace(report, findings=(*report.findings, *_findings_in_splits(options.config, report)))
    if report.findings:
        _show(report.findings)
    _show_values(report)
    if save:
        _write(save, report.findings)
    notes = len(report.findings) - report.bad
    say(
        f"{report.images:,} images read: "
        + (f"{report.bad:,} bad, {notes:,} note{'s' * (notes != 1)}" if report.findings else "all well")
    )
    return 2 if report.bad else 0


def _read(config: DataConfig, workers: int) -> DataReport:
    console = Console()
    with Progress(*BAR, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        return check_dataset(
            config, workers=workers, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )


def _findings_in_splits(config: FitConfig, report: DataReport) -> Iterator[Finding]:
    """What `fit` warns of, or raises, because of the splits and classes of a dataset that can be loaded."""
    data, place = report.data, str(config.data.labels or config.data.root or config.data.name)
    if data is None:
        return
    try:
        check_labeled(data, metric_for(data, config.monitor))
    except SkipweaveError as error:
        yield Finding(place, str(error))
    warnings = class_warnings(config, data) if isinstance(data, ClassificationData) else ()
    for problem in filter(None, (validation_note(config, data), *warnings)):
        yield Finding(place, problem, bad=False)


def _show(findings: Sequence[Finding]) -> None:
    table, shown = new_table("", "where", "problem", right=("",)), Counter[str]()
    for finding in sorted(findings, key=lambda finding: not finding.bad):
        shown[finding.kind] += 1
        if not finding.kind or shown[finding.kind] <= _EXAMPLES:
            table.add_row(_KIND[finding.bad], finding.place, finding.problem)
    print_table(table)
    for kind, count in shown.items():
        if kind and count > _EXAMPLES:
            say(f"{count:,} {kind}, of which {_EXAMPLES} are shown; --save FILE lists all")


def _show_values(report: DataReport) -> None:
    """Print the kinds of images and the range of their values."""
    numbers = ("images", "lowest value", "highest value")
    table = new_table("kind", *numbers, right=numbers)
    for values in report.values:
        table.add_row(values.kind, f"{values.images:,}", f"{values.low:g}", f"{values.high:g}")
    if report.values:
        print_table(table)
    _show_splits(report)
    if report.range:
        low, high = report.range
        say(f"values from {low:g} to {high:g} become 0 to 1 in training (data.range)")


def _show_splits(report: DataReport) -> None:
    """Print images, values, sizes and classes of each split."""
    numbers = ("images", "values", "height", "width")
    table = new_table("split", *numbers, "images per class", right=numbers)
    for split in report.splits:
        spans = (_span(span) for span in (split.values, split.heights, split.widths))
        counts = sorted(split.classes.items(), key=lambda item: -item[1])
        more = f", and {len(counts) - _MOST_CLASSES} more classes" if len(counts) > _MOST_CLASSES else ""
        classes = ", ".join(f"{name} {count:,}" for name, count in counts[:_MOST_CLASSES])
        table.add_row(split.name, f"{split.images:,}", *spans, classes + more)
    if report.splits:
        print_table(table)


def _span(span: tuple[float, float]) -> str:
    low, high = span
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _write(path: Path, findings: Sequence[Finding]) -> None:
    rows = ((_KIND[finding.bad], finding.place, finding.problem) for finding in findings)
    write_text(path, as_csv([("kind", "where", "problem"), *rows]))
