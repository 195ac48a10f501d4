"""Use trained networks: evaluate them on a split, and predict images."""

from skipweave.inference.evaluation import evaluate
from skipweave.inference.prediction import PredictedMask, Prediction, predict, segment

__all__ = ["PredictedMask", "Prediction", "evaluate", "predict", "segment"]
