"""Compilation of a network in training by torch.compile: the choice for `compile: auto`, and its use."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import nn

from skipweave.files.user_cache import cache_folder
from skipweave.layers.aggregation import ConcatRead
from skipweave.ops.cpu import c_library
from skipweave.training.auxiliary_heads import AllHeads
from skipweave.transforms.regional_compilation import compile_units, find_units
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import Compile, FitConfig

#: Steps of a run from which on `auto` may compile: compiling takes minutes, and saves some tenths of a second a step.
ENOUGH_STEPS = 2000


def resolve(config: FitConfig, network: nn.Module, *, device: torch.device, steps: int) -> tuple[FitConfig, str]:
    """Replace `auto` by the mode of this run, and leave a densified network uncompiled.

    `auto` compiles the whole network where that was measured to win (docs/performance.md): in bfloat16 on a CPU, if the
    C library does not concatenate its nodes, it has no max pools, and the run is long enough.

    Args:
        config: The config.
        network: The network; it may be on the meta device.
        device: Device of the run.
        steps: Number of steps of the run.

    Returns:
        The config with the mode, and a note, which may be empty.
    """
    if config.compile != "auto":
        if config.compile != "none" and config.densify.every:
            return replace(config, compile="none"), f"not compiled ({config.compile}): densify changes the network"
        return config, ""
    worth_it = config.precision == "bf16-mixed" and device.type == "cpu" and steps >= ENOUGH_STEPS
    slower = _has_kernels(network) or any(isinstance(module, nn.MaxPool2d) for module in network.modules())
    if not worth_it or config.densify.every or slower:
        return replace(config, compile="none"), ""
    if problem := compiler_problem(device):
        return replace(config, compile="none"), f"not compiled: {problem}"
    note = f"compiling the network, which takes minutes at the first step; compiled code is kept in {_cache()}"
    return replace(config, compile="network"), note


def _has_kernels(network: nn.Module) -> bool:
    """Whether the C library concatenates the nodes of a network, which compiled code does more slowly."""
    reads = any(isinstance(module, ConcatRead) and len(module.widths) > 1 for module in network.modules())
    return reads and not c_library.library().problem


def compiler_problem(device: torch.device) -> str:
    """Why torch.compile cannot generate code for a CPU; empty if it can, and for other devices."""
    if device.type != "cpu":
        return ""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "torch.compile needs a C++ compiler: install g++ or clang++, or name one in CXX"
    return ""


def check_compiler(mode: Compile, device: torch.device) -> None:
    """Check that torch.compile can do what a mode other than `auto` asks for.

    Raises:
        SkipweaveError: It cannot.
    """
    if mode in ("units", "network") and (problem := compiler_problem(device)):
        raise SkipweaveError(f"compile is {mode}, but {problem}; or use --compile none")


def check_units(mode: Compile, name: str, network: nn.Module) -> None:
    """Check that a network has units, if these are to be compiled.

    Raises:
        SkipweaveError: It has none.
    """
    if mode == "units" and not find_units(network):
        raise SkipweaveError(f"compile is units, but {name} has no units of this library: use network or auto")


def compile_heads(heads: AllHeads, mode: Compile) -> None:
    """Compile a network with all its heads at its first step; `auto` that is not resolved compiles nothing.

    Compiled code is kept between runs in `~/.cache/skipweave/inductor`, or in TORCHINDUCTOR_CACHE_DIR.
    """
    if mode in ("none", "auto"):
        return
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", _cache())
    if mode == "units":
        compile_units(heads.network)
    else:
        heads.compile(dynamic=False)


def _cache() -> str:
    return os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))


def eager(mode: Compile) -> AbstractContextManager[object]:
    """Context in which nothing that `compile_heads` compiled is used: no compilation for batches of other sizes."""
    return nullcontext() if mode == "none" else torch.compiler.set_stance("force_eager")


@contextmanager
def compile_errors(mode: Compile) -> Iterator[None]:
    """Context of a training step, whose first call compiles.

    Raises:
        SkipweaveError: torch cannot compile the network.
    """
    if mode == "none":
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SkipweaveError(f"compile is {mode}, but torch.compile failed ({reason}): use --compile none") from error
