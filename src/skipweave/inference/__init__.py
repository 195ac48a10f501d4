"""Use trained networks: evaluate them on a split, and predict images."""

from skipweave.inference.evaluation import evaluate
from skipweave.inference.prediction import PixelPrediction, Prediction, label_pixels, predict

__all__ = ["PixelPrediction", "Prediction", "evaluate", "label_pixels", "predict"]
