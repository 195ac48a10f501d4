"""Training: settings in, a self-contained run folder out."""

from skipweave.training.config import FitConfig, ModelConfig, OptimConfig, ScheduleConfig
from skipweave.training.fitting import fit
from skipweave.training.progress import Progress, RunStart, Silent
from skipweave.training.summary import EpochRow, RunSummary

__all__ = [
    "EpochRow",
    "FitConfig",
    "ModelConfig",
    "OptimConfig",
    "Progress",
    "RunStart",
    "RunSummary",
    "ScheduleConfig",
    "Silent",
    "fit",
]
