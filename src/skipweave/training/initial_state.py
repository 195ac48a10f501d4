"""Where a run begins: at the checkpoint that it goes on from, at another run's weights, or at random ones."""

from dataclasses import replace
from pathlib import Path

from skipweave.errors import SkipweaveError
from skipweave.training.checkpoint.run_state import RunState
from skipweave.training.checkpoint.tensor_file import Saved, open_saved
from skipweave.training.checkpoint.weights_file import WEIGHTS, Description
from skipweave.training.learner import NETWORK, Learner, check_moments
from skipweave.training.run.records import CHECKPOINT
from skipweave_config.fit_config import FitConfig


def first_state(config: FitConfig, saved: Saved | None, learner: Learner, description: Description) -> RunState:
    """Bring a network and its optimizer to where the run begins, or goes on.

    Args:
        config: the settings.
        saved: the checkpoint to go on from, if there is one.
        learner: takes over weights and optimizer state.
        description: of the network.

    Raises:
        SkipweaveError: what is to be taken over does not fit.
    """
    if saved:
        learner.load_state(saved)
        return RunState.from_plain(saved.info.get("state"), learner.task.scores())
    if config.start:
        _start_from(config.start, learner, description)
    return RunState(learner.task.scores())


def _start_from(path: Path, learner: Learner, ours: Description) -> None:
    """Take over the weights of another run's network."""
    saved = open_saved(path)
    if saved.info.get("format") != WEIGHTS:
        raise SkipweaveError(f"start is {path}: expected a file of weights, such as a run's model.safetensors")
    theirs = Description.from_plain(saved.info.get("description"), path)
    if theirs.classes != ours.classes:
        raise SkipweaveError(
            f"start is {path}, whose classes {theirs.classes} are not those of the data: {ours.classes}"
        )
    learner.load_weights(saved)


def check_own(saved: Saved, ours: Description) -> None:
    """Refuse a checkpoint that is not of this run's network, before memory is taken for either.

    Raises:
        SkipweaveError: it is not.
    """
    if saved.info.get("format") != CHECKPOINT:
        raise SkipweaveError(f"not a checkpoint: {saved.path}")
    theirs = Description.from_plain(saved.info.get("description"), saved.path)
    theirs = replace(theirs, values=ours.values, colored=ours.colored)  # which older files do not tell
    if theirs == replace(ours, preprocessing=theirs.preprocessing) != ours:
        raise SkipweaveError(
            f"{saved.path} is of images that went through {theirs.preprocessing.to_dict()}, those of the data go "
            f"through {ours.preprocessing.to_dict()}: expected the same"
        )
    if theirs != ours:
        raise SkipweaveError(
            f"{saved.path} is of {theirs.model} with {theirs.args} on {theirs.data}: "
            f"expected {ours.model} with {ours.args} on {ours.data}, as config.yaml says"
        )
    check_moments(saved, ours.expect(saved, NETWORK))
