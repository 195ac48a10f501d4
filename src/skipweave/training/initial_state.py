"""The state in which a run starts: from a checkpoint, from the weights of another run, or from random weights."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from torch import Tensor

from skipweave.data import epoch_loader
from skipweave.training.checkpoint.run_state import RunState
from skipweave.training.checkpoint.tensor_file import Saved
from skipweave.training.checkpoint.weights_file import Description
from skipweave.training.learner import EMA, NETWORK, Learner, check_moments
from skipweave.training.run.records import CHECKPOINT
from skipweave.training.starting_weights import starting_weights
from skipweave.training.tasks.task import Data
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig

#: Training images from which a network may set weights that are not trained.
IMAGES = 5000


def first_state(
    config: FitConfig, saved: Saved | None, learner: Learner, description: Description, data: Data
) -> tuple[RunState, str]:
    """Load the network and the optimizer as the run starts or resumes.

    A network with a method `initialize_from_images` that starts from random weights sets some of these by images.

    Returns:
        Where the run stands; and a line about the weights it starts from, empty if these are random or the run's own.

    Raises:
        SkipweaveError: The checkpoint or the weights do not fit, or cannot be downloaded.
    """
    if saved:
        learner.load_state(saved)
        return RunState.from_plain(saved.info.get("state"), learner.task.metrics()), ""
    note = ""
    if config.start or config.model.pretrained:
        tensors, note = starting_weights(config, description, learner.network)
        learner.network.load_state_dict(tensors)
        learner.set_up_again()
    elif hasattr(learner.network, "initialize_from_images"):
        learner.network.initialize_from_images(_images(config, data))  # type: ignore[operator]
    return RunState(learner.task.metrics()), note


def _images(config: FitConfig, data: Data) -> Iterator[Tensor]:
    """Batches of random training images, not augmented but normalized; the same for all processes."""
    batches = epoch_loader(
        data.train,
        data.eval_transform,
        batch_size=min(config.batch_size, IMAGES),
        seed=config.seed,
        epoch=0,
        shuffle=True,
        workers=config.data.workers,
    )
    return (images for images, _ in islice(batches, -(-IMAGES // config.batch_size)))


def check_same_network(saved: Saved, ours: Description) -> None:
    """Check by its header that a checkpoint belongs to this run's network.

    Raises:
        SkipweaveError: It belongs to another network.
    """
    if saved.info.get("format") != CHECKPOINT:
        raise SkipweaveError(f"not a checkpoint: {saved.path}")
    theirs = Description.from_plain(saved.info.get("description"), saved.path)
    theirs = replace(theirs, values=ours.values, colored=ours.colored)  # missing in older files
    if theirs == replace(ours, preprocessing=theirs.preprocessing) != ours:
        raise SkipweaveError(
            f"{saved.path} is of images preprocessed by {theirs.preprocessing.to_dict()}, those of the data are "
            f"preprocessed by {ours.preprocessing.to_dict()}: expected the same"
        )
    if theirs != ours:
        raise SkipweaveError(
            f"{saved.path} is of {theirs.model} with {theirs.args} on {theirs.data}: "
            f"expected {ours.model} with {ours.args} on {ours.data}, as in config.yaml"
        )
    if any(name.startswith(EMA) for name in saved.shapes):
        ours.expect(saved, EMA)
    check_moments(saved, ours.expect(saved, NETWORK))
