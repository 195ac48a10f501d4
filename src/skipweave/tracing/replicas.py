"""Run replicas of networks, on real tensors or on the meta device, without a trace outside them."""

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from skipweave.errors import SkipweaveError
from skipweave.tracing.copies import on_meta, replica, watched
from skipweave.tracing.example_inputs import Inputs, InputSize, example
from skipweave.tracing.unsupported_networks import check_network

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)
"""Normalizations: they give maps of the shape that they are given, whatever its size."""


@dataclass(frozen=True, eq=False)
class Trials:
    """Inputs that a network is run with, and where it can be run.

    Attributes:
        inputs: Those given, which it accepts, then variants of another batch size and of other image sizes, which it
            may not.
        device: "meta" where its sizes can be followed without values; None where it has to run on its own tensors.
    """

    inputs: tuple[Inputs, ...]
    device: str | None

    def replica(self, model: nn.Module) -> nn.Module:
        """Copy a network to be run on the inputs of `here`."""
        return replica(model) if self.device is None else on_meta(model)

    def here(self) -> Iterator[Inputs]:
        """Yield the inputs on the device."""
        for inputs in self.inputs:
            yield inputs if self.device is None else inputs.map(lambda tensor: tensor.to("meta"))


def trials_of(model: nn.Module, input_size: InputSize | None, example_inputs: Any = None) -> Trials:
    """Find out where a network runs in evaluation mode, and what to run it with.

    Args:
        model: Not changed.
        input_size: Channels, height and width of an image; by default those of the model's `pretrained_cfg`.
        example_inputs: Arguments of one call in place of a size (`skipweave.tracing.example_inputs.example`).

    Raises:
        SkipweaveError: The network is of a kind that cannot be looked into, or cannot run on these inputs.
    """
    check_network(model)
    given = example(model, input_size, example_inputs)
    only_sizes = any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    for device in ("meta",) if only_sizes else ("meta", None):
        trials = Trials(tuple(given.variants()), device)
        twin = trials.replica(model)
        try:
            run(twin, next(trials.here()))
        except SkipweaveError as error:
            refused = error
            continue
        return trials
    if example_inputs is None:
        refused = SkipweaveError(f"{refused}; give example_inputs where it takes something else than a batch of images")
    hooked = [name for name, part in model.named_modules() if watched(part)]
    if hooked:
        raise SkipweaveError(
            f"{refused} (without its hooks, as on {hooked[0] or 'the network itself'}, which do not run here)"
        )
    raise refused


def runs(twin: nn.Module, inputs: Inputs, method: str = "forward") -> bool:
    """Whether a replica accepts inputs."""
    try:
        run(twin, inputs, method)
    except SkipweaveError:
        return False
    return True


def run(twin: nn.Module, inputs: Inputs, method: str = "forward") -> object:
    """Run a replica.

    Args:
        twin: The replica, in the mode in which it is to run.
        inputs: On its device.
        method: Which of its methods runs; what an iterator yields is returned as a list.

    Raises:
        SkipweaveError: A module of it, which is named, cannot run.
    """
    entered: list[nn.Module] = []
    inputs = inputs.map(Tensor.clone)  # networks change theirs in place

    def left(*_: object) -> None:
        entered.pop()

    with undisturbed(), QuickNorms() if inputs.are_meta else nullcontext():
        hooks = (
            register_module_forward_pre_hook(lambda part, _: entered.append(part)),
            register_module_forward_hook(left),
        )
        try:
            made = (twin if method == "forward" else getattr(twin, method))(*inputs.args, **inputs.kwargs)
            return list(made) if isinstance(made, Iterator) else made
        except SkipweaveError:
            raise
        except Exception as error:
            names = {part: name for name, part in twin.named_modules()}
            part = entered[-1] if entered else twin
            where = f"{names.get(part) or 'the network itself'} ({type(part).__name__})"
            raise SkipweaveError(f"{where} cannot run for {inputs}: {reason(error)}") from error
        finally:
            for hook in hooks:
                hook.remove()


def reason(error: Exception) -> str:
    """What an exception says, in a line."""
    said = " ".join(str(error).split())
    return said if isinstance(error, SkipweaveError) else f"{type(error).__name__}: {said}".rstrip(": ")


@contextmanager
def undisturbed() -> Iterator[None]:
    """While it lasts: no gradients, no autocast, no warnings, no global hooks, and random numbers of a fixed seed.

    Afterwards the generators of torch, numpy and Python are where they were.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    states = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.enter_context(_without_global_hooks())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(False))
        for kind in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(kind, enabled=False))
        torch.default_generator.manual_seed(0)  # torch.manual_seed would reach devices that are not awake yet, too
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


_GLOBAL_HOOKS = (
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
)


@contextmanager
def _without_global_hooks() -> Iterator[None]:
    kept = {name: dict(getattr(torch_module, name)) for name in _GLOBAL_HOOKS}
    for name in kept:
        getattr(torch_module, name).clear()
    try:
        yield
    finally:
        for name, hooks in kept.items():
            getattr(torch_module, name).update(hooks)


def shape_twin(trials: Trials, model: nn.Module) -> nn.Module:
    """Make a replica whose normalizations return what they are given: all that shapes depend on."""
    twin = trials.replica(model)
    for part in twin.modules():
        if isinstance(part, NORMS):
            part.forward = given_back  # type: ignore[method-assign]
    return twin


def given_back(input: Tensor, *_: object, **__: object) -> Tensor:
    """Return what a normalization is given."""
    return input


class QuickNorms(TorchDispatchMode):
    """While it lasts, batch and group norms on the meta device are one operation: torch makes some thirty of each."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return the shapes of a norm's results; let all else go its way."""
        if func is torch.ops.aten.batch_norm.default:
            return torch.empty_like(args[0])
        if func is torch.ops.aten.native_batch_norm.default:
            x, *_, training, _, _ = args
            statistics = x.shape[1] if training else 0
            return torch.empty_like(x), x.new_empty(statistics), x.new_empty(statistics)
        if func is torch.ops.aten.native_group_norm.default:
            x, *_, groups, _ = args
            return x.new_empty(x.shape), x.new_empty(len(x), groups), x.new_empty(len(x), groups)
        return func(*args, **(kwargs or {}))
