"""The command that compares networks."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from skipweave.study.config import StudyConfig
from skipweave.study.display import RichDisplay
from skipweave.study.results import Results
from skipweave.study.runner import run_study
from skipweave.study.verdict import verdict


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
    console = Console()
    try:
        with RichDisplay(console) as display:
            results = run_study(config, display=display)
    except KeyboardInterrupt:
        console.print(f"Stopped. To go on: skipweave study --resume {config.output}", highlight=False, soft_wrap=True)
        raise
    _tell(console, results, config.output)
    return 1 if results.failures else 0


def _tell(console: Console, results: Results, output: Path) -> None:
    """Say in plain words what was found, and where it is written down."""
    headline, *rest = map(escape, verdict(results))
    console.print(f"\n[bold]{headline}[/bold]", highlight=False)
    for sentence in rest:
        console.print(sentence, highlight=False)
    for what, why in results.failures:
        console.print(f"[red]Failed: {escape(what)}: {escape(why)}[/red]", highlight=False)
    console.print(f"\nReport: {output / 'report.html'} (open it in a browser)", highlight=False, soft_wrap=True)
    console.print(f"Tables: {output / 'results.csv'}, {output / 'summary.csv'}", highlight=False, soft_wrap=True)
