"""Weights of early exits for networks with exits after other units."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

_PREFIX = "exits."
_CLASSIFIERS = ("head.fc.", "conv.")  # of an `Exit`, and of an exit that is a `SegmentationHead`


def exits_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a state dict that are of early exits."""
    return {name: value for name, value in state.items() if name.startswith(_PREFIX)}


def fit_exits(
    state: Mapping[str, Tensor], units: Sequence[int] | None, network: nn.Module, *, other_classes: bool = False
) -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Replace the early exits in the state dict of another network by those of a network.

    An exit is that after the same unit. Those that the state lacks, and those that read nodes of other widths, keep the
    values that they have in the network, as do classifiers of other classes.

    Args:
        state: State dict of a network that differs in its exits.
        units: Units after which that has exits; None if they are not known, and then the same if there are as many.
        network: The network.
        other_classes: Whether the classes differ, also where there are as many.

    Returns:
        The state dict, and the units of the network after which exits are new.
    """
    own, after = network.state_dict(), tuple(getattr(network, "exit_units", ()))
    if units is None:
        units = after if len({name.split(".")[1] for name in exits_of(state)}) == len(after) else ()
    fitted: dict[str, Tensor] = {}
    new: list[int] = []
    for index, unit in enumerate(after):
        prefix = f"{_PREFIX}{index}."
        values = {name.removeprefix(prefix): value for name, value in own.items() if name.startswith(prefix)}
        found = _found(state, units.index(unit), values, other_classes=other_classes) if unit in units else None
        if found is None:
            new.append(unit)
        fitted |= {f"{prefix}{part}": value for part, value in (found or values).items()}
    return {**{name: value for name, value in state.items() if not name.startswith(_PREFIX)}, **fitted}, tuple(new)


def _found(
    state: Mapping[str, Tensor], index: int, values: Mapping[str, Tensor], *, other_classes: bool
) -> dict[str, Tensor] | None:
    """The values of an exit in a state dict, with the classifier of `values` if classes differ; None if it differs."""
    found: dict[str, Tensor] = {}
    for part, value in values.items():
        theirs = state.get(f"{_PREFIX}{index}.{part}")
        of_classes = part.startswith(_CLASSIFIERS) and (theirs is None or theirs.shape[1:] == value.shape[1:])
        if of_classes and (theirs is None or other_classes or len(theirs) != len(value)):
            found[part] = value
        elif theirs is None or theirs.shape != value.shape:
            return None
        else:
            found[part] = theirs
    return found
