"""Energy used while training, by the counters of processor and GPU that this process may read."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

Energy = dict[str, float]
"""Watt-hours: `cpu` of the processor packages, `gpu` of the GPU; a part without a readable counter is missing."""

_JOULES_PER_WH = 3600
_ALONE = 0.8  # of the machine's CPU time; the rest is the background of any system


class EnergyMeter:
    """Counts energy between readings.

    The processors' energy is that of whole packages (RAPL), whatever runs on them, and the GPU's that of the whole GPU.
    `alone` returns for which of them this was the only work.

    Args:
        device: Device of the training.
        powercap: Where Linux has the counters of Intel's and AMD's processors.
        cpu_times: Where Linux has the CPU time of the whole machine.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        powercap: Path = Path("/sys/class/powercap"),
        cpu_times: Path = Path("/proc/stat"),
    ) -> None:
        self._packages = _packages(powercap)
        self._gpu = device if device.type == "cuda" and _watts(device) is not None else None
        self._cpu_times = cpu_times
        self.start()
        self._times = self._own_and_all_seconds()

    def start(self) -> None:
        """Begin to count: what was used since the last reading is left out."""
        self._joules = [package.joules() for package in self._packages]
        self._clock = time.perf_counter()

    def read(self) -> Energy:
        """Energy since `start` or the last reading.

        Read often: the processors' counters overflow, within a quarter of an hour for the largest, and the GPU's energy
        is its power at the reading times the time.
        """
        before, clock = self._joules, self._clock
        self.start()
        parts: Energy = {}
        if self._packages:
            used = zip(self._packages, before, self._joules, strict=True)
            parts["cpu"] = sum((now - then) % package.range for package, then, now in used) / _JOULES_PER_WH
        if self._gpu is not None and (watts := _watts(self._gpu)) is not None:
            parts["gpu"] = watts * (self._clock - clock) / _JOULES_PER_WH
        return parts

    def alone(self) -> frozenset[str]:
        """For which parts this process was the only work since the last call, as far as can be known.

        The processor's, if at least 80 % of the machine's CPU time was of this process and its ended children; the
        GPU's, if no other process is on it.
        """
        parts = set()
        if self._packages:
            before, self._times = self._times, self._own_and_all_seconds()
            own, everything = (now - then for then, now in zip(before, self._times, strict=True))
            if own >= _ALONE * everything:
                parts.add("cpu")
        if self._gpu is not None and _processes_on(self._gpu) in (0, 1):  # 0 in a container, which sees no other's
            parts.add("gpu")
        return frozenset(parts)

    def _own_and_all_seconds(self) -> tuple[float, float]:
        """CPU time of this process and its ended children, and that of the whole machine."""
        if not self._packages:
            return 0.0, 0.0
        line = self._cpu_times.read_text(encoding="utf-8").partition("\n")[0]
        user, nice, system, _, _, interrupts, soft, *_ = map(int, line.split()[1:])  # idle and iowait are left out
        busy = user + nice + system + interrupts + soft
        return sum(os.times()[:4]), busy / os.sysconf("SC_CLK_TCK")


class _Package:
    """RAPL counter of a processor package.

    Attributes:
        range: Joules at which it overflows.
    """

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        self.range = int((folder / "max_energy_range_uj").read_text()) / 1e6
        self.joules()

    def joules(self) -> float:
        return int(self._counter.read_text()) / 1e6


def _packages(powercap: Path) -> Sequence[_Package]:
    """The packages; none if a counter cannot be read, as usual for others than root."""
    try:
        zones = [path for path in sorted(powercap.glob("intel-rapl:*")) if (path / "name").is_file()]  # AMD's too
        return [_Package(path) for path in zones if (path / "name").read_text().startswith("package")]
    except (OSError, ValueError):
        return []


def _watts(device: torch.device) -> float | None:
    """Mean power of a GPU over its last sampling period (up to a second); None where NVML has no such figure."""
    try:
        return torch.cuda.power_draw(device) / 1000
    except Exception:  # without nvidia-ml-py, or of NVML's own classes
        return None


def _processes_on(device: torch.device) -> int:
    """Number of processes that have memory of a GPU; -1 where NVML does not report them."""
    try:
        return torch.cuda.list_gpu_processes(device).count("\nprocess ")
    except Exception:  # as in `_watts`
        return -1
