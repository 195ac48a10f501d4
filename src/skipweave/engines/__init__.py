"""Inference engines: conversion of networks to ONNX and OpenVINO, and sessions that run them."""

from skipweave.engines.compressed_weights import Weights
from skipweave.engines.export_model import FILES, Format, check_calibration, export_model, model_files
from skipweave.engines.onnx_model import OnnxModel, onnx_model
from skipweave.engines.sessions import EngineName, EngineNet, EnginePrecision, Session, load_onnx, load_openvino

__all__ = [
    "FILES",
    "EngineName",
    "EngineNet",
    "EnginePrecision",
    "Format",
    "OnnxModel",
    "Session",
    "Weights",
    "check_calibration",
    "export_model",
    "load_onnx",
    "load_openvino",
    "model_files",
    "onnx_model",
]
