"""The processes of a run: this one, those that Fabric starts, or those that torchrun has started."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException
from torch.nn.parallel import DistributedDataParallel

from skipweave.training.distributed import torchrun
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.distributed.ports import meeting_port
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.signals import StopRequest, stop_requests
from skipweave.training.unused_parameters import leaves_parameters_unused
from skipweave_config.errors import SkipweaveError, Stopped
from skipweave_config.fit_config import FitConfig

ReportDirectory = Callable[[Path], None]

# Each process keeps its own running statistics until they are evaluated; older versions of torch have another name.
_NEW_NAME = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
_OWN_STATISTICS: dict[str, Any] = {"forward_sync_buffers" if _NEW_NAME else "broadcast_buffers": False}

# Banners, and messages that the other processes end when one ends.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)


def _fabric(config: FitConfig) -> Fabric:
    """A Fabric of one device, or of several with DDP, whose processes are started by Fabric or by torchrun."""
    torchrun.check_devices(config.devices)
    if config.devices == 1:
        return make_fabric(config.accelerator, precision=config.precision)
    start: Literal["popen", "spawn"] = "popen" if torchrun.job() else "spawn"
    unused = leaves_parameters_unused(config)
    strategy = DDPStrategy(start_method=start, find_unused_parameters=unused, **_OWN_STATISTICS)
    here, machines = torchrun.places(config.devices)
    return make_fabric(
        config.accelerator, devices=here, num_nodes=machines, precision=config.precision, strategy=strategy
    )


@contextmanager
def processes(config: FitConfig) -> Iterator[tuple[Fabric, ReportDirectory]]:
    """Prepare the processes of a run, which the Fabric launches within the block.

    Yields:
        The Fabric; and what the first process calls with the run directory, so that it is known here if a process is
        killed. With several devices, what is launched and what it returns are pickled.

    Raises:
        SkipweaveError: A process raised it or was killed, or the devices are not available.
        Stopped: A signal came before the processes had anything to save.
    """
    fabric = _fabric(config)
    if config.devices == 1 or torchrun.job():
        torchrun.meet_again()
        yield fabric, _report_to_nobody
        return
    here, there = get_context("spawn").Pipe(duplex=False)
    with (
        stop_requests(pass_on=True) as request,  # which passes signals on
        _errors_of_processes(request, here),
        meeting_port(),
    ):
        yield fabric, there.send


def _report_to_nobody(directory: Path) -> None:
    """Do nothing: no process outlives one started by torchrun, or the only one."""


@contextmanager
def _errors_of_processes(request: StopRequest, folder: "Connection[Path, Path]") -> Iterator[None]:
    """Reraise the error of a user that a process raised, and report a process that was killed."""
    try:
        yield
    except ProcessExitedException as error:
        if request.signal:  # they had nothing to save yet
            raise Stopped(request.signal, f"stopped by {request.signal.name} before the first step") from None
        if not folder.poll():
            raise SkipweaveError(f"{error} before the first step: give the same command again") from None
        try:
            run = RunDirectory(folder.recv())
        except SkipweaveError as gone:
            raise SkipweaveError(f"{error}; {gone}") from None
        raise SkipweaveError(f"{error}; {run.describe_kept()}; resume with: {run.resume_command}") from None
    except ProcessRaisedException as error:
        last = str(error).rstrip().splitlines()[-1]
        kind = f"{SkipweaveError.__module__}.{SkipweaveError.__qualname__}: "
        if not last.startswith(kind):
            raise
        raise SkipweaveError(last.removeprefix(kind)) from None
