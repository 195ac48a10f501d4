"""Lightning Fabric on the devices of a config."""

from typing import Any, cast

from lightning_fabric import Fabric
from lightning_fabric.connector import _PRECISION_INPUT
from lightning_fabric.plugins.environments import LightningEnvironment

from skipweave.training.distributed import torchrun
from skipweave_config.errors import SkipweaveError


def make_fabric(accelerator: str, *, precision: str = "32-true", devices: int = 1, **options: Any) -> Fabric:
    """Create a Fabric.

    Args:
        accelerator: auto, cpu, gpu, cuda or mps.
        precision: 32-true, 16-mixed, bf16-mixed, bf16-true or 64-true.
        devices: How many.
        **options: Fabric's own.

    Raises:
        SkipweaveError: This machine does not have them.
    """
    if not torchrun.job():  # in a SLURM job Fabric would take srun's number of processes instead
        options["plugins"] = LightningEnvironment()
    try:
        return Fabric(accelerator=accelerator, precision=cast(_PRECISION_INPUT, precision), devices=devices, **options)
    except Exception as error:  # Fabric raises various types
        reason = " ".join(str(error).split())
        raise SkipweaveError(f"accelerator is {accelerator!r}, devices is {devices}: {reason}") from error
