"""Files of a network for ONNX Runtime and OpenVINO."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from torch import nn

from skipweave.engines.compressed_weights import Images, check_float16, half_onnx, int8_onnx, int8_openvino
from skipweave.engines.onnx_conversion import Comparison, OnnxModel, onnx_model
from skipweave.engines.sessions import (
    OPENVINO_INFO,
    load_onnx,
    load_openvino,
    missing,
    openvino_metadata,
)
from skipweave.files.atomic_write import write_bytes
from skipweave.tracing.example_inputs import InputSize, checked_input_size
from skipweave_config.engines import Weights
from skipweave_config.errors import SkipweaveError

Format = Literal["onnx", "openvino"]

FILES: Mapping[Format, tuple[str, ...]] = {"onnx": ("model.onnx",), "openvino": ("model.bin", "model.xml")}
"""File names of each format, in the order in which they are written."""

_PACKAGES = {
    ("onnx", "float32"): (),
    ("onnx", "float16"): (),
    ("onnx", "int8"): ("onnxruntime",),
    ("openvino", "float32"): ("openvino",),
    ("openvino", "float16"): ("openvino",),
    ("openvino", "int8"): ("openvino", "nncf"),
}
_TOLERANCES: Mapping[Weights, float] = {"float32": 1e-3, "float16": 5e-2}  # relative to the largest output


def export_model(
    model: nn.Module,
    folder: Path | str,
    *,
    formats: Sequence[Format] = ("onnx",),
    input_size: InputSize | None = None,
    batch: int | None = None,
    dynamic_size: bool = False,
    weights: Weights = "float32",
    calibration: Images | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[Path, ...]:
    """Export a trained network for inference engines, whose outputs are compared with the network's first.

    The input `images` is (N, C, H, W) float32; the outputs are `logits`, then those of early exits.

    Args:
        model: Network of this library, timm, torchvision or your own that returns a tensor, compressed or not, in
            evaluation mode, in float32 on the CPU.
        folder: Directory of the files. It is made if it does not exist; files of these names are overwritten.
        formats: `onnx` writes `model.onnx`; `openvino` writes `model.xml` and `model.bin`.
        input_size: Channels, height and width of an image; the default is that of the model's `pretrained_cfg`.
        batch: N, which is faster by a few percent in OpenVINO; None is dynamic.
        dynamic_size: Whether H and W are dynamic too, for segmentation.
        weights: Data type of the stored weights. With float16 they are half as large and computation is the same; with
            int8 activations are quantized too, by NNCF for OpenVINO and by ONNX Runtime for ONNX.
        calibration: Preprocessed images, a few hundred, for int8: a tensor (N, C, H, W), or a sequence of (C, H, W).
        metadata: Values of the model's metadata; all but strings are stored as JSON.

    Returns:
        The paths of the files.

    Raises:
        SkipweaveError: An argument is invalid, a package is missing, the network cannot be exported, or the outputs of
            a file differ from the network's by more than a thousandth of the largest, with float16 by more than a
            twentieth.

    Example::

        model = skipweave.create_model("sparsenet121_32").eval()
        skipweave.export_model(model, "exported", formats=("onnx", "openvino"))
    """
    check_formats(formats, weights, calibration)
    size = checked_input_size(model, input_size)
    made = onnx_model(model, size, name=type(model).__name__, batch=batch, dynamic_size=dynamic_size, metadata=metadata)
    files, _ = model_files(made, formats, weights, calibration)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name in files:
        (place / name).unlink(missing_ok=True)  # after a kill no file is of another model than the next
    for name, content in files.items():
        write_bytes(place / name, content)
    return tuple(place / name for name in files)


def check_formats(formats: Sequence[Format], weights: Weights, calibration: Images | None) -> None:
    """Check what can be checked before a network is exported.

    Raises:
        SkipweaveError: A format or the weights are unknown, a package is missing, or there are no calibration images
            for int8, or some for other weights.
    """
    problems = []
    if isinstance(formats, str) or not formats or any(form not in FILES for form in formats):
        problems.append(f"formats is {formats!r}: expected a list of one or more of {', '.join(FILES)}")
    if weights not in get_args(Weights):
        problems.append(f"weights is {weights!r}: expected one of {', '.join(get_args(Weights))}")
    elif (weights == "int8") != (calibration is not None and len(calibration) > 0):
        problems.append(f"weights is {weights}: expected calibration images for int8, and none otherwise")
    if not problems:
        problems = missing(list(dict.fromkeys(name for form in formats for name in _PACKAGES[form, weights])))
    if problems:
        raise SkipweaveError(*problems)


def model_files(
    model: OnnxModel, formats: Sequence[Format], weights: Weights = "float32", calibration: Images | None = None
) -> tuple[dict[str, bytes], dict[Format, Comparison]]:
    """Make the files of a model, run them, and compare their outputs with the network's.

    Args:
        model: The model, in float32.
        formats: As for `export_model`.
        weights: As for `export_model`.
        calibration: As for `export_model`.

    Returns:
        The contents of the files by name, and the comparison of each format that can be run here; none of int8.

    Raises:
        SkipweaveError: As for `export_model`.
    """
    if weights == "float16":
        check_float16(model.content)
    files: dict[str, bytes] = {}
    compared: dict[Format, Comparison] = {}
    if "onnx" in formats:
        content = _onnx_file(model.content, weights, calibration)
        files["model.onnx"] = content
        if not missing(["onnxruntime"]):
            compared["onnx"] = model.compare(load_onnx(content))
    if "openvino" in formats:
        files |= _openvino_files(model.content, weights, calibration)
        compared["openvino"] = model.compare(load_openvino((files["model.xml"], files["model.bin"])))
    if weights not in _TOLERANCES:
        return files, {}  # noise is outside the calibrated range
    for comparison in compared.values():
        comparison.require(_TOLERANCES[weights])
    return files, compared


def _onnx_file(content: bytes, weights: Weights, calibration: Images | None) -> bytes:
    if weights == "float16":
        return half_onnx(content)
    return content if calibration is None else int8_onnx(content, calibration)


def _openvino_files(content: bytes, weights: Weights, calibration: Images | None) -> dict[str, bytes]:
    import openvino

    model = openvino.Core().read_model(content)
    metadata = openvino_metadata(model)
    if calibration is not None:
        model = int8_openvino(model, calibration)
    for key, value in metadata.items():
        model.set_rt_info(value, [OPENVINO_INFO, key])
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, Path(folder, "model.xml"), compress_to_fp16=weights == "float16")
        return {name: Path(folder, name).read_bytes() for name in FILES["openvino"]}
