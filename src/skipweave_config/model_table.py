"""The registered models with their size and cost, from a file, so that they are listed without torch.

`python -m skipweave.analysis.model_profiles` writes the file; the tests compare it with the models.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationInfo

from skipweave_config.errors import SkipweaveError
from skipweave_config.hints import nearest
from skipweave_config.validation import validate_json

#: Arguments that every model takes: those of `skipweave.depth_multiplier` and `skipweave.sparsify`.
COMPRESSION = ("depth_multiplier", "sparsify")

FILE = Path(__file__).with_name("models.json")


@dataclass(frozen=True)
class ModelEntry:
    """A registered model.

    Attributes:
        name: Its name.
        family: Module of `skipweave.models` that defines it.
        input_size: Channels, height and width of its images.
        parameters: Learnable parameters.
        macs: Multiply-accumulates of one image.
        published: Parameters as printed in the paper; empty if the paper prints none.
        arguments: Names of its arguments.
    """

    name: str
    family: str
    input_size: tuple[int, int, int]
    parameters: int
    macs: int
    published: str
    arguments: tuple[str, ...]


@cache
def model_table() -> dict[str, ModelEntry]:
    """All registered models by name."""
    entries = validate_json(list[ModelEntry], json.loads(FILE.read_text(encoding="utf-8")), FILE.name)
    return {entry.name: entry for entry in entries}


def check_args(cls: type, args: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """Validator of `args`: names that a listed model takes. Values, and other models, are checked by building them."""
    name = info.data.get("name")
    entry = model_table().get(name) if name and args else None
    valid = (*entry.arguments, *COMPRESSION) if entry else tuple(args)
    unknown = [argument for argument in args if argument not in valid]
    if unknown:
        listed = f"valid names: {', '.join(valid)}"
        raise SkipweaveError(*(f"unknown argument {one!r} of {name}: {nearest(one, valid)}{listed}" for one in unknown))
    return args


def sparsify_density(args: Mapping[str, Any]) -> float | None:
    """The density that a model's arguments ask `sparsify` for; None if they do not.

    >>> sparsify_density({"sparsify": {"density": 0.1, "pattern": "block"}})
    0.1
    """
    asked = args.get("sparsify")
    density = asked.get("density") if isinstance(asked, Mapping) else asked
    return float(density) if isinstance(density, int | float) else None
