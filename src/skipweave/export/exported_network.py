"""Trained networks in inference engines, with their description as the model's metadata."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from skipweave.engines import EngineNet, OnnxModel, Session, load_model, load_onnx, load_openvino, onnx_model
from skipweave.training import Description
from skipweave_config.engines import Engine, Precision
from skipweave_config.errors import SkipweaveError

_ANY_SIZE = (64, 96)  # example height and width for networks that accept any
_KEYS = {field.name for field in fields(Description)}  # quantizers add others
_TEXT = ("model", "data")  # the other values of the metadata are JSON
_ENGINES: dict[str, Engine] = {".onnx": "onnxruntime", ".xml": "openvino"}

ENDINGS = tuple(_ENGINES)
"""Endings of the files that `load_exported` loads."""


def to_onnx(network: nn.Module, description: Description, batch: int | None = None) -> OnnxModel:
    """Export a trained network to ONNX, run the model, and compare its outputs.

    The input `images` is (N, C, H, W) float32, preprocessed as in the description, with dynamic N; for segmentation, H
    and W are dynamic too. The outputs are `logits`, then those of the exits. The model's metadata hold the description:
    `model`, `args`, `data`, `classes`, `preprocessing`, `palette`, and `multi_label` if images have any number of
    labels; all but strings are JSON.

    Args:
        network: Network in evaluation mode on the CPU, as returned by `load_run` and `load_weights`.
        description: Description of the network.
        batch: N; None is dynamic.

    Returns:
        The model with its weights.

    Raises:
        SkipweaveError: A package is missing, torch cannot export the network, or the model's outputs differ from the
            network's by more than a thousandth of the largest.
    """
    preprocessing = description.preprocessing
    return onnx_model(
        network,
        (preprocessing.channels, *(preprocessing.image_size or _ANY_SIZE)),
        name=description.model,
        dynamic_size=preprocessing.image_size is None,
        batch=batch,
        metadata=description.as_plain(),
    )


def in_engine(
    network: nn.Module, description: Description, engine: Engine, precision: Precision = "float32"
) -> nn.Module:
    """A trained network, run by an engine.

    Args:
        network: As for `to_onnx`.
        description: Description of the network.
        engine: The engine; `torch` returns the network as it is.
        precision: Precision of computation, bfloat16 for OpenVINO only.

    Raises:
        SkipweaveError: As for `to_onnx`, or the engine has no such precision.
    """
    _check_precision(engine, precision)
    if engine == "torch":
        return network
    return EngineNet(load_model(to_onnx(network, description).content, engine, precision))


def load_exported(
    path: Path, engine: Engine | None = None, precision: Precision = "float32"
) -> tuple[EngineNet, Description]:
    """Load a network that was exported with its description, and run it in an engine.

    Args:
        path: An .onnx file, or an .xml file next to its .bin file.
        engine: The engine; None is ONNX Runtime for .onnx and OpenVINO for .xml.
        precision: As for `in_engine`.

    Raises:
        SkipweaveError: There is no such file, the engine cannot load it, or it has no description.
    """
    ending, weights = path.suffix.lower(), path.with_suffix(".bin")
    if ending not in _ENGINES or not path.is_file():
        raise SkipweaveError(f"{path} is no exported network: expected an existing file, {' or '.join(_ENGINES)}")
    if ending == ".xml" and not weights.is_file():
        raise SkipweaveError(
            f"there is no {weights}, which has the weights of {path}: expected it in the same directory"
        )
    engine = engine or _ENGINES[ending]
    if engine == "torch" or (engine == "onnxruntime" and ending != ".onnx"):
        raise SkipweaveError(f"engine is {engine!r}: {path} runs in {_ENGINES[ending]}")
    _check_precision(engine, precision)
    content = path.read_bytes()
    if engine == "openvino":
        model = (content, weights.read_bytes()) if ending == ".xml" else content
        session = load_openvino(model, precision=precision)
    else:
        session = load_onnx(content)
    return EngineNet(session), Description.from_plain(_description(session), path)


def _description(session: Session) -> dict[str, Any]:
    """The description in a model's metadata; values that are no JSON stay text, which the description rejects."""

    def value(key: str, text: str) -> Any:
        try:
            return text if key in _TEXT else json.loads(text)
        except ValueError:
            return text

    return {key: value(key, text) for key, text in session.metadata.items() if key in _KEYS}


def _check_precision(engine: Engine, precision: Precision) -> None:
    if precision == "bf16" and engine != "openvino":
        raise SkipweaveError(f"precision is bf16 and the engine is {engine}: expected openvino, or float32")
