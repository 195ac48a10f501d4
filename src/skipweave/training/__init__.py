"""Training: from a config to a self-contained run directory."""

from skipweave_config.extras import require_extra

require_extra("train")

from skipweave.training.callbacks import Callback, RunStart
from skipweave.training.checkpoint.weights_file import Description, load_weights
from skipweave.training.fit import fit
from skipweave.training.run.loading import Split, Which, load_run, load_run_images
from skipweave.training.run.summary import EpochRow, Phase, RunSummary
from skipweave.training.tasks.metrics import METRICS, ClassificationMetrics, Metric, Metrics, SegmentationMetrics
from skipweave_config.fit_config import FitConfig, ModelConfig
from skipweave_config.recipe import (
    DensifyConfig,
    EarlyStoppingConfig,
    EmaConfig,
    LossConfig,
    MixConfig,
    OptimConfig,
    ProgressiveConfig,
    ScheduleConfig,
)

__all__ = [
    "METRICS",
    "Callback",
    "ClassificationMetrics",
    "DensifyConfig",
    "Description",
    "EarlyStoppingConfig",
    "EmaConfig",
    "EpochRow",
    "FitConfig",
    "LossConfig",
    "Metric",
    "Metrics",
    "MixConfig",
    "ModelConfig",
    "OptimConfig",
    "Phase",
    "ProgressiveConfig",
    "RunStart",
    "RunSummary",
    "ScheduleConfig",
    "SegmentationMetrics",
    "Split",
    "Which",
    "fit",
    "load_run",
    "load_run_images",
    "load_weights",
]
