"""Transforms of a given CNN: conversion to SeqConv layers, compression, link removal, optimization for inference."""

from skipweave.transforms.compression.compressed_model import CompressedLayer, CompressedModel
from skipweave.transforms.compression.compression_overrides import build_compressed, check_compression
from skipweave.transforms.compression.depth_multiplier import depth_multiplier
from skipweave.transforms.compression.sparsify import sparsify
from skipweave.transforms.conversion.convert import Conversion, convert
from skipweave.transforms.inference.norm_folding import Folding
from skipweave.transforms.inference.optimize_for_inference import InferenceNet, optimize_for_inference
from skipweave.transforms.remove_links import Removal, remove_links

__all__ = [
    "CompressedLayer",
    "CompressedModel",
    "Conversion",
    "Folding",
    "InferenceNet",
    "Removal",
    "build_compressed",
    "check_compression",
    "convert",
    "depth_multiplier",
    "optimize_for_inference",
    "remove_links",
    "sparsify",
]
