"""ONNX Runtime as the tests use it."""

from pathlib import Path

import onnxruntime


def onnx_session(model: bytes | Path) -> onnxruntime.InferenceSession:
    """Load a model to be run in one thread: several wait for each other in a busy loop."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
