"""Class lists: the classes of segmentation masks, with their values and colors."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skipweave.data.segmentation.palette import distinct_colors
from skipweave_config.errors import SkipweaveError

Color = tuple[int, int, int]

VOID = "void"
VOID_COLOR: Color = (0, 0, 0)
_HEADERS = (["name"], ["name", "value"], ["name", "r", "g", "b"], ["name", "value", "r", "g", "b"])
_FORMAT = (
    "expected a CSV file with one line per class and the columns name, optionally value (in index masks; by default "
    "0, 1, ...), optionally r, g, b (in color masks)"
)
_MOST = 255  # labels and void fit uint8


@dataclass(frozen=True)
class ClassEntry:
    """Line of a class list.

    Attributes:
        name: Class name; `void` for pixels to ignore.
        value: Value of the class in index masks.
        color: Color of the class in color masks, if any.
    """

    name: str
    value: int
    color: Color | None = None


@dataclass(frozen=True)
class ClassList:
    """Classes of a segmentation dataset.

    A label is the index of a class in `names`; `len(names)` marks void pixels, which are ignored in training and
    evaluation.

    Attributes:
        entries: Lines of the class list. Entries of one name are one class; those named `void` are ignored.
        source: Origin of the list, for error messages.

    Raises:
        SkipweaveError: The list is invalid; all mistakes are in one message.
    """

    entries: tuple[ClassEntry, ...]
    source: str

    def __post_init__(self) -> None:
        """Check the entries."""
        problems = [f"{what} twice" for what in _repeated(self.entries)]
        problems += [
            f"{entry.name!r} has value {entry.value}" for entry in self.entries if not 0 <= entry.value < 1 << 16
        ]
        problems += [
            f"{entry.name!r} has color {entry.color}"
            for entry in self.entries
            if entry.color and not all(0 <= part <= 255 for part in entry.color)
        ]
        if not 1 <= len(self.names) <= _MOST:
            problems.append(f"{len(self.names)} classes")
        if problems:
            raise SkipweaveError(
                f"class list {self.source} has {', '.join(problems)}: expected 1 to {_MOST} classes and void, "
                f"each value (0 to 65535) and each color (three of 0 to 255) once"
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Class names, by label."""
        return tuple(dict.fromkeys(entry.name for entry in self.entries if entry.name.lower() != VOID))

    @property
    def void(self) -> int:
        """Label of pixels to ignore."""
        return len(self.names)

    @cached_property
    def palette(self) -> tuple[Color, ...]:
        """Color of each label, the last for void: those of the list, or else distinct ones."""
        listed = {self.label(entry): entry.color for entry in reversed(self.entries) if entry.color}
        others = [*distinct_colors(len(self.names)), VOID_COLOR]
        return tuple(listed.get(label, color) for label, color in enumerate(others))

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Value of each class in index masks, by label; the first one for a class of several entries."""
        listed = {self.label(entry): entry.value for entry in reversed(self.entries)}
        return tuple(listed[label] for label in range(len(self.names)))

    @property
    def colored(self) -> bool:
        """Whether the list has colors, so that masks may be color images."""
        return any(entry.color for entry in self.entries)

    @cached_property
    def of_value(self) -> "Code":
        """Labels by value."""
        return Code({entry.value: self.label(entry) for entry in self.entries})

    @cached_property
    def of_color(self) -> "Code":
        """Labels by packed color."""
        return Code({pack(np.array(entry.color)).item(): self.label(entry) for entry in self.entries if entry.color})

    def label(self, entry: ClassEntry) -> int:
        """Return the label of an entry."""
        return self.void if entry.name.lower() == VOID else self.names.index(entry.name)


class Code:
    """Mapping of values or packed colors to labels."""

    def __init__(self, labels: Mapping[int, int]) -> None:
        self.numbers = np.array(sorted(labels), dtype=np.int64)
        self._labels = np.array([labels[number] for number in sorted(labels)], dtype=np.uint8)

    def decode(self, numbers: NDArray[np.integer]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the labels of numbers, and which numbers are known."""
        if not len(self.numbers):
            return np.zeros(numbers.shape, np.uint8), np.zeros(numbers.shape, np.bool_)
        places = np.searchsorted(self.numbers, numbers)
        places[places == len(self.numbers)] = 0
        return self._labels[places], self.numbers[places] == numbers


def pack(colors: NDArray[np.integer]) -> NDArray[np.int64]:
    """Pack colors into integers: (..., 3) values of 0 to 255 become (...)."""
    number: NDArray[np.int64] = colors[..., 0].astype(np.int64)
    for channel in (1, 2):  # in place, as masks may be large
        number <<= 8
        number |= colors[..., channel]
    return number


def unpack(number: int) -> Color:
    """Invert `pack` for one color."""
    return number >> 16, number >> 8 & 255, number & 255


def read_classes(path: Path) -> ClassList:
    """Load a class list.

    The header of the CSV file names its columns: `name`; optionally `value`, the value of the class in index masks (by
    default 0, 1, ...); optionally `r,g,b`, its color in color masks. Pixels of entries named `void` are ignored;
    entries of one name are merged into one class. For example:

        name,value,r,g,b
        road,0,128,64,128
        car,1,64,0,128
        void,255,0,0,0

    Raises:
        SkipweaveError: The file is missing or has another format.
    """
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines(), skipinitialspace=True))
    except FileNotFoundError:
        raise SkipweaveError(f"no class list at {path}: {_FORMAT}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SkipweaveError(f"cannot read class list {path} ({error}): {_FORMAT}") from error
    table = [[cell.strip() for cell in line] for line in lines if any(cell.strip() for cell in line)]
    if not table:
        raise SkipweaveError(f"class list {path} is empty: {_FORMAT}")
    header = [cell.lower() for cell in table[0]]
    if header not in _HEADERS:
        raise SkipweaveError(f"class list {path} has the columns {header}: {_FORMAT}")
    wrong = [",".join(line) for line in table[1:] if len(line) != len(header) or not _is_entry(line)]
    if wrong:
        raise SkipweaveError(f"class list {path} has the line(s) {'; '.join(map(repr, wrong))}: {_FORMAT}")
    return ClassList(tuple(_entry(header, line, number) for number, line in enumerate(table[1:])), str(path))


def _is_entry(line: Sequence[str]) -> bool:
    return bool(line[0]) and all(re.fullmatch("[0-9]{1,9}", cell) for cell in line[1:])


def _entry(header: Sequence[str], line: Sequence[str], number: int) -> ClassEntry:
    cells = dict(zip(header, line, strict=True))
    color = (int(cells["r"]), int(cells["g"]), int(cells["b"])) if "r" in cells else None
    return ClassEntry(cells["name"], int(cells.get("value", number)), color)


def _repeated(entries: Sequence[ClassEntry]) -> list[str]:
    values = [f"value {entry.value}" for entry in entries]
    colors = [f"color {entry.color}" for entry in entries if entry.color]
    return [what for what in dict.fromkeys(values + colors) if (values + colors).count(what) > 1]
