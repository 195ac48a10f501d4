"""Smaller weights in exported models: float16, or int8 by post-training quantization."""

import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skipweave.engines.sessions import INPUT, reason
from skipweave_config.errors import SkipweaveError

_SMALLEST = 64  # values: smaller tensors stay in float32
_QUANTIZED = ["Conv", "Gemm", "MatMul"]

Images = Tensor | Sequence[Tensor]


def check_float16(content: bytes) -> None:
    """Check that float16 can store the weights of an ONNX model.

    Raises:
        SkipweaveError: It cannot: they would become infinite, or be clipped without a word.
    """
    import onnx
    from onnx import numpy_helper

    for tensor in onnx.load_from_string(content).graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size and not np.abs(values).max() <= np.finfo(np.float16).max:
            raise SkipweaveError(f"a weight of {tensor.name} is above 65504: expected weights float32")


def half_onnx(content: bytes) -> bytes:
    """Store the weights of an ONNX model in float16; it computes in float32 as before.

    Args:
        content: Content of the file, whose weights float16 can store.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(content)
    kept: list[Any] = []
    casts: list[Any] = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALLEST:
            kept.append(tensor)
            continue
        half = f"{tensor.name}_float16"
        kept.append(numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(onnx.helper.make_node("Cast", [half], [tensor.name], to=onnx.TensorProto.FLOAT))
    for field, parts in (("initializer", kept), ("node", [*casts, *model.graph.node])):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(parts)
    return model.SerializeToString(deterministic=True)


def int8_onnx(content: bytes, images: Images) -> bytes:
    """Quantize weights and activations of an ONNX model to int8, by ONNX Runtime's quantizer.

    Args:
        content: Content of the file.
        images: Preprocessed images (C, H, W).

    Raises:
        SkipweaveError: The quantizer cannot quantize the model.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.images = _arrays(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self.images, None)
            return None if image is None else {INPUT: image}

    with tempfile.TemporaryDirectory() as folder, _quantizing("ONNX Runtime"):
        quantized = Path(folder, "quantized.onnx")
        quantize_static(
            onnx.load_from_string(content),
            quantized,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
        return quantized.read_bytes()


def int8_openvino(model: Any, images: Images) -> Any:
    """Quantize weights and activations of a model of OpenVINO to int8, by NNCF.

    Args:
        model: The model, as OpenVINO read it.
        images: Preprocessed images (C, H, W).

    Raises:
        SkipweaveError: The quantizer cannot quantize the model.
    """
    import nncf

    with _quantizing("NNCF"):
        return nncf.quantize(model, nncf.Dataset(list(_arrays(images))), subset_size=len(images))


def _arrays(images: Images) -> Iterator[NDArray[np.float32]]:
    """Each image as a batch (1, C, H, W)."""
    return (image[None].cpu().float().numpy() for image in images)


@contextmanager
def _quantizing(quantizer: str) -> Iterator[None]:
    """Run a quantizer without its progress bars and its advice to preprocess the model, which is done already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    except Exception as error:  # of the quantizers' own classes
        raise SkipweaveError(f"{quantizer} cannot quantize the model: {reason(error)}") from error
    finally:
        logging.disable(before)
