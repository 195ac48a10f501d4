"""Data flow of a network: which modules and operations compute and read which maps."""

import gc
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from skipweave.tracing.copies import has_hooks, in_mode, tensors_of
from skipweave.tracing.example_inputs import Inputs
from skipweave.tracing.held_tensors import tensors_in, tensors_of_tree
from skipweave.tracing.replicas import Trials, run
from skipweave_config.errors import SkipweaveError

METHODS = ("forward", "forward_features", "forward_intermediates", "forward_anytime")
"""Methods of a network that users call: of torch, timm and skipweave."""


@dataclass(frozen=True, eq=False)
class Step:
    """A run of a module that is treated as a whole, or of an operation outside such modules.

    Attributes:
        name: Name of the module, or of the operation ("aten.cat.default").
        is_module: Whether it is a module.
        reads: Numbers of its input values. A tensor modified in place is a new value, as is every tensor that shares
            its memory.
        makes: Numbers of its output values, including modified inputs.
        in_place: Whether it modifies an input.
        args: Arguments of an operation, with None for tensors.
        tags: torch's tags of an operation.
    """

    name: str
    is_module: bool
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    in_place: bool
    args: tuple[Any, ...] = ()
    tags: tuple[torch.Tag, ...] = ()

    @property
    def pointwise(self) -> bool:
        """Whether it is a pointwise operation."""
        return torch.Tag.pointwise in self.tags

    @property
    def free_size(self) -> bool:
        """Whether sizes of its outputs may depend on values of its inputs."""
        own = not self.is_module and not self.name.startswith("aten.")
        return own or torch.Tag.dynamic_output_shape in self.tags


class Flow:
    """The data flow of one run of a network.

    Args:
        steps: Steps in order.
        shown: Values that leave the network: returned, or referenced after the run.
        shapes: Shapes of all values.
        shared: Modules whose tensors are also used outside the module.
    """

    def __init__(
        self,
        steps: Iterable[Step],
        shown: Iterable[int],
        shapes: Mapping[int, tuple[int, ...]],
        shared: Iterable[str] = (),
    ) -> None:
        self.steps = tuple(steps)
        self.shown = frozenset(shown)
        self.shapes = shapes
        self.shared = frozenset(shared)
        self._producer: dict[int, Step] = {}
        self._readers: dict[int, list[Step]] = defaultdict(list)
        self._runs: dict[str, list[Step]] = defaultdict(list)
        for step in self.steps:
            self._producer |= dict.fromkeys(step.makes, step)
            for value in dict.fromkeys(step.reads):
                self._readers[value].append(step)
            if step.is_module:
                self._runs[step.name].append(step)

    def producer(self, value: int) -> Step | None:
        """The step that computed a value; None for inputs and parameters."""
        return self._producer.get(value)

    def readers(self, value: int) -> tuple[Step, ...]:
        """The steps that read a value."""
        return tuple(self._readers.get(value, ()))

    def runs(self, module: str) -> tuple[Step, ...]:
        """The runs of a module."""
        return tuple(self._runs.get(module, ()))


def data_flows(
    model: nn.Module,
    trials: Trials,
    whole: Callable[[nn.Module], bool],
    *,
    methods: Iterable[str] = METHODS,
    training: bool = False,
    variants: bool = True,
) -> tuple[Flow, ...]:
    """Record the data flows of a network, for each of its methods and each of the inputs that they accept.

    Inputs and outputs of modules with hooks of the user count as leaving the network: the hooks do not run, but could
    store or modify them.

    Args:
        model: The network; not modified.
        trials: Inputs to run it with.
        whole: Whether a module is treated as a single step.
        methods: Methods of the network to run.
        training: Whether to run in training mode instead of evaluation mode.
        variants: Whether to use all inputs, or only the first ones.

    Returns:
        The flows of all successful runs.
    """
    twin = in_mode(trials.replica(model), training=training)
    known = _Known(
        {part: name for name, part in twin.named_modules() if whole(part)},
        {twin.get_submodule(name): name for name, part in model.named_modules() if has_hooks(part)},
    )
    found = []
    for method in methods:
        for inputs in list(trials.here())[: None if variants else 1]:
            if hasattr(twin, method):
                try:
                    found.append(_flow(twin, known, inputs, method))
                except SkipweaveError:  # the method expects other arguments
                    continue
    return tuple(found)


def sizes_follow_values(model: nn.Module, trials: Trials) -> bool:
    """Whether sizes of maps depend on values, as the number of a detector's boxes does."""
    if trials.device == "meta":  # without values
        return False
    flows = data_flows(model, trials, lambda part: False, methods=METHODS[:1], variants=False)
    return any(step.free_size for flow in flows for step in flow.steps)


@dataclass(frozen=True)
class _Known:
    """Names of the modules that are treated as a whole, and of those with hooks of the user."""

    whole: Mapping[nn.Module, str]
    has_hooks: Mapping[nn.Module, str]


def _flow(twin: nn.Module, known: _Known, inputs: Inputs, method: str) -> Flow:
    recorder = _Recorder(known)
    hooks = [
        hook
        for part in {**known.whole, **known.has_hooks}
        for hook in (
            part.register_forward_pre_hook(recorder.enter, with_kwargs=True),
            part.register_forward_hook(recorder.leave),
        )
    ]
    try:
        with recorder:
            returned = run(twin, inputs, method)
    finally:
        for hook in hooks:
            hook.remove()
    return Flow(recorder.steps, recorder.shown(twin, returned), recorder.shapes, recorder.shared)


class _Recorder(TorchDispatchMode):
    """Records the steps of a run without keeping references to its tensors."""

    def __init__(self, known: _Known) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.shared: set[str] = set()
        self._known = known
        self._owners = {id(p): name for part, name in known.whole.items() for p in part.parameters()}
        self._inside: list[tuple[nn.Module, list[Tensor], tuple[int, ...]]] = []  # running modules with their inputs
        self._seen_by_hooks: set[int] = set()
        self._made: set[int] = set()
        self._numbers: Any = WeakTensorKeyDictionary()
        self._in_memory: dict[int, list[weakref.ref[Tensor]]] = defaultdict(list)

    def shown(self, twin: nn.Module, returned: object) -> set[int]:
        """Values that leave the network, given what it returned."""
        alive = self._alive()
        held = [*tensors_in(returned), *(tensor for _, tensor in tensors_of(twin))]
        held += [tensor._base for tensor in held if tensor._base is not None]
        if alive - {self._numbers[tensor] for tensor in held if tensor in self._numbers}:
            gc.collect()  # others may be referenced only by garbage
            alive = self._alive()
        return alive | self._seen_by_hooks

    def _alive(self) -> set[int]:
        return {number for number in self._numbers.values() if number in self._made}

    def enter(self, part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record the inputs of a module."""
        given = tensors_of_tree((args, kwargs))
        if part in self._known.has_hooks and not self._within_whole():
            self._seen_by_hooks.update(self._read(tensors_in((args, kwargs))))
        self._inside.append((part, given, self._read(given)))

    def leave(self, part: nn.Module, args: tuple[Any, ...], made: object) -> None:
        """Record the outputs of a module."""
        _, given, reads = self._inside.pop()
        if self._within_whole():
            return
        if part in self._known.whole:
            self._note(self._known.whole[part], True, given, reads, tensors_of_tree(made))
        if part in self._known.has_hooks:
            self._seen_by_hooks.update(self._read(tensors_in(made)))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> object:
        kwargs = kwargs or {}
        if self._within_whole():
            return func(*args, **kwargs)
        given = tensors_of_tree((args, kwargs))
        reads = self._read(given)
        self.shared.update(self._owners[id(tensor)] for tensor in given if id(tensor) in self._owners)
        made = func(*args, **kwargs)
        plain = tree_map(lambda leaf: None if isinstance(leaf, Tensor) else leaf, args)
        written = _written(func, args, kwargs)
        self._note(str(func), False, given, reads, tensors_of_tree(made), written, plain, tuple(func.tags))
        return made

    def _within_whole(self) -> bool:
        return any(part in self._known.whole for part, _, _ in self._inside)

    def _note(
        self,
        name: str,
        is_module: bool,
        given: list[Tensor],
        reads: tuple[int, ...],
        new: list[Tensor],
        written: list[Tensor] | None = None,
        args: tuple[Any, ...] = (),
        tags: tuple[torch.Tag, ...] = (),
    ) -> None:
        changed = [*(written or ()), *(leaf for leaf in new if any(leaf is old for old in given))]
        others = [other for tensor in changed for other in self._sharing(tensor) if all(other is not t for t in new)]
        reads = (*reads, *(number for number in self._read(others) if number not in reads))
        makes = tuple(self._new(tensor) for tensor in (*new, *others))
        self._made.update(makes)
        self.steps.append(Step(name, is_module, reads, makes, bool(changed), args, tags))

    def _read(self, tensors: Iterable[Tensor]) -> tuple[int, ...]:
        return tuple(self._numbers[t] if t in self._numbers else self._new(t) for t in tensors)

    def _new(self, tensor: Tensor) -> int:
        if tensor not in self._numbers:
            self._in_memory[_memory(tensor)].append(weakref.ref(tensor))
        self._numbers[tensor] = number = len(self.shapes)
        self.shapes[number] = tuple(tensor.shape)
        return number

    def _sharing(self, tensor: Tensor) -> Iterator[Tensor]:
        """Tensors that share the memory of a tensor, including itself."""
        if memory := _memory(tensor):
            for reference in self._in_memory[memory]:
                other = reference()
                if other is not None and _memory(other) == memory:
                    yield other


def _written(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Tensors that an operation modifies, according to its schema."""
    if not func._schema.is_mutable:
        return []
    known = func._schema.arguments
    named = {argument.name: value for argument, value in zip(known, args, strict=False)} | dict(kwargs)
    writes = (argument.name for argument in known if argument.alias_info and argument.alias_info.is_write)
    return [tensor for name in writes for tensor in tensors_of_tree(named.get(name))]


def _memory(tensor: Tensor) -> int:
    """Identifier of a tensor's storage; 0 for tensors without storage."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return 0
