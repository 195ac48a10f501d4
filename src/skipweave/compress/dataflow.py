"""Which module makes which map and which ones read it, found by running a network without its tensors."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skipweave.compress.dry_run import dry_run, on_meta

_METHODS = ("forward", "forward_features", "forward_intermediates", "forward_anytime")


@dataclass(frozen=True, eq=False)
class Step:
    """One module, or one operation outside the modules that are looked at as a whole.

    Attributes:
        name: Of the module in the network, or of the operation ("aten.cat.default").
        is_module: Which of the two it is.
        reads: Numbers of the values that it is given. A tensor changed in place is a new value.
        makes: Numbers of the values that it gives.
        in_place: Whether a tensor that it gives is one that it was given.
        args: Of an operation, as it was called.
    """

    name: str
    is_module: bool
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    in_place: bool
    args: tuple[Any, ...] = ()


class Flow:
    """What happened in one run of a network.

    Args:
        steps: In order.
        shown: Values that the run returned.
    """

    def __init__(self, steps: Iterable[Step], shown: Iterable[int]) -> None:
        self.shown = frozenset(shown)
        self._maker: dict[int, Step] = {}
        self._readers: dict[int, list[Step]] = defaultdict(list)
        self._runs: dict[str, list[Step]] = defaultdict(list)
        for step in steps:
            self._maker |= dict.fromkeys(step.makes, step)
            for value in dict.fromkeys(step.reads):
                self._readers[value].append(step)
            if step.is_module:
                self._runs[step.name].append(step)

    def maker(self, value: int) -> Step | None:
        """The step that made a value; None of what was there before."""
        return self._maker.get(value)

    def readers(self, value: int) -> tuple[Step, ...]:
        """The steps that read a value."""
        return tuple(self._readers.get(value, ()))

    def runs(self, module: str) -> tuple[Step, ...]:
        """The steps that are runs of a module."""
        return tuple(self._runs.get(module, ()))


def data_flows(
    model: nn.Module, input_size: tuple[int, int, int], whole: Callable[[nn.Module], bool]
) -> tuple[Flow, ...]:
    """Run a network in evaluation mode on the meta device, and note who makes and reads what.

    It is run once for each of its methods `forward`, `forward_features`, `forward_intermediates` and
    `forward_anytime`: what any of them returns is shown.

    Args:
        model: On any device; not changed.
        input_size: Channels, height and width of an image.
        whole: Whether a module is one step, whatever it does inside.

    Raises:
        SkipweaveError: The model cannot take such images.
    """
    twin = on_meta(model).eval()
    names = {part: name for name, part in twin.named_modules() if whole(part)}
    return tuple(_flow(twin, names, input_size, method) for method in _METHODS if hasattr(twin, method))


def _flow(twin: nn.Module, names: dict[nn.Module, str], input_size: tuple[int, int, int], method: str) -> Flow:
    recorder = _Recorder(names)
    hooks = [
        hook
        for part in names
        for hook in (
            part.register_forward_pre_hook(recorder.enter, with_kwargs=True),
            part.register_forward_hook(recorder.leave),
        )
    ]
    try:
        with torch.no_grad(), recorder:
            returned = dry_run(twin, input_size, method)
    finally:
        for hook in hooks:
            hook.remove()
    return Flow(recorder.steps, recorder.numbers(returned))


class _Recorder(TorchDispatchMode):
    """Notes the steps of a run."""

    def __init__(self, names: dict[nn.Module, str]) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._names = names
        self._inside: list[tuple[list[Tensor], tuple[int, ...]]] = []  # what each running module was given
        self._numbers: dict[int, int] = {}
        self._held: list[Tensor] = []  # so that no two of them have one id

    def numbers(self, tree: object) -> tuple[int, ...]:
        """Numbers of the tensors in a tree as they are now."""
        return tuple(
            self._numbers[id(leaf)] if id(leaf) in self._numbers else self._new(leaf) for leaf in _tensors(tree)
        )

    def enter(self, part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._inside.append((_tensors((args, kwargs)), self.numbers((args, kwargs))))

    def leave(self, part: nn.Module, args: tuple[Any, ...], made: object) -> None:
        given, reads = self._inside.pop()
        if not self._inside:
            self._note(self._names[part], True, given, reads, made)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> object:
        made = func(*args, **(kwargs or {}))
        if not self._inside:
            given = (args, kwargs)
            self._note(str(func), False, _tensors(given), self.numbers(given), made, args)
        return made

    def _note(
        self, name: str, is_module: bool, given: list[Tensor], reads: tuple[int, ...], made: object, args: Any = ()
    ) -> None:
        new = _tensors(made)
        in_place = any(leaf is old for leaf in new for old in given)
        self.steps.append(Step(name, is_module, reads, tuple(map(self._new, new)), in_place, args))

    def _new(self, tensor: Tensor) -> int:
        self._held.append(tensor)
        self._numbers[id(tensor)] = number = len(self._held)
        return number


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
