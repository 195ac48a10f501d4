from pathlib import Path

import pytest
from lightning_fabric.plugins.environments import LightningEnvironment

from skipweave.training.distributed.devices import make_fabric


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
