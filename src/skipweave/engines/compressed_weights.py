"""Smaller weights in exported models: float16, or int8 by post-training quantization."""

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skipweave.engines.sessions import INPUT, fill_batch, reason
from skipweave.tracing.example_inputs import InputSize
from skipweave_config.errors import SkipweaveError

_SMALLEST = 64  # values: smaller tensors stay in float32
_QUANTIZED = ["Conv", "Gemm", "MatMul"]

Images = Iterable[Tensor | NDArray[np.floating]]
"""Images (C, H, W), or batches of them (N, C, H, W)."""


def checked_images(calibration: Images, input_size: InputSize, *, dynamic_size: bool) -> list[Tensor]:
    """The calibration images (C, H, W), in float32.

    Args:
        calibration: Images or batches.
        input_size: Channels, height and width of an image.
        dynamic_size: Whether images may have any height and width.

    Raises:
        SkipweaveError: There are none, or they are not preprocessed images of this size.
    """
    if not isinstance(calibration, Iterable):
        raise SkipweaveError(f"calibration is a {type(calibration).__name__}: expected preprocessed images for int8")
    images: list[Tensor] = []
    for item in calibration:
        if not isinstance(item, Tensor | np.ndarray):
            raise SkipweaveError(f"calibration has a {type(item).__name__}: expected images as tensors or arrays")
        batch = torch.as_tensor(item)
        if not batch.is_floating_point():
            raise SkipweaveError(f"calibration has {batch.dtype}: expected preprocessed images, of floating point")
        batch = batch[None] if batch.dim() == 3 else batch
        sizes = 1 if dynamic_size else 3
        if batch.dim() != 4 or batch.shape[1:][:sizes] != torch.Size(input_size)[:sizes]:
            raise SkipweaveError(
                f"calibration has {tuple(item.shape)}: expected images {tuple(input_size)}, or batches"
            )
        if not batch.isfinite().all():
            raise SkipweaveError("calibration has non-finite values: expected preprocessed images")
        images += batch.detach().to("cpu", torch.float32)
    if not images:
        raise SkipweaveError("calibration has no images: expected a few hundred for int8")
    return images


def image_batches(images: Sequence[Tensor], batch: int) -> Iterator[Tensor]:
    """Batches of consecutive images of one size."""
    for _, alike in groupby(images, key=lambda image: image.shape):
        yield from torch.stack(list(alike)).split(batch)


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


def int8_onnx(content: bytes, images: Sequence[Tensor], batch: int) -> bytes:
    """Quantize weights and activations of an ONNX model to int8, by ONNX Runtime's quantizer.

    Args:
        content: Content of the file.
        images: Preprocessed images (C, H, W).
        batch: Number of images that the model takes at once.

    Raises:
        SkipweaveError: The quantizer cannot quantize the model.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = _arrays(images, batch)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            arrays = next(self.batches, None)
            return None if arrays is None else {INPUT: arrays}

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


def int8_openvino(model: Any, images: Sequence[Tensor], batch: int) -> Any:
    """Quantize weights and activations of a model of OpenVINO to int8, by NNCF.

    Args:
        model: The model, as OpenVINO read it.
        images: Preprocessed images (C, H, W).
        batch: Number of images that the model takes at once.

    Raises:
        SkipweaveError: The quantizer cannot quantize the model.
    """
    import nncf

    with _quantizing("NNCF"):
        batches = list(_arrays(images, batch))
        return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))


def _arrays(images: Sequence[Tensor], batch: int) -> Iterator[NDArray[np.float32]]:
    """Full batches (batch, C, H, W)."""
    return (fill_batch(part, batch).numpy() for part in image_batches(images, batch))


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
