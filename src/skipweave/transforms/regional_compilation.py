"""Compile a network unit by unit: units of one form share their kernels, so that depth costs little."""

from typing import Any

import torch
from torch import nn

from skipweave.errors import SkipweaveError
from skipweave.layers.seqconv import GroupUnit
from skipweave.layers.unit import Unit

FORMS = 256
"""Forms of one kind of unit that are compiled, beyond which units run as they are. Deep networks have some dozens."""


def compile_units(model: nn.Module, **options: Any) -> int:
    """Have `torch.compile` make kernels of each unit, when it runs first; the rest runs as it is.

    Units that read as many nodes, as wide and of one resolution are one form and are compiled once. Of sparse
    topologies a stage of n units has in the order of log n forms: SparseNet-BC-1001 has 45, SparseNet-BC-100 has 24.
    Compiling the whole network (`model.compile()`) may make a small network faster still, but its time grows with the
    number of units. Names, weights and checkpoints stay what they were. torch's limit of forms
    (`torch._dynamo.config.recompile_limit`) is raised for the whole process.

    Args:
        model: A network with units of this library.
        options: Of `torch.compile`; `dynamic` is false by default, so that every form has kernels of its own.

    Returns:
        The number of units.

    Raises:
        SkipweaveError: The network has no units.

    >>> import skipweave
    >>> compile_units(skipweave.create_model("sparsenet40_12"))
    36
    """
    units = [module for module in model.modules() if isinstance(module, Unit | GroupUnit)]
    if not units:
        raise SkipweaveError(f"{type(model).__name__} has no units to compile one by one: use model.compile()")
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, FORMS)
    for unit in units:
        unit.compile(**{"dynamic": False, **options})
    return len(units)
