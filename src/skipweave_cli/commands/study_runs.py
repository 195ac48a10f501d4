"""`skipweave study plan`, `run` and `status`: the runs of a study one by one, for any scheduler."""

from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from skipweave.study.single_runs import RunStatus, planned_runs, read_plan, run_single, status_of, write_plan
from skipweave.training import METRICS
from skipweave.training.preflight import check_study_config
from skipweave_cli.options import StudyPlanOptions, StudyRunOptions, StudyStatusOptions
from skipweave_cli.tables import PlainConsole, new_table, print_table
from skipweave_cli.training_display import RunDisplay


def plan(options: StudyPlanOptions) -> None:
    """Write a study's plan and list its networks and runs.

    Raises:
        SkipweaveError: As `skipweave.study.single_runs.write_plan`.
    """
    config, console = options.config, PlainConsole(soft_wrap=True)
    check_study_config(config)
    for network in write_plan(config):
        if network.cost is None:
            console.print(f"{network.label}: cannot be built: {network.failure}", style="red")
        else:
            console.print(f"{network.label}: {network.cost.parameters:,} parameters, {network.cost.macs:,} MACs")
    last = len(planned_runs(config)) - 1
    console.print(f"One run: skipweave study run {config.output} --index N, with N from 0 to {last}")
    console.print(f"Then the report: skipweave study --resume {config.output}")


def run(options: StudyRunOptions) -> None:
    """Do one run of a study.

    Raises:
        SkipweaveError: As `skipweave.study.single_runs.run_single`.
    """
    assert options.index is not None
    run_single(read_plan(options.folder), options.index, [RunDisplay()])


def status(options: StudyStatusOptions) -> None:
    """List a study's runs.

    Raises:
        SkipweaveError: The directory is not that of a study, or a file in it is damaged.
    """
    found = status_of(read_plan(options.folder))
    if options.left:
        PlainConsole(soft_wrap=True).print(as_ranges(s.run.index for s in found if s.state in ("begun", "left")))
        return
    table = new_table("index", "model", "seed", "state", "epochs", "test", "last written", right=("index", "epochs"))
    for one in found:
        table.add_row(str(one.run.index), one.run.network.title, str(one.run.seed), one.state, *_progress(one))
    print_table(table)
    counted = Counter(one.state for one in found)
    PlainConsole().print(", ".join(f"{counted[state]} {state}" for state in ("done", "running", "begun", "left")))


def _progress(one: RunStatus) -> tuple[str, str, str]:
    """Epochs, the test metric, and the time since something was written."""
    if one.written is None:
        return "", "", ""
    metric = METRICS.get(one.metric)
    value = f"{metric.label} {metric.text(one.value)}" if metric and one.value is not None else ""
    minutes = one.written / 60
    return str(one.epochs), value, f"{minutes:.0f} min ago" if minutes < 120 else f"{minutes / 60:.0f} h ago"


def as_ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers as SLURM takes them.

    >>> as_ranges([0, 1, 2, 5, 7, 8])
    '0-2,5,7-8'
    """
    groups = groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in group] for _, group in groups]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
