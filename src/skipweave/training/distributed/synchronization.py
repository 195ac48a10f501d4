"""Synchronization of the host with the device and with other processes, once in several steps."""

import signal
from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed

from skipweave.training.signals import StopRequest

#: Steps, or batches of an evaluation, between two synchronizations on an accelerator or with several processes.
STEPS_PER_SYNC = 10


class StepBuffer:
    """Sums of the batches since the last synchronization, kept on the device.

    Attributes:
        interval: Most steps between two synchronizations; 1 for a single process on the CPU, where they cost nothing.
    """

    def __init__(self, fabric: Fabric, request: StopRequest) -> None:
        alone_on_cpu = fabric.world_size == 1 and fabric.device.type == "cpu"
        self.interval = 1 if alone_on_cpu else STEPS_PER_SYNC
        self._fabric = fabric
        self._request = request
        self._sums: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._sums)

    def add(self, sums: Tensor) -> None:
        """Keep the sums of a batch, (counts,), on their device."""
        self._sums.append(sums)

    def is_due(self) -> bool:
        """Whether to synchronize now; a single process need not wait for the interval's end to answer a signal."""
        alone = self._fabric.world_size == 1
        return len(self) >= self.interval or (alone and self._request.signal is not None)

    def synchronize(self) -> tuple[Sequence[Tensor], signal.Signals | None]:
        """Add the sums up over all processes and copy them to the host: one all-reduce and one copy.

        Returns:
            The sums of each step, (counts,), float64 on the CPU; and the signal that asked any process to stop. All
            processes get the same.
        """
        heard, device = self._request.heard, self._fabric.device
        own = torch.tensor([number == self._request.signal for number in heard], dtype=torch.float32, device=device)
        values = sum_over_processes(torch.cat([*self._sums, own]), self._fabric).cpu().double()
        *steps, asked = values.split([*map(len, self._sums), len(heard)])
        self._sums.clear()
        return steps, next((number for number, times in zip(heard, asked.tolist(), strict=True) if times), None)


def sum_over_processes(values: Tensor, fabric: Fabric) -> Tensor:
    """Add up what every process has, by one all-reduce in place; Fabric's own also waits at a barrier."""
    if fabric.world_size > 1:
        distributed.all_reduce(values)
    return values
