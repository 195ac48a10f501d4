"""`skipweave study`: train and compare several models."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from skipweave.study.halving import rung_text
from skipweave.study.progress_display import RichDisplay
from skipweave.study.report.verdict import verdict
from skipweave.study.results import Results
from skipweave.study.runner import run_study
from skipweave.training.preflight import check_study_config
from skipweave_cli.options import StudyOptions
from skipweave_cli.tables import PlainConsole


def study(options: StudyOptions) -> int:
    """Train and compare several models, with progress in the terminal.

    Returns:
        The exit status: 0, or 1 if a model or a run failed; the others are reported all the same.

    Raises:
        SkipweaveError: A model cannot be built, or as `skipweave.study.run_study`.
    """
    config = options.config if options.resume is None else replace(options.config, output=options.resume)
    check_study_config(config)
    console = PlainConsole(soft_wrap=True)
    with RichDisplay(console) as display:
        results = run_study(config, display=display)
    _tell(console, results, config.output)
    return 1 if results.failures else 0


def _tell(console: Console, results: Results, output: Path) -> None:
    """Print the result, failures, and the paths of report and tables."""
    headline, *rest = verdict(results)
    console.print()
    console.print(headline, style="bold")
    for sentence in rest:
        console.print(sentence)
    for rung in results.rungs:
        console.print(f"Stopped {rung_text(rung, results.metric)}.")
    for what, why in results.failures:
        console.print(f"Failed: {what}: {why}", style="red")
    console.print()
    console.print(f"Report: {output / 'report.html'} (open it in a browser)")
    halving = ["halving.csv"] if results.rungs else []
    names = ("results.csv", "summary.csv", "classes.csv", "comparisons.csv", *halving)
    tables = (output / name for name in names)
    console.print(f"Tables: {', '.join(map(str, tables))}")
