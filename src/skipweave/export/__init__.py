"""Export of trained networks to ONNX, timm and the Hugging Face Hub."""

from skipweave.export.onnx_export import OnnxModel, to_onnx
from skipweave.export.timm_folder import hub_config, model_card

__all__ = ["OnnxModel", "hub_config", "model_card", "to_onnx"]
