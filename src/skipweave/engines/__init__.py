"""Inference engines: conversion of networks to ONNX and OpenVINO, and sessions that run them."""

from skipweave.engines.engine_files import FILES, Format, check_formats, export_model, model_files
from skipweave.engines.onnx_conversion import Comparison, OnnxModel, onnx_model
from skipweave.engines.sessions import EngineNet, Session, load_model, load_onnx, load_openvino

__all__ = [
    "FILES",
    "Comparison",
    "EngineNet",
    "Format",
    "OnnxModel",
    "Session",
    "check_formats",
    "export_model",
    "load_model",
    "load_onnx",
    "load_openvino",
    "model_files",
    "onnx_model",
]
