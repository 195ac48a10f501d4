"""The command that compares networks."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from skipweave.cli.tables import PlainConsole
from skipweave.study.progress_display import RichDisplay
from skipweave.study.report.verdict import verdict
from skipweave.study.results import Results
from skipweave.study.runner import run_study
from skipweave.study.study_config import StudyConfig


def study(config: StudyConfig, resume: Path | None = None) -> int:
    """Train several networks on one data set under one recipe, and report which errs least for its cost.

    Without options: five small networks that differ only in what their layers read, on scikit-learn's handwritten
    digits. Interrupted, the same command goes on where it stopped.

    Args:
        config: the study.
        resume: folder of a study to go on with; its settings hold.

    Returns:
        0, or 1 if a network or a run failed; the others are reported all the same.
    """
    if resume is not None:
        config = replace(config, output=resume)
    console = PlainConsole(soft_wrap=True)
    with RichDisplay(console) as display:
        results = run_study(config, display=display)
    _tell(console, results, config.output)
    return 1 if results.failures else 0


def _tell(console: Console, results: Results, output: Path) -> None:
    """Say in plain words what was found, and where it is written down."""
    headline, *rest = verdict(results)
    console.print()
    console.print(headline, style="bold")
    for sentence in rest:
        console.print(sentence)
    for what, why in results.failures:
        console.print(f"Failed: {what}: {why}", style="red")
    console.print()
    console.print(f"Report: {output / 'report.html'} (open it in a browser)")
    console.print(f"Tables: {output / 'results.csv'}, {output / 'summary.csv'}")
