"""`skipweave validate` and `skipweave test`: evaluate a run."""

from skipweave.data import workers_warning
from skipweave.inference import evaluate
from skipweave.training import Split
from skipweave_cli.options import EvaluateOptions
from skipweave_cli.tables import complain, say
from skipweave_cli.training_display import metrics_text

_KINDS = {"iou": "IoU", "ap": "AP"}


def validate(options: EvaluateOptions) -> None:
    """Print the metrics of a run on its validation images."""
    _evaluate(options, "validation")


def test(options: EvaluateOptions) -> None:
    """Print the metrics of a run on its test images."""
    _evaluate(options, "test")


def _evaluate(options: EvaluateOptions, split: Split) -> None:
    complain(workers_warning(options.workers), "warning")
    *exits, last = evaluate(
        options.run,
        split,
        options.which,
        root=options.root,
        accelerator=options.accelerator,
        workers=options.workers,
    )
    values = metrics_text(last.compute())
    say(f"{split}: {values}, loss {last.mean_loss:.4f} ({last.images:,} images)")
    for name, value in last.per_class().items():
        kind, _, class_name = name.partition("_")
        say(f"  {class_name:<16} {_KINDS[kind]} {value:6.2f} %")
    for number, early in enumerate(exits, start=1):
        say(f"  exit {number:<11} {early.metric.label} {early.metric.text(early.value):>8}")
