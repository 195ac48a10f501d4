"""Energy by the counters of processor and GPU."""

import csv
import os
from pathlib import Path

import pytest
import torch

from skipweave.training import energy, fit, loop
from skipweave.training.checkpoint.run_state import RunState
from skipweave.training.energy import EnergyMeter
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.run.summary import EpochRow, total_energy
from skipweave.training.tasks.metrics import ClassificationMetrics

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
WH = 3600  # joules


class Machine:
    """Two packages whose counters overflow at 1000 J, and another counter, in files as Linux has them."""

    def __init__(self, root: Path) -> None:
        self.powercap, self.cpu_times = root / "powercap", root / "stat"
        zones = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1", "intel-rapl:0:0": "core"}
        for zone, name in zones.items():
            folder = self.powercap / zone
            folder.mkdir(parents=True)
            (folder / "name").write_text(f"{name}\n")
            (folder / "max_energy_range_uj").write_text("1000000000\n")
        (self.powercap / "intel-rapl").mkdir()  # the driver's, which has no counter
        self.use(0, 0)
        self.work(0)

    def use(self, *joules: float) -> None:
        for zone, counter in enumerate(joules):
            (self.powercap / f"intel-rapl:{zone}" / "energy_uj").write_text(f"{int(counter * 1e6)}\n")

    def work(self, seconds: float) -> None:
        """CPU time of the machine: user, nice, system, idle, iowait, irq, softirq, steal."""
        ticks = int(seconds * os.sysconf("SC_CLK_TCK"))
        self.cpu_times.write_text(f"cpu  {ticks} 0 0 99999 999 0 0 0 0 0\ncpu0 1 2 3\n")

    def meter(self) -> EnergyMeter:
        return EnergyMeter(CPU, powercap=self.powercap, cpu_times=self.cpu_times)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_packages_are_added_up_across_an_overflow(machine: Machine):
    machine.use(100, 900)
    meter = machine.meter()
    machine.use(250, 20)
    assert meter.read() == {"cpu": pytest.approx((150 + 120) / WH)}
    assert meter.read() == {"cpu": 0}
    machine.use(300, 30)
    meter.start()
    machine.use(301, 31)
    assert meter.read() == {"cpu": pytest.approx(2 / WH)}


def test_without_readable_counters_nothing_is_measured(machine: Machine, tmp_path: Path):
    (machine.powercap / "intel-rapl:1" / "energy_uj").unlink()  # as if it was not readable
    for powercap in (machine.powercap, tmp_path / "absent"):
        meter = EnergyMeter(CPU, powercap=powercap, cpu_times=tmp_path / "absent")
        assert (meter.read(), meter.alone()) == ({}, frozenset())


def test_the_processor_is_shared_if_a_fifth_of_its_time_is_of_others(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    own = [0.0]
    monkeypatch.setattr(os, "times", lambda: (own[0] / 2, 0.0, own[0] / 2, 0.0, 0.0))
    meter = machine.meter()
    own[0] = 9
    machine.work(10)
    assert meter.alone() == {"cpu"}
    own[0] = 16
    machine.work(20)
    assert meter.alone() == set()


def test_the_energy_of_a_gpu_is_power_times_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    now, listed = [10.0], "GPU:0\nprocess        123 uses        1.000 MB GPU memory"
    monkeypatch.setattr(torch.cuda, "power_draw", lambda device: 300_000)
    monkeypatch.setattr(torch.cuda, "list_gpu_processes", lambda device: listed)
    monkeypatch.setattr(energy.time, "perf_counter", lambda: now[0])
    meter = EnergyMeter(GPU, powercap=tmp_path)
    now[0] = 22.0
    assert meter.read() == {"gpu": pytest.approx(300 * 12 / WH)}
    assert meter.alone() == {"gpu"}
    listed += listed[5:]
    assert meter.alone() == set()


def test_a_gpu_without_nvml_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def missing(device: torch.device) -> int:
        raise ModuleNotFoundError("nvidia-ml-py")

    monkeypatch.setattr(torch.cuda, "power_draw", missing)
    meter = EnergyMeter(GPU, powercap=tmp_path)
    assert (meter.read(), meter.alone()) == ({}, frozenset())


def row(**energy_wh: float) -> EpochRow:
    return EpochRow(1, 1, 0.1, 1.0, {}, None, {}, 1.0, 0.1, energy_wh)


def test_a_part_that_an_epoch_lacks_has_no_total():
    assert total_energy([row(cpu=1.5, gpu=2.0), row(cpu=0.5)]) == {"cpu": 2.0}
    assert total_energy([row(cpu=1.5), row()]) == total_energy([]) == {}
    assert row(cpu=1.5).as_columns()["cpu_energy_wh"] == 1.5


def test_a_part_that_a_reading_lacks_is_dropped_from_the_epoch():
    state = RunState(ClassificationMetrics(2))
    for reading in ({"cpu": 1.0, "gpu": 2.0}, {"cpu": 0.25}, {"cpu": 0.5, "gpu": 1.0}):
        state.add_energy(reading)
    assert state.energy == {"cpu": 1.75}


def test_checkpoints_of_older_versions_have_no_energy_of_the_epoch_they_are_in():
    plain = RunState(ClassificationMetrics(2), energy={"cpu": 1.0}).as_plain()
    del plain["energy"]
    assert RunState.from_plain({**plain, "step": 3}, ClassificationMetrics(2)).energy == {}
    assert RunState.from_plain(plain, ClassificationMetrics(2)).energy is None


class Meter:
    """A watt-hour of the processor at each reading."""

    def __init__(self, device: torch.device) -> None:
        pass

    def start(self) -> None:
        pass

    def read(self) -> dict[str, float]:
        return {"cpu": 1.0, "gpu": 1.0}

    def alone(self) -> frozenset[str]:
        return frozenset({"cpu"})


def test_a_run_has_the_energy_of_its_epochs_as_far_as_it_was_alone(tiny, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "EnergyMeter", Meter)
    summary = fit(tiny(epochs=2))
    with RunDirectory(summary.run_dir).metrics.open(newline="") as file:
        epochs = [float(row["cpu_energy_wh"]) for row in csv.DictReader(file)]
    assert len(epochs) == 2
    assert epochs[0] >= 2  # a reading of steps at least, and one of the validation
    assert summary.energy_wh == {"cpu": sum(epochs)}
