"""Names of inference engines, precisions and weights."""

from typing import Literal

Engine = Literal["torch", "onnxruntime", "openvino"]
Precision = Literal["float32", "bf16"]
Weights = Literal["float32", "float16", "int8"]
