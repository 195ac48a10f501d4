"""Optional packages, by the extra of skipweave that installs them. Looked for without importing them."""

import importlib.util
from collections.abc import Sequence

from skipweave_config.errors import SkipweaveError

EXTRAS: dict[str, tuple[str, ...]] = {
    "train": (
        "PIL",
        "huggingface_hub",
        "lightning_fabric",
        "matplotlib",
        "pydantic",
        "rich",
        "scipy",
        "sklearn",
        "tensorboard",
        "torchmetrics",
        "yaml",
    ),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("nncf", "openvino"),
}
"""Modules of the packages of each extra."""


def installed(module: str) -> bool:
    """Whether a module could be imported."""
    return importlib.util.find_spec(module) is not None


def missing(modules: Sequence[str]) -> list[str]:
    """How to install those of these modules that are missing, one message per extra.

    Args:
        modules: Names of `EXTRAS`.
    """
    lost = {
        extra: [name for name in names if name in modules and not installed(name)] for extra, names in EXTRAS.items()
    }
    return [
        f"not installed here: {', '.join(names)}; pip install 'skipweave[{extra}]'"
        for extra, names in lost.items()
        if names
    ]


def require_extra(extra: str) -> None:
    """Check that an extra is installed.

    Args:
        extra: Name of `EXTRAS`.

    Raises:
        SkipweaveError: A package of it is not installed.
    """
    require(*EXTRAS[extra])


def require(*modules: str) -> None:
    """Check that modules are installed.

    Args:
        *modules: Names of `EXTRAS`.

    Raises:
        SkipweaveError: One or more are not.
    """
    if problems := missing(modules):
        raise SkipweaveError(*problems)
