from pathlib import Path

import pytest
import torch
from lightning_fabric.plugins.environments import LightningEnvironment

from skipweave.training.distributed import devices
from skipweave.training.distributed.devices import make_fabric, resolve_precision, slow_precision_note
from skipweave_config.fit_config import Precision
from tests.errors import assert_reports

CPU = torch.device("cpu")


@pytest.mark.parametrize("variables", [{}, {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0"}])
def test_slurm_does_not_choose_the_processes(variables: dict[str, str], tmp_path: Path, monkeypatch):
    """On a login node Fabric would warn that `srun` is not used; in a job it would count the tasks of the job."""
    srun = tmp_path / "srun"
    srun.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fabric = make_fabric("cpu")
    assert fabric.world_size == 1
    assert isinstance(fabric._connector.cluster_environment, LightningEnvironment)


@pytest.mark.parametrize(("has", "chosen"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_is_the_precision_that_the_processor_computes_in(
    has: bool, chosen: Precision, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(devices, "has_bfloat16", lambda: has)
    assert resolve_precision("auto", "cpu") == chosen
    assert make_fabric("cpu", precision="auto")._precision.precision == chosen
    assert resolve_precision("64-true", "cpu") == "64-true"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_auto_is_bfloat16_on_gpus_that_compute_in_it():
    half = torch.cuda.get_device_capability() >= (8, 0)
    assert resolve_precision("auto", "gpu") == ("bf16-mixed" if half else "32-true")


def test_bfloat16_on_a_processor_without_its_instructions_has_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices.sys, "platform", "linux")
    monkeypatch.setattr(devices, "has_bfloat16", lambda: False)
    assert_reports(slow_precision_note("bf16-mixed", CPU), "bf16-mixed", "32-true", "auto")
    assert slow_precision_note("32-true", CPU) == ""
    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    assert slow_precision_note("bf16-mixed", CPU) == ""
    monkeypatch.setattr(devices, "has_bfloat16", lambda: False)
    monkeypatch.setattr(devices.sys, "platform", "darwin")  # whose processors are not listed
    assert slow_precision_note("bf16-mixed", CPU) == ""
