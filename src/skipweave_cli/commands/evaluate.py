"""`skipweave validate` and `skipweave test`: evaluate a run."""

from skipweave.inference import evaluate
from skipweave.training import Split
from skipweave_cli.options import EvaluateOptions
from skipweave_cli.tables import say
from skipweave_cli.training_display import shown_scores
from skipweave_cli.worker_warning import warn_of_workers


def validate(options: EvaluateOptions) -> None:
    """Print the scores of a run on its validation images."""
    _evaluate(options, "validation")


def test(options: EvaluateOptions) -> None:
    """Print the scores of a run on its test images."""
    _evaluate(options, "test")


def _evaluate(options: EvaluateOptions, split: Split) -> None:
    warn_of_workers(options.workers)
    *exits, scores = evaluate(
        options.run,
        split,
        options.which,
        root=options.root,
        accelerator=options.accelerator,
        workers=options.workers,
    )
    more = shown_scores(scores.further)
    say(f"{split}: error {scores.error:.2f} %{more}, loss {scores.mean_loss:.4f} ({scores.images:,} images)")
    for name, score in scores.further.items():
        if name.startswith("iou_"):
            say(f"  {name.removeprefix('iou_'):<16} IoU {score:6.2f} %")
    for number, early in enumerate(exits, start=1):
        say(f"  exit {number:<11} error {early.error:6.2f} %")
