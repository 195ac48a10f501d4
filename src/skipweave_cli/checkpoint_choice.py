"""The option `which`, a checkpoint of a run, where a command also takes weights that are no run."""

from pathlib import Path

from skipweave.training.run.loading import Which
from skipweave_config.errors import SkipweaveError


def check_which(which: Which, network: str | Path) -> None:
    """Check that only a run is asked for another checkpoint than the best.

    Raises:
        SkipweaveError: `network` is no run directory, and has one state of its weights only.
    """
    if which != "best" and not Path(network).is_dir():
        raise SkipweaveError(f"which is {which} and the model is {network}: expected best, or a run directory")
