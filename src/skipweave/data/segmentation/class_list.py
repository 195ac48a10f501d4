"""What the values and colors of label images stand for, as a class list says."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skipweave.data.segmentation.palette import distinct_colors
from skipweave.errors import SkipweaveError

Color = tuple[int, int, int]

VOID = "void"
VOID_COLOR: Color = (0, 0, 0)
_HEADERS = (["name"], ["name", "value"], ["name", "r", "g", "b"], ["name", "value", "r", "g", "b"])
_FORMAT = (
    "expected a CSV file with one row a class and the columns name, value (in index images; without the column "
    "the row's number from 0) and r, g, b (in colored ones; may be left out)"
)
_MOST = 255  # labels and void fit one byte


@dataclass(frozen=True)
class Row:
    """A row of a class list.

    Attributes:
        name: of the class; `void` for pixels to ignore.
        value: that stands for it in an index image.
        color: that stands for it in a colored image, if there are such.
    """

    name: str
    value: int
    color: Color | None = None


@dataclass(frozen=True)
class LabelClasses:
    """The classes of a set of label images.

    A label is the number of a class in `names`; `len(names)` marks void pixels, which are neither learned nor scored.

    Attributes:
        rows: of the class list. Rows of one name are one class; those named `void` are none.
        source: where the rows are from, as errors name it.
    """

    rows: tuple[Row, ...]
    source: str

    def __post_init__(self) -> None:
        """Check the rows.

        Raises:
            SkipweaveError: one line that lists every mistake.
        """
        problems = [f"{what} twice" for what in _repeated(self.rows)]
        problems += [f"{row.name!r} has value {row.value}" for row in self.rows if not 0 <= row.value < 1 << 16]
        problems += [
            f"{row.name!r} has color {row.color}"
            for row in self.rows
            if row.color and not all(0 <= part <= 255 for part in row.color)
        ]
        if not 1 <= len(self.names) <= _MOST:
            problems.append(f"{len(self.names)} classes")
        if problems:
            raise SkipweaveError(
                f"class list {self.source} has {', '.join(problems)}: expected 1 to {_MOST} classes besides void, "
                f"each value (0 to 65535) and each color (three of 0 to 255) once"
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The classes, by label."""
        return tuple(dict.fromkeys(row.name for row in self.rows if row.name.lower() != VOID))

    @property
    def void(self) -> int:
        """The label of pixels to ignore."""
        return len(self.names)

    @cached_property
    def palette(self) -> tuple[Color, ...]:
        """A color for each label, the last for void: those of the list, or well told apart ones if it has none."""
        listed = {self.label(row): row.color for row in reversed(self.rows) if row.color}
        others = [*distinct_colors(len(self.names)), VOID_COLOR]
        return tuple(listed.get(label, color) for label, color in enumerate(others))

    @cached_property
    def values(self) -> tuple[int, ...]:
        """The value that stands for each class in an index image, by label: of several rows of a class the first's."""
        listed = {self.label(row): row.value for row in reversed(self.rows)}
        return tuple(listed[label] for label in range(len(self.names)))

    @property
    def colored(self) -> bool:
        """Whether the list gives colors, so that label images may be colored."""
        return any(row.color for row in self.rows)

    @cached_property
    def of_value(self) -> "Code":
        """Labels by the values of index images."""
        return Code({row.value: self.label(row) for row in self.rows})

    @cached_property
    def of_color(self) -> "Code":
        """Labels by the packed colors of colored images."""
        return Code({pack(np.array(row.color)).item(): self.label(row) for row in self.rows if row.color})

    def label(self, row: Row) -> int:
        """The label that a row's pixels get."""
        return self.void if row.name.lower() == VOID else self.names.index(row.name)


class Code:
    """Turns numbers that stand for classes into labels.

    Args:
        labels: label by number.
    """

    def __init__(self, labels: Mapping[int, int]) -> None:
        self.numbers = np.array(sorted(labels), dtype=np.int64)
        self._labels = np.array([labels[number] for number in sorted(labels)], dtype=np.uint8)

    def decode(self, numbers: NDArray[np.integer]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The labels of numbers, and which of them stand for a class or void at all."""
        if not len(self.numbers):
            return np.zeros(numbers.shape, np.uint8), np.zeros(numbers.shape, np.bool_)
        places = np.searchsorted(self.numbers, numbers)
        places[places == len(self.numbers)] = 0
        return self._labels[places], self.numbers[places] == numbers


def pack(colors: NDArray[np.integer]) -> NDArray[np.int64]:
    """One number a color: (..., 3) values of 0 to 255 become (...)."""
    number: NDArray[np.int64] = colors[..., 0].astype(np.int64)
    for channel in (1, 2):  # in place, as maps may be large
        number <<= 8
        number |= colors[..., channel]
    return number


def unpack(number: int) -> Color:
    """The color that `pack` made a number of."""
    return number >> 16, number >> 8 & 255, number & 255


def read_classes(path: Path) -> LabelClasses:
    """Read a class list.

    A CSV file whose first line names its columns: `name`; optionally `value`, which stands for the class in index
    images (without the column the row's number, from 0); optionally `r,g,b`, its color in colored label images. Rows
    named `void` tell which pixels to ignore; rows of one name are merged into one class. For example:

        name,value,r,g,b
        road,0,128,64,128
        car,1,64,0,128
        void,255,0,0,0

    Raises:
        SkipweaveError: the file is missing or not in this form.
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
    wrong = [",".join(line) for line in table[1:] if len(line) != len(header) or not _is_row(line)]
    if wrong:
        raise SkipweaveError(f"class list {path} has the row(s) {'; '.join(map(repr, wrong))}: {_FORMAT}")
    return LabelClasses(tuple(_row(header, line, number) for number, line in enumerate(table[1:])), str(path))


def _is_row(line: Sequence[str]) -> bool:
    return bool(line[0]) and all(re.fullmatch("[0-9]{1,9}", cell) for cell in line[1:])


def _row(header: Sequence[str], line: Sequence[str], number: int) -> Row:
    cells = dict(zip(header, line, strict=True))
    color = (int(cells["r"]), int(cells["g"]), int(cells["b"])) if "r" in cells else None
    return Row(cells["name"], int(cells.get("value", number)), color)


def _repeated(rows: Sequence[Row]) -> list[str]:
    values = [f"value {row.value}" for row in rows]
    colors = [f"color {row.color}" for row in rows if row.color]
    return [what for what in dict.fromkeys(values + colors) if (values + colors).count(what) > 1]
