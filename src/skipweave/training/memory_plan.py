"""Activation checkpointing and batch size chosen for a given memory."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skipweave.analysis.memory import peak_bytes
from skipweave.models.heads import count_heads
from skipweave.training.auxiliary_heads import AllHeads
from skipweave.training.freezing import freeze
from skipweave.training.model_building import build_network, enable_grad_checkpointing
from skipweave.training.optimization.optimizers import make_optimizer
from skipweave.training.tasks.task import Data, Task
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig
from skipweave_config.recipe import OptimConfig

Freeze = Callable[[nn.Module], Collection[nn.Module]]

_TRIED = (2, 4)  # batch sizes from which the memory per image follows


@dataclass(frozen=True)
class MemoryPlan:
    """How to train within a given memory.

    Attributes:
        grad_checkpointing: Whether to use activation checkpointing.
        batch_size: Images per step and process.
        bytes: Estimated peak memory of the tensors.
    """

    grad_checkpointing: bool
    batch_size: int
    bytes: int

    def __str__(self) -> str:
        """Describe the plan in a line."""
        form = "with activation checkpointing" if self.grad_checkpointing else "without activation checkpointing"
        return f"{form}, batches of {self.batch_size}: about {self.bytes / 2**20:,.0f} MiB"


def within_memory(
    config: FitConfig, args: Mapping[str, Any], task: Task, data: Data
) -> tuple[FitConfig, MemoryPlan | None]:
    """The config changed to fit `max_memory`, and the plan behind it.

    Args:
        config: The config of a run.
        args: All arguments of its model.
        task: The task.
        data: The images.

    Raises:
        SkipweaveError: As `plan_memory`.
    """
    if config.max_memory is None:
        return config, None
    plan = plan_memory(
        partial(build_network, config.model.name, args),
        task,
        config.optim,
        (data.in_chans, *data.image_size),
        batch_size=config.batch_size // config.devices,
        limit=config.max_memory,
        averaged=config.ema.decay > 0,
        freeze=partial(freeze, config.model.name, parts=config.freeze, norms=config.freeze_norms),
    )
    batch_size = plan.batch_size * config.devices
    return replace(config, grad_checkpointing=plan.grad_checkpointing, batch_size=batch_size), plan


def plan_memory(
    make_network: Callable[[], nn.Module],
    task: Task,
    optim: OptimConfig,
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    limit: int,
    averaged: bool = False,
    freeze: Freeze = lambda network: (),
) -> MemoryPlan:
    """Choose activation checkpointing and batch size; both stay unchanged if the step fits in memory.

    Otherwise activation checkpointing is turned on, if the network supports it; if that does not
    suffice, the batch size is lowered as well.

    The estimate includes weights and statistics, their gradients, the optimizer's state, the batch, and every tensor of
    a step from its creation to its release. It does not include the workspace of kernels, nor what PyTorch, CUDA and
    Python need (often some hundred MB). It is made in float32 on the meta device, where nothing is computed.

    Args:
        make_network: Builds the network on the default device.
        task: The task.
        optim: The optimizer.
        image_shape: (C, H, W) of the images of a batch.
        batch_size: Most images per step.
        limit: Memory in bytes.
        averaged: Whether there is an average of weights and statistics.
        freeze: Excludes layers of a network from training, and returns the modules that stay in evaluation mode.

    Raises:
        SkipweaveError: Two images do not fit (or one, without batch norms), or the optimizer cannot run on the meta
            device.
    """
    with torch.device("meta"):
        network = make_network()
    frozen = freeze(network)
    least = 2 if any(isinstance(part, _BatchNorm) and part not in frozen for part in network.modules()) else 1
    can_checkpoint = _can_checkpoint(network)
    for grad_checkpointing in (False, True) if can_checkpoint else (False,):
        small, large = (
            step_bytes(
                make_network,
                task,
                optim,
                image_shape,
                batch,
                grad_checkpointing=grad_checkpointing,
                averaged=averaged,
                freeze=freeze,
            )
            for batch in _TRIED
        )
        image = (large - small) / (_TRIED[1] - _TRIED[0])
        fixed = small - _TRIED[0] * image
        fitting = min(batch_size, int((limit - fixed) / image))
        plan = MemoryPlan(grad_checkpointing, fitting, round(fixed + fitting * image))
        if fitting == batch_size:
            return plan
    if fitting < least:
        even = " even with activation checkpointing" if can_checkpoint else ""
        raise SkipweaveError(
            f"max_memory is {limit / 2**20:,.1f} MiB, but a batch of {least} needs "
            f"{(fixed + least * image) / 2**20:,.1f} MiB{even}: "
            "increase max_memory, or use smaller images or a smaller network"
        )
    return plan


def _can_checkpoint(network: nn.Module) -> bool:
    """Whether a network supports activation checkpointing, which is turned on."""
    try:
        enable_grad_checkpointing("the network", network)
    except SkipweaveError:
        return False
    return True


def step_bytes(
    make_network: Callable[[], nn.Module],
    task: Task,
    optim: OptimConfig,
    image_shape: tuple[int, int, int],
    batch: int,
    *,
    grad_checkpointing: bool = False,
    averaged: bool = False,
    freeze: Freeze = lambda network: (),
) -> int:
    """Peak memory in bytes of the second training step, when the optimizer has its state.

    It is computed on the meta device, as described at `plan_memory`.

    Args:
        make_network: As for `plan_memory`.
        task: As for `plan_memory`.
        optim: As for `plan_memory`.
        image_shape: As for `plan_memory`.
        batch: Images per step.
        grad_checkpointing: Whether to use activation checkpointing.
        averaged: As for `plan_memory`.
        freeze: As for `plan_memory`.

    Raises:
        SkipweaveError: The optimizer cannot run on the meta device.
    """
    with torch.device("meta"):
        network = make_network().train()
        for module in freeze(network):
            module.eval()
        images = torch.empty(batch, *image_shape)
        labels = torch.empty(batch, *task.label_shape(image_shape[1:]), dtype=torch.long)
    if grad_checkpointing:
        enable_grad_checkpointing("the network", network)
    heads = AllHeads(network)
    head_weights = [1.0] * count_heads(network)
    optimizer = make_optimizer(optim, network)

    def steps() -> None:
        for _ in range(2):
            optimizer.zero_grad()
            task.loss(heads(images), labels, head_weights).backward()
            try:
                optimizer.step()
            except RuntimeError as error:
                raise SkipweaveError(
                    f"max_memory is not for the optimizer {optim.name}, whose steps depend on values of tensors: "
                    f"leave it out, or choose another optim.name"
                ) from error

    state = [*network.parameters(), *network.buffers()]
    given = [*state, images, labels]
    kept = [*given, *(state if averaged else ())]
    return peak_bytes(steps, given) + sum(tensor.nbytes for tensor in kept)
