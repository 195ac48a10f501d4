"""The environment of processes started, and restarted, by torchrun."""

import os
import platform

from torch.distributed import PrefixStore, TCPStore, init_process_group
from torch.distributed.constants import default_pg_timeout

from skipweave_config.errors import SkipweaveError


def job() -> str:
    """An identifier of the torchrun job, the same after restarts; empty without torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"{platform.node()} {os.getppid()}" if name == "none" else name  # `none` is the name of all unnamed jobs


def restarted() -> bool:
    """Whether the job was restarted."""
    return bool(job()) and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def meet_again() -> None:
    """Initialize the process group of a restarted job.

    torch 2.14 lets them look for one another where those of the first start left their addresses.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if restarted() and processes > 1 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        own = PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
        init_process_group(store=own, rank=int(os.environ["RANK"]), world_size=processes, timeout=default_pg_timeout)


def check_devices(devices: int) -> None:
    """Check that torchrun has started this number of processes.

    Raises:
        SkipweaveError: It has started more or fewer.
    """
    there = int(os.environ.get("WORLD_SIZE", devices)) if job() else devices
    if there != devices:
        raise SkipweaveError(f"devices is {devices}, but torchrun started {there} processes: give --devices {there}")


def places(devices: int) -> tuple[int, int]:
    """The number of processes on this machine, and the number of machines.

    Args:
        devices: Processes of all machines together.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", devices)) if job() else devices
    return here, devices // here
