"""`skipweave fit`: train a model, or resume a run."""

from skipweave.training import fit as train
from skipweave_cli.options import FitOptions
from skipweave_cli.training_display import RunDisplay


def fit(options: FitOptions) -> None:
    """Train a model, with progress in the terminal.

    Raises:
        SkipweaveError: As `skipweave.training.fit`.
    """
    train(options.config, resume=options.resume, callbacks=[RunDisplay()])
