"""The optimizers with their arguments, from a file, so that configs are checked without torch and timm.

`python -m skipweave.training.optimization.optimizer_profiles` writes the file; the tests compare it with timm.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from skipweave_config.validation import validate_json

FILE = Path(__file__).with_name("optimizers.json")


@dataclass(frozen=True)
class OptimizerEntry:
    """An optimizer.

    Attributes:
        name: Its name in timm.
        momentum: Whether it has `optim.momentum`.
        nesterov: Default of `optim.nesterov`; None if it has none.
        arguments: Names of its other arguments.
    """

    name: str
    momentum: bool
    nesterov: bool | None
    arguments: tuple[str, ...]


@cache
def optimizer_table() -> dict[str, OptimizerEntry]:
    """All optimizers by name."""
    entries = validate_json(list[OptimizerEntry], json.loads(FILE.read_text(encoding="utf-8")), FILE.name)
    return {entry.name: entry for entry in entries}
