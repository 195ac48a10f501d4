"""Lightning Fabric on the devices of a config, in its precision."""

import sys
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.connector import _PRECISION_INPUT
from lightning_fabric.plugins.environments import LightningEnvironment

from skipweave.ops.cpu.processor import has_bfloat16
from skipweave.training.distributed import torchrun
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import Precision


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, as far as known; without them it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and has_bfloat16()


def resolve_precision(precision: Precision, accelerator: str) -> Precision:
    """Replace `auto` by bf16-mixed on devices that compute in bfloat16, else by 32-true.

    Raises:
        SkipweaveError: As for `make_fabric`.
    """
    if precision != "auto":
        return precision
    return "bf16-mixed" if computes_bfloat16(make_fabric(accelerator).device) else "32-true"


def slow_precision_note(precision: Precision, device: torch.device) -> str:
    """A warning that a device has no instructions for the bfloat16 it is to compute in; empty if it may have them."""
    known = device.type == "cuda" or (device.type == "cpu" and sys.platform == "linux")
    if not precision.startswith("bf16") or not known or computes_bfloat16(device):
        return ""
    return (
        f"warning: precision is {precision}, but this {device.type} has no instructions for bfloat16: training takes "
        f"longer than in 32-true, which auto chooses at the start of a run"
    )


def make_fabric(accelerator: str, *, precision: Precision = "32-true", devices: int = 1, **options: Any) -> Fabric:
    """Create a Fabric.

    Args:
        accelerator: auto, cpu, gpu, cuda or mps.
        precision: 32-true, 16-mixed, bf16-mixed, bf16-true, 64-true, or auto, as of `resolve_precision`.
        devices: How many.
        **options: Fabric's own.

    Raises:
        SkipweaveError: This machine does not have them.
    """
    precision = resolve_precision(precision, accelerator)
    if not torchrun.job():  # in a SLURM job Fabric would take srun's number of processes instead
        options["plugins"] = LightningEnvironment()
    try:
        return Fabric(accelerator=accelerator, precision=cast(_PRECISION_INPUT, precision), devices=devices, **options)
    except Exception as error:  # Fabric raises various types
        reason = " ".join(str(error).split())
        raise SkipweaveError(f"accelerator is {accelerator!r}, devices is {devices}: {reason}") from error
