"""Files of a network for ONNX Runtime and OpenVINO."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from skipweave.engines.compressed_weights import Images, Weights, half_onnx, int8_onnx, int8_openvino
from skipweave.engines.onnx_model import OnnxModel, onnx_model
from skipweave.engines.sessions import OPENVINO_INFO, engine_package, openvino_metadata
from skipweave.files.atomic_write import write_bytes
from skipweave.tracing.example_inputs import InputSize, checked_input_size
from skipweave_config.errors import SkipweaveError

Format = Literal["onnx", "openvino"]

FILES: Mapping[Format, tuple[str, ...]] = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin")}
"""File names of each format."""


def export_model(
    model: nn.Module,
    folder: Path | str,
    *,
    formats: Sequence[Format] = ("onnx",),
    input_size: InputSize | None = None,
    dynamic_size: bool = False,
    weights: Weights = "float32",
    calibration: Images | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[Path, ...]:
    """Export a trained network for inference engines, whose outputs are compared with the network's first.

    The input `images` is (N, C, H, W) float32 with dynamic N; the outputs are `logits`, then those of early exits.

    Args:
        model: Network of this library, timm, torchvision or your own, compressed or not, on the CPU. Set it to
            evaluation mode first.
        folder: Directory of the files. It is made if it does not exist; files of these names are overwritten.
        formats: `onnx` writes `model.onnx`; `openvino` writes `model.xml` and `model.bin`.
        input_size: Channels, height and width of an image; the default is that of the model's `pretrained_cfg`.
        dynamic_size: Whether H and W are dynamic too, for segmentation.
        weights: Data type of the stored weights. With float16 they are half as large and computation is the same; with
            int8 activations are quantized too, by NNCF for OpenVINO and by ONNX Runtime for ONNX.
        calibration: Preprocessed images, a few hundred, for int8: a tensor (N, C, H, W), or a sequence of (C, H, W).
        metadata: Values of the model's metadata; all but strings are stored as JSON.

    Returns:
        The paths of the files.

    Raises:
        SkipweaveError: An argument is invalid, a package is missing, the network cannot be exported, or the model's
            outputs differ from the network's by more than a thousandth of the largest (before quantization).

    Example::

        model = skipweave.create_model("sparsenet121_32").eval()
        skipweave.export_model(model, "exported", formats=("onnx", "openvino"))
    """
    if wrong := [form for form in formats if form not in FILES]:
        raise SkipweaveError(f"formats has {', '.join(map(repr, wrong))}: expected one or more of {', '.join(FILES)}")
    check_calibration(weights, calibration)
    size = checked_input_size(model, input_size)
    made = onnx_model(model, size, name=type(model).__name__, dynamic_size=dynamic_size, metadata=metadata)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    files = model_files(made, formats, weights, calibration)
    for name, content in files.items():
        write_bytes(place / name, content)
    return tuple(place / name for name in files)


def check_calibration(weights: Weights, calibration: Images | None) -> None:
    """Check that there are calibration images if, and only if, weights are int8.

    Raises:
        SkipweaveError: There are not.
    """
    if weights not in ("float32", "float16", "int8"):
        raise SkipweaveError(f"weights is {weights!r}: expected float32, float16 or int8")
    if (weights == "int8") != (calibration is not None):
        raise SkipweaveError(f"weights is {weights}: expected calibration images for int8, and none otherwise")


def model_files(
    model: OnnxModel, formats: Sequence[Format], weights: Weights = "float32", calibration: Images | None = None
) -> dict[str, bytes]:
    """Contents of the files of a model, by name.

    Args:
        model: The model, in float32.
        formats: As for `export_model`.
        weights: As for `export_model`.
        calibration: As for `export_model`.
    """
    files: dict[str, bytes] = {}
    if "onnx" in formats:
        files["model.onnx"] = _onnx_file(model.content, weights, calibration)
    if "openvino" in formats:
        files |= _openvino_files(model.content, weights, calibration)
    return files


def _onnx_file(content: bytes, weights: Weights, calibration: Images | None) -> bytes:
    if weights == "float16":
        return half_onnx(content)
    return content if calibration is None else int8_onnx(content, calibration)


def _openvino_files(content: bytes, weights: Weights, calibration: Images | None) -> dict[str, bytes]:
    openvino = engine_package("openvino")
    model = openvino.Core().read_model(content)
    metadata = openvino_metadata(model)
    if calibration is not None:
        model = int8_openvino(model, calibration)
    for key, value in metadata.items():
        model.set_rt_info(value, [OPENVINO_INFO, key])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(model, path, compress_to_fp16=weights == "float16")
        return {name: (Path(folder) / name).read_bytes() for name in FILES["openvino"]}
