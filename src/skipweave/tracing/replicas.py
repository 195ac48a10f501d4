"""Runs of replicas of networks, on real tensors or on the meta device, without side effects."""

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

from skipweave.tracing.copies import has_hooks, on_meta, replica
from skipweave.tracing.example_inputs import Inputs, InputSize, example
from skipweave.tracing.unsupported_networks import check_supported
from skipweave_config.errors import SkipweaveError

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)
"""Normalizations, which do not change shapes."""


@dataclass(frozen=True, eq=False)
class Trials:
    """Inputs of a network, and the device on which it can be run.

    Attributes:
        inputs: The given inputs, which the network accepts, then variants with another batch size and other image
            sizes, which it may not accept.
        device: "meta" if the network runs on the meta device; None if it has to run on its own tensors.
    """

    inputs: tuple[Inputs, ...]
    device: str | None

    def replica(self, model: nn.Module) -> nn.Module:
        """Create a replica to be run on the inputs of `here`."""
        return replica(model) if self.device is None else on_meta(model)

    def here(self) -> Iterator[Inputs]:
        """Yield the inputs on the device."""
        for inputs in self.inputs:
            yield inputs if self.device is None else inputs.map(lambda tensor: tensor.to("meta"))


def trials_of(model: nn.Module, input_size: InputSize | None, example_inputs: Any = None) -> Trials:
    """Determine inputs of a network and the device on which it runs in evaluation mode.

    Args:
        model: The network; not modified.
        input_size: Channels, height and width of an image; the default is that of the model's `pretrained_cfg`.
        example_inputs: Arguments of one call instead of a size (`skipweave.tracing.example_inputs.example`).

    Raises:
        SkipweaveError: The network is not supported, or cannot run on these inputs.
    """
    check_supported(model)
    given = example(model, input_size, example_inputs)
    only_sizes = any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    for device in ("meta",) if only_sizes else ("meta", None):
        trials = Trials(tuple(given.variants()), device)
        twin = trials.replica(model)
        try:
            run(twin, next(trials.here()))
        except SkipweaveError as error:
            failure = error
            continue
        return trials
    if example_inputs is None:
        failure = SkipweaveError(f"{failure}; give example_inputs if the inputs are not a batch of images")
    hooked = [name for name, part in model.named_modules() if has_hooks(part)]
    if hooked:
        raise SkipweaveError(f"{failure} (without hooks, such as the one on {hooked[0] or 'the network itself'})")
    raise failure


def runs(twin: nn.Module, inputs: Inputs) -> bool:
    """Whether a replica runs on these inputs."""
    try:
        run(twin, inputs)
    except SkipweaveError:
        return False
    return True


def run(twin: nn.Module, inputs: Inputs, method: str = "forward") -> object:
    """Run a replica.

    Args:
        twin: The replica.
        inputs: Inputs on its device.
        method: Name of the method to run; an iterator is returned as a list.

    Raises:
        SkipweaveError: A module cannot run; names the module.
    """
    entered: list[nn.Module] = []
    inputs = inputs.map(Tensor.clone)  # networks may modify their inputs

    def left(*_: object) -> None:
        entered.pop()

    with isolated(), FastMetaNorms() if inputs.are_meta else nullcontext():
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
            raise SkipweaveError(f"{where} cannot run on {inputs}: {reason(error)}") from error
        finally:
            for hook in hooks:
                hook.remove()


def reason(error: Exception) -> str:
    """Message of an exception on one line."""
    message = " ".join(str(error).split())
    return message if isinstance(error, SkipweaveError) else f"{type(error).__name__}: {message}".rstrip(": ")


@contextmanager
def isolated() -> Iterator[None]:
    """Context without gradients, autocast, warnings and global hooks, and with random numbers of a fixed seed.

    The states of the generators of torch, numpy and Python are restored on exit.
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
        torch.default_generator.manual_seed(0)  # torch.manual_seed would initialize devices
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
    saved = {name: dict(getattr(torch_module, name)) for name in _GLOBAL_HOOKS}
    for name in saved:
        getattr(torch_module, name).clear()
    try:
        yield
    finally:
        for name, hooks in saved.items():
            getattr(torch_module, name).update(hooks)


def shape_replica(trials: Trials, model: nn.Module) -> nn.Module:
    """Create a replica with identity normalizations, which do not change shapes."""
    twin = trials.replica(model)
    for part in twin.modules():
        if isinstance(part, NORMS):
            part.forward = identity_forward  # type: ignore[method-assign]
    return twin


def identity_forward(input: Tensor, *_: object, **__: object) -> Tensor:
    """Return the input: the forward pass of a disabled normalization."""
    return input


class FastMetaNorms(TorchDispatchMode):
    """Mode in which batch and group norms on the meta device are a single operation; torch runs about thirty."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return empty results of a norm; run all other operations."""
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
