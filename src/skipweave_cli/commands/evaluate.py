"""`skipweave validate` and `skipweave test`: evaluate a run."""

from dataclasses import replace
from pathlib import Path

from skipweave.data import workers_warning
from skipweave.export.exported_network import load_exported
from skipweave.inference.evaluation_report import EvaluationReport, report
from skipweave.training import Split, load_run_images
from skipweave.training.run.loading import RunImages
from skipweave_cli.checkpoint_choice import check_which
from skipweave_cli.evaluation_files import evaluation_files, write_evaluation
from skipweave_cli.options import EvaluateOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.tables import MOST_LINES, complain, new_table, print_table, say
from skipweave_cli.training_display import metrics_text
from skipweave_config.errors import SkipweaveError

_HEADINGS = {"f1": "F1", "average_precision": "AP", "auroc": "AUROC", "dice": "Dice", "iou": "IoU"}


def validate(options: EvaluateOptions) -> None:
    """Print the metrics of a run on its validation images."""
    _evaluate(options, "validation")


def test(options: EvaluateOptions) -> None:
    """Print the metrics of a run on its test images."""
    _evaluate(options, "test")


def _evaluate(options: EvaluateOptions, split: Split) -> None:
    complain(workers_warning(options.workers), "warning")
    if options.model and options.accelerator not in ("auto", "cpu"):
        raise SkipweaveError(
            f"accelerator is {options.accelerator} with model {options.model}: expected cpu, or no model"
        )
    if options.model:
        check_which(options.which, options.model)
    if options.save:
        make_room(evaluation_files(options.save))
    run = load_run_images(options.run, split, options.which, options.root)
    made = report(
        _with_exported(run, options.run, options.model) if options.model else run,
        accelerator="cpu" if options.model else options.accelerator,
        workers=options.workers,
        tta=options.tta,
        top=options.top,
    )
    *exits, last = made.heads
    say(f"{split}: {metrics_text(made.overall)} ({last.images:,} images)")
    _print_classes(made)
    for number, early in enumerate(exits, start=1):
        say(f"  exit {number:<11} {early.metric.label} {early.metric.text(early.value):>8}")
    if options.save:
        title = ", ".join(map(str, filter(None, (options.run.name, options.model, split))))
        for path in write_evaluation(options.save, made, title):
            say(f"saved {path}")


def _with_exported(run: RunImages, run_dir: Path, path: Path) -> RunImages:
    """A run's images with an exported model, of whose heads the last is evaluated.

    Raises:
        SkipweaveError: The model cannot be loaded, or was exported from a run of another model or other data.
    """
    network, description = load_exported(path)
    if other := [name for name, value in vars(run.description).items() if getattr(description, name) != value]:
        raise SkipweaveError(
            *(
                f"model is {path}, whose {name} is {getattr(description, name)}: expected a model that was exported "
                f"from {run_dir}, with {getattr(run.description, name)}"
                for name in other
            )
        )
    return replace(run, network=network)


def _print_classes(made: EvaluationReport) -> None:
    """Print a row per class; of many classes those with the lowest F1 or IoU, NaN last."""
    key = "f1" if "f1" in made.per_class else "iou"
    worst = made.per_class[key].argsort(stable=True).tolist()
    shown = sorted(worst[:MOST_LINES])
    number, *values = made.per_class
    headings = [number, *(f"{_HEADINGS.get(name, name)} %" for name in values)]
    table = new_table("class", *headings, right=headings)
    for label in shown:
        cells = [f"{made.per_class[name][label]:.2f}" for name in values]
        table.add_row(made.classes[label], f"{made.per_class[number][label]:,.0f}", *cells)
    print_table(table)
    if len(shown) < len(worst):
        say(f"{len(shown)} of {len(worst)} classes, those of lowest {_HEADINGS[key]}; --save DIR writes all")
