"""Files of a network for ONNX Runtime and OpenVINO."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor, nn

from skipweave.engines.compressed_weights import (
    Images,
    check_float16,
    checked_images,
    half_onnx,
    image_batches,
    int8_onnx,
    int8_openvino,
)
from skipweave.engines.onnx_conversion import Comparison, Example, Kind, OnnxModel, any_engine, compare, onnx_model
from skipweave.engines.sessions import (
    OPENVINO_INFO,
    load_openvino,
    openvino_metadata,
    read_openvino,
    reason,
)
from skipweave.files.atomic_write import write_together
from skipweave.tracing.example_inputs import InputSize, checked_input_size
from skipweave_config.engines import Weights
from skipweave_config.errors import SkipweaveError
from skipweave_config.extras import missing

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
_TOLERANCES: Mapping[Weights, float] = {"float32": 1e-3, "float16": 5e-2, "int8": 0.5}  # of the largest output
_COMPARED = 16  # calibration images


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
        calibration: Preprocessed images, a few hundred, for int8: a tensor (N, C, H, W), or an iterable of images
            (C, H, W) or batches, tensors or numpy arrays of floating point. All are kept in memory.
        metadata: Values of the model's metadata; all but strings are stored as JSON.

    Returns:
        The paths of the files.

    Raises:
        SkipweaveError: An argument is invalid, a package is missing, the network cannot be exported, or the outputs of
            a file differ from the network's by more than a thousandth of the largest; with float16 by more than a
            twentieth, with int8 by more than a half, on the calibration images.

    Example::

        model = skipweave.create_model("sparsenet121_32").eval()
        skipweave.export_model(model, "exported", formats=("onnx", "openvino"))
    """
    check_formats(formats, weights, calibrated=calibration is not None)
    place = Path(folder)
    _check_folder(place, formats)
    size = checked_input_size(model, input_size)
    images = None if calibration is None else checked_images(calibration, size, dynamic_size=dynamic_size)
    made = onnx_model(model, size, name=type(model).__name__, batch=batch, dynamic_size=dynamic_size, metadata=metadata)
    files, _ = model_files(made, formats, weights, images)
    place.mkdir(parents=True, exist_ok=True)
    write_together({place / name: content for name, content in files.items()})
    return tuple(place / name for name in files)


def check_formats(formats: Sequence[Format], weights: Weights, *, calibrated: bool) -> None:
    """Check what can be checked before a network is exported.

    Args:
        formats: As for `export_model`.
        weights: As for `export_model`.
        calibrated: Whether there are calibration images.

    Raises:
        SkipweaveError: A format or the weights are unknown, a package is missing, or there are no calibration images
            for int8, or some for other weights.
    """
    problems = []
    if isinstance(formats, str) or not formats or any(form not in FILES for form in formats):
        problems.append(f"formats is {formats!r}: expected a list of one or more of {', '.join(FILES)}")
    if weights not in get_args(Weights):
        problems.append(f"weights is {weights!r}: expected one of {', '.join(get_args(Weights))}")
    elif (weights == "int8") != calibrated:
        problems.append(f"weights is {weights}: expected calibration images for int8, and none otherwise")
    if not problems:
        problems = missing(list(dict.fromkeys(name for form in formats for name in _PACKAGES[form, weights])))
    if problems:
        raise SkipweaveError(*problems)


def _check_folder(folder: Path, formats: Sequence[Format]) -> None:
    existing = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    if existing.exists() and not existing.is_dir():
        raise SkipweaveError(f"folder is {folder}: expected a directory, but {existing} is a file")
    if wrong := [folder / name for form in formats for name in FILES[form] if (folder / name).is_dir()]:
        raise SkipweaveError(f"{wrong[0]} is a directory: expected a file, or none")


def model_files(
    model: OnnxModel,
    formats: Sequence[Format],
    weights: Weights = "float32",
    calibration: Sequence[Tensor] | None = None,
) -> tuple[dict[str, bytes], dict[Format, Comparison]]:
    """Make the files of a model, run them, and compare their outputs with the network's.

    Args:
        model: The model, in float32.
        formats: As for `export_model`.
        weights: As for `export_model`.
        calibration: Images (C, H, W) for int8.

    Returns:
        The contents of the files by name, and the comparison of each format, with int8 on calibration images.

    Raises:
        SkipweaveError: As for `export_model`.
    """
    if weights == "float16":
        check_float16(model.content)
    files: dict[str, bytes] = {}
    compared: dict[Format, Comparison] = {}
    examples: Sequence[Example] = model.examples
    kind: Kind = "random"
    if calibration is not None:  # random noise is outside the calibrated range
        session, kind = any_engine(model.content), "calibration"
        examples = [(images, session(images)) for images in image_batches(calibration[:_COMPARED], model.batch or 1)]
    if "onnx" in formats:
        files["model.onnx"] = _onnx_file(model, weights, calibration)
        if weights == "float32":
            compared["onnx"] = model.comparison
        else:
            compared["onnx"] = compare(any_engine(files["model.onnx"]), examples, kind)
    if "openvino" in formats:
        files |= _openvino_files(model, weights, calibration)
        compared["openvino"] = compare(load_openvino((files["model.xml"], files["model.bin"])), examples, kind)
    for comparison in compared.values():
        comparison.require(_TOLERANCES[weights])
    return files, compared


def _onnx_file(model: OnnxModel, weights: Weights, calibration: Sequence[Tensor] | None) -> bytes:
    if weights == "float16":
        return half_onnx(model.content)
    return model.content if calibration is None else int8_onnx(model.content, calibration, model.batch or 1)


def _openvino_files(made: OnnxModel, weights: Weights, calibration: Sequence[Tensor] | None) -> dict[str, bytes]:
    import openvino

    model = read_openvino(made.content)
    metadata = openvino_metadata(model)
    if calibration is not None:
        model = int8_openvino(model, calibration, made.batch or 1)
    for key, value in metadata.items():
        model.set_rt_info(value, [OPENVINO_INFO, key])
    with tempfile.TemporaryDirectory() as folder:
        try:
            openvino.save_model(model, Path(folder, "model.xml"), compress_to_fp16=weights == "float16")
        except Exception as error:  # OpenVINO raises RuntimeError and others
            raise SkipweaveError(f"OpenVINO cannot save the model: {reason(error)}") from error
        return {name: Path(folder, name).read_bytes() for name in FILES["openvino"]}
