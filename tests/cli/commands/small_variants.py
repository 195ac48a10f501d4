"""Registration of a small variant of a family, with weights of a folder in place of those of the package."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from timm.models import _registry as registry
from torch import nn

from skipweave.models.registry import _VARIANTS, register_variants
from skipweave_config import shipped_weights


@contextmanager
def registered(
    network: type[nn.Module], name: str, arguments: Mapping[str, Any], cfg: Mapping[str, Any], folder: Path
) -> Iterator[None]:
    """Register a variant as an import with the weights of the folder does, and remove it afterwards."""
    module = sys.modules[network.__module__]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped_weights, "FOLDER", folder)
        register_variants(network, {name: arguments}, cfg)
        try:
            yield
        finally:
            registry._clear_model_entries(name)
            del registry._model_entrypoints[name], _VARIANTS[name], vars(module)["default_cfgs"][name]
            vars(module)["__all__"].remove(name)
