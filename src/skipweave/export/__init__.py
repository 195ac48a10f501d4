"""Export of trained networks to ONNX, timm and the Hugging Face Hub."""

from skipweave.export.exported_network import in_engine, load_exported, to_onnx
from skipweave.export.timm_folder import hub_config, model_card

__all__ = ["hub_config", "in_engine", "load_exported", "model_card", "to_onnx"]
