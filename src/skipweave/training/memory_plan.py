"""How a run keeps within a given memory: whether units are run again in the backward pass, and the batch that fits."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from skipweave.analysis.memory import peak_bytes
from skipweave.errors import SkipweaveError
from skipweave.training.auxiliary_heads import AllHeads, count_heads
from skipweave.training.model_building import recompute_units
from skipweave.training.optimizers import make_optimizer
from skipweave.training.tasks.task import Task
from skipweave_config.recipe import OptimConfig

_TRIED = (2, 4)  # batches of which the cost of one image is found


@dataclass(frozen=True)
class MemoryPlan:
    """How to train within a given memory.

    Attributes:
        recompute: Whether units are run again in the backward pass (`set_grad_checkpointing`).
        batch_size: Images a step and process.
        bytes: What training then holds at once, at most.
    """

    recompute: bool
    batch_size: int
    bytes: int

    def __str__(self) -> str:
        """Say what was chosen."""
        form = "units run again in the backward pass" if self.recompute else "no unit runs twice"
        return f"{form}, batches of {self.batch_size}: about {self.bytes / 2**20:,.0f} MiB"


def plan_memory(
    make_network: Callable[[], nn.Module],
    task: Task,
    optim: OptimConfig,
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    limit: int,
) -> MemoryPlan:
    """Choose how to train: as usual if that fits; else with units run again; else so, with as many images as fit.

    A network without `set_grad_checkpointing` is trained as usual, with as many images as fit.

    What is counted: weights and statistics, their gradients, what the optimizer keeps, the batch, and every tensor of
    a step from the operation that makes it until nobody holds it. What is not: memory that kernels need within one
    operation, and what torch, CUDA and Python need for themselves (often some hundred MB). Counted in float32 and on
    the meta device, where nothing is computed.

    Args:
        make_network: Builds the network, on whatever device is the default.
        task: What is learned.
        optim: The optimizer.
        image_shape: (C, H, W) of the images of a batch.
        batch_size: The most images a step.
        limit: Bytes.

    Raises:
        SkipweaveError: Not even two images fit.
    """
    with torch.device("meta"):
        can_recompute = hasattr(make_network(), "set_grad_checkpointing")
    for recompute in (False, True) if can_recompute else (False,):
        small, large = (_step_bytes(make_network, task, optim, image_shape, batch, recompute) for batch in _TRIED)
        image = (large - small) / (_TRIED[1] - _TRIED[0])
        fixed = small - _TRIED[0] * image
        fitting = min(batch_size, int((limit - fixed) / image))
        plan = MemoryPlan(recompute, fitting, round(fixed + fitting * image))
        if fitting == batch_size:
            return plan
    if fitting < 2:
        even = " even where units are run again" if can_recompute else ""
        raise SkipweaveError(
            f"max_memory is {limit / 2**20:,.1f} MiB, but two images take {(fixed + 2 * image) / 2**20:,.1f} "
            f"MiB{even}: give more memory, smaller images or a smaller network"
        )
    return plan


def _step_bytes(
    make_network: Callable[[], nn.Module],
    task: Task,
    optim: OptimConfig,
    image_shape: tuple[int, int, int],
    batch: int,
    recompute: bool,
) -> int:
    """Bytes that the second step of training with such batches holds: in the first the optimizer has nothing yet."""
    with torch.device("meta"):
        network = make_network().train()
        images = torch.empty(batch, *image_shape)
        labels = torch.empty(batch, *image_shape[1:] if task.labels_pixels else (), dtype=torch.long)
    if recompute:
        recompute_units("the network", network)
    heads = AllHeads(network)
    shares = [1.0] * count_heads(network)
    optimizer = make_optimizer(optim, network.parameters())

    def steps() -> None:
        for _ in range(2):
            optimizer.zero_grad()
            task.loss(heads(images), labels, shares).backward()
            optimizer.step()

    given = [*network.parameters(), *network.buffers(), images, labels]
    return peak_bytes(steps, given) + sum(tensor.nbytes for tensor in given)
