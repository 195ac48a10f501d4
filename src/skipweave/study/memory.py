"""Memory of a network in training and in inference, computed on the meta device without running it."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from skipweave.analysis.profile import Profile
from skipweave.training.memory_plan import step_bytes
from skipweave.training.tasks.task import Data, task_for
from skipweave_config.errors import SkipweaveError
from skipweave_config.study_config import StudyConfig

_FLOAT32 = 4


def training_bytes(
    make_network: Callable[[], nn.Module], config: StudyConfig, data: Data, batch: int, *, grad_checkpointing: bool
) -> int | None:
    """Peak memory in bytes of the tensors of a training step on one device, in float32.

    It includes weights, statistics, gradients, the optimizer's state, an average of weights and the batch.

    Args:
        make_network: Builds the network on the default device.
        config: The study.
        data: The dataset.
        batch: Images per step on one device.
        grad_checkpointing: Whether activations are checkpointed.

    Returns:
        None for an optimizer whose steps depend on values, which there are none of.
    """
    task = task_for(data, replace(config.loss, class_weights="none"), config.monitor)
    averaged, images = config.ema.decay > 0, (data.in_chans, *data.image_size)
    try:
        return step_bytes(
            make_network, task, config.optim, images, batch, grad_checkpointing=grad_checkpointing, averaged=averaged
        )
    except SkipweaveError:
        return None


def inference_bytes(network: nn.Module, profile: Profile) -> int:
    """Peak memory in bytes of the tensors of inference on one image, in float32: weights, image and maps."""
    values = sum(tensor.numel() for tensor in (*network.parameters(), *network.buffers()))
    channels, height, width = profile.input_size
    return _FLOAT32 * (values + channels * height * width) + profile.inference_bytes
