"""`skipweave env`: versions, processor, and the implementation of channel-sparse convolutions."""

import os
import platform
import shutil
from importlib import import_module

import numpy as np
import timm
import torch
import torchvision

from skipweave.ops import implementation_for
from skipweave.ops.cpu import break_even, c_library
from skipweave.ops.triton import launch
from skipweave.training.distributed.devices import resolve_precision
from skipweave_cli.options import EnvOptions
from skipweave_cli.tables import new_table, print_table, say

_SHAPES = {
    "3x3, density 0.1": (26, 3, 1),
    "1x1, density 0.1": (26, 1, 1),
    "3x3, density 0.1, blocks of 16": (26, 3, 16),
    "3x3, density 0.01": (3, 3, 1),
}
_CHANNELS = 256


def env(options: EnvOptions) -> None:
    """Print versions, the processor, and the implementation of channel-sparse convolutions used here."""
    if options.measure:
        break_even.measure()
    library = c_library.library()
    table = new_table("what", "here")
    for name, value in {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision, timm, numpy": f"{torchvision.__version__}, {timm.__version__}, {np.__version__}",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "Triton": launch.PROBLEM or import_module("triton").__version__,
        "processors": f"{os.cpu_count()}, of which torch uses {torch.get_num_threads()}",
        "what torch computes with": torch.backends.cpu.get_cpu_capability(),
        "precision that auto chooses": resolve_precision("auto", "auto"),
        "C compiler": next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), "none"),
        "C library": str(library.path),
        "what it computes with": library.instruction_set or f"nothing: {library.problem}",
        "its threads": "those of torch" if library.threaded else "one",
        "it runs up to densities": _densities(),
    }.items():
        table.add_row(name, value)
    print_table(table)
    for device, name in {"cpu": "CPU", "cuda": "GPU"}.items():
        if device == "cpu" or torch.cuda.is_available():
            say(f"Channel-sparse convolutions of float32 maps on the {name}:")
            forms = new_table("convolution", "computed by", "why")
            for convolution, shape in _SHAPES.items():
                forms.add_row(convolution, *_form(*shape, device))
            print_table(forms)


def _densities() -> str:
    figures = break_even.measured()
    shown = ", ".join(f"{value:g} ({kernel} kernels)" for kernel, value in (figures or break_even.DEFAULTS).items())
    origin = (
        f"measured, kept in {break_even.cache_file()}" if figures else "not measured: `skipweave env --measure true`"
    )
    return f"{shown}; {origin}"


def _form(fan_in: int, kernel: int, block: int, device: str) -> tuple[str, str]:
    x = torch.empty(1, _CHANNELS, 14, 14, device=device)
    weight = torch.empty(_CHANNELS, fan_in, kernel, kernel, device=device)
    index = torch.zeros(_CHANNELS // block, fan_in, dtype=torch.int32, device=device)
    form = implementation_for(x, weight, index)
    return form.name, form.reason
