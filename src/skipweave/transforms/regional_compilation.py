"""Regional compilation: compile a network unit by unit, so that equal units share their compiled code."""

from typing import Any

import torch
from torch import nn

from skipweave.layers.seqconv import GroupUnit
from skipweave.layers.unit import Unit
from skipweave_config.errors import SkipweaveError

MAX_VARIANTS = 256
"""Maximum number of compiled variants of a unit class; further units run eagerly. Deep networks have some dozens."""


def compile_units(model: nn.Module, **options: Any) -> int:
    """Compile every unit of a network separately on its first run; all other modules run eagerly.

    Units with equal numbers and widths of inputs and equal resolution share one compiled variant. With sparse
    topologies, a stage of n units has O(log n) variants: SparseNet-BC-1001 has 45, SparseNet-BC-100 has 24. Compiling
    the whole network (`model.compile()`) can make a small network faster still, but compilation time grows with the
    number of units. Names, weights and checkpoints do not change. `torch._dynamo.config.recompile_limit` is raised for
    the whole process.

    Args:
        model: A network with units of skipweave.
        options: Options of `torch.compile`; `dynamic` is False by default, so that every variant is specialized.

    Returns:
        The number of units.

    Raises:
        SkipweaveError: The network has no units.

    >>> import skipweave
    >>> compile_units(skipweave.create_model("sparsenet40_12"))
    36
    """
    units = find_units(model)
    if not units:
        raise SkipweaveError(f"{type(model).__name__} has no units to compile: use model.compile()")
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MAX_VARIANTS)
    for unit in units:
        unit.compile(**{"dynamic": False, **options})
    return len(units)


def find_units(model: nn.Module) -> list[nn.Module]:
    """The units of a network that can be compiled; empty for networks of other libraries."""
    return [module for module in model.modules() if isinstance(module, Unit | GroupUnit)]
