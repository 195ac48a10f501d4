"""What torchrun tells the processes that it starts, and starts again after one of them has died."""

import os
import platform

from skipweave.errors import SkipweaveError


def job() -> str:
    """What all starts of one job have in common, and no other job has; nothing where torchrun is not at work."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"{platform.node()} {os.getppid()}" if name == "none" else name  # `none` is what all unnamed jobs are called


def restarted() -> bool:
    """Whether this is not the job's first start."""
    return bool(job()) and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def check_devices(devices: int) -> None:
    """Refuse another number of processes than torchrun has started.

    Raises:
        SkipweaveError: it has started more or fewer.
    """
    there = int(os.environ.get("WORLD_SIZE", devices)) if job() else devices
    if there != devices:
        raise SkipweaveError(f"devices is {devices}, but torchrun started {there} processes: give --devices {there}")


def places(devices: int) -> tuple[int, int]:
    """How many of the processes are on this machine, and on how many machines they are, each with as many.

    Args:
        devices: processes of all machines together.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", devices)) if job() else devices
    return here, devices // here
