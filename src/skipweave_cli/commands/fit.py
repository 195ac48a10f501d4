"""`skipweave fit`: train a model, or resume a run."""

from skipweave.training import fit as train
from skipweave.training.preflight import check_config
from skipweave_cli.options import FitOptions
from skipweave_cli.training_display import RunDisplay


def fit(options: FitOptions) -> None:
    """Train a model, with progress in the terminal.

    Raises:
        SkipweaveError: The model cannot be built, or as `skipweave.training.fit`.
    """
    config = options.config
    check_config({"model": config.model}, config)
    train(config, resume=options.resume, callbacks=[RunDisplay()])
