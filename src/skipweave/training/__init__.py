"""Training: settings in, a self-contained run folder out; and its use."""

from skipweave.training.config import FitConfig, ModelConfig
from skipweave.training.densify import DensifyConfig
from skipweave.training.evaluation import Split, Which, evaluate, load_run, load_run_images
from skipweave.training.fitting import fit
from skipweave.training.prediction import PixelPrediction, Prediction, label_pixels, predict
from skipweave.training.progress import Progress, RunStart, Silent
from skipweave.training.recipe import LossConfig, OptimConfig, ScheduleConfig
from skipweave.training.scores import LabelMapScores, LabelScores, Scores
from skipweave.training.summary import EpochRow, Phase, RunSummary
from skipweave.training.weights import Description, load_weights

__all__ = [
    "DensifyConfig",
    "Description",
    "EpochRow",
    "FitConfig",
    "LabelMapScores",
    "LabelScores",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "Phase",
    "PixelPrediction",
    "Prediction",
    "Progress",
    "RunStart",
    "RunSummary",
    "ScheduleConfig",
    "Scores",
    "Silent",
    "Split",
    "Which",
    "evaluate",
    "fit",
    "label_pixels",
    "load_run",
    "load_run_images",
    "load_weights",
    "predict",
]
