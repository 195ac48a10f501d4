"""Columns of a table of labels, checked row by row: paths, labels, splits and groups."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipweave.data.label_tables.table_files import SEPARATOR, Row, read_rows
from skipweave.data.splits import Indices, Labels, class_counts
from skipweave_config.errors import SkipweaveError
from skipweave_config.hints import nearest

_PATH, _LABEL, _SPLIT, _GROUP = "path", "label", "split", "group"
_SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_FORMAT = (
    "expected the columns path and label (several labels separated by semicolons), or path and one column of 0 and 1 "
    "per class; optionally split and group"
)
_RESERVED = (_PATH, _LABEL, _SPLIT, _GROUP)
_NUMBERS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
_SHOWN = 10


@dataclass(frozen=True)
class RowProblem:
    """Mistake in a table.

    Attributes:
        place: Table and line, as FILE:LINE.
        problem: The mistake.
    """

    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place} {self.problem}"


@dataclass(frozen=True)
class LabelTable:
    """Checked table of labels; rows with mistakes are left out.

    Attributes:
        source: The file.
        classes: Class names, by label: numbers in their order, names in alphabetical order, or columns in theirs.
        paths: Image files.
        labels: Class indices, (N,); for several labels per image uint8 (N, classes) of 0 and 1.
        splits: Split of each image, `train`, `val` or `test`; None without this column.
        groups: Index of the group of each image; None without this column.
        problems: Mistakes.
        unused: Columns that are not used.
    """

    source: Path
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: Labels
    splits: tuple[str, ...] | None
    groups: Indices | None
    problems: tuple[RowProblem, ...]
    unused: tuple[str, ...]

    def check(self) -> "LabelTable":
        """Return the table if it has no mistakes.

        Raises:
            SkipweaveError: It has; the message has the number of mistakes and the first ten.
        """
        if self.problems:
            more = len(self.problems) - _SHOWN
            raise SkipweaveError(
                f"{len(self.problems)} mistake(s) in table {self.source}: "
                f"{'; '.join(map(str, self.problems[:_SHOWN]))}"
                + (f"; and {more} more: `skipweave check-data` lists all" if more > 0 else "")
            )
        return self


def read_table(source: Path, root: Path, *, lenient: bool = False) -> LabelTable:
    """Load a table of labels and check all its rows.

    Args:
        source: CSV or Parquet file.
        root: Directory that relative paths start from.
        lenient: Whether image files may be missing, which then raise when they are loaded.

    Raises:
        SkipweaveError: The file cannot be read, or columns are missing or ambiguous.
    """
    header, rows = read_rows(source)
    names = [name.lower() if name.lower() in _RESERVED else name for name in header]
    others = [name for name in names if name not in _RESERVED]
    _check_header(source, names, others)
    check = _RowCheck(names, [] if _LABEL in names else others, root, lenient=lenient)
    problems: list[RowProblem] = []
    good: list[dict[str, str]] = []
    for row in rows:
        found = [RowProblem(f"{source}:{row.line}", problem) for problem in check(row)]
        problems += found
        if not found:
            good.append(dict(zip(names, row.cells, strict=True)))
    if _LABEL in names:
        classes, labels = _from_names([row[_LABEL] for row in good])
    else:
        classes, labels = tuple(others), _from_columns(good, others)
    splits = tuple(_SPLITS[row[_SPLIT].lower()] for row in good) if _SPLIT in names else None
    groups = np.unique([row[_GROUP] for row in good], return_inverse=True)[1] if _GROUP in names else None
    if good:
        problems += _not_in_training(source, classes, labels, splits)
    return LabelTable(
        source=source,
        classes=classes,
        paths=tuple(check.path(row) for row in good),
        labels=labels,
        splits=splits,
        groups=groups,
        problems=tuple(problems),
        unused=tuple(others) if _LABEL in names else (),
    )


def _check_header(source: Path, names: Sequence[str], others: Sequence[str]) -> None:
    """Check that the columns are those of a table of labels.

    Raises:
        SkipweaveError: A column is missing, repeated or without a name, or has nearly the name of a missing one.
    """
    problems = [f"has the column {name!r} twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if not all(names):
        problems.append("has a column without a name")
    if _PATH not in names:
        problems.append("has no column path")
    if _LABEL not in names and not others:
        problems.append("has no column of labels")
    missing = [name for name in (_LABEL, _SPLIT, _GROUP) if name not in names]
    if _LABEL in names or len(others) == 1:  # otherwise they are classes
        close = {name: nearest(name, missing) for name in others}
        problems += [f"has the column {name!r}: {hint}".strip() for name, hint in close.items() if hint]
    if problems:
        raise SkipweaveError(f"table {source} {', '.join(problems)} (its columns are {list(names)}): {_FORMAT}")


class _RowCheck:
    """Check of one row after the other.

    Args:
        names: Columns.
        class_columns: Those of them that are classes.
        root: Directory that relative paths start from.
        lenient: Whether image files may be missing.
    """

    def __init__(self, names: Sequence[str], class_columns: Sequence[str], root: Path, *, lenient: bool) -> None:
        self._names = names
        self._class_columns = class_columns
        self._root = root
        self._lenient = lenient
        self._lines: dict[Path, int] = {}
        self._split_of_group: dict[str, tuple[str, int]] = {}

    def __call__(self, row: Row) -> Iterator[str]:
        """Yield the mistakes of a row, each as the predicate of a sentence."""
        if len(row.cells) != len(self._names):
            yield f"has {len(row.cells)} cells: expected {len(self._names)}, as the header has"
            return
        cells = dict(zip(self._names, row.cells, strict=True))
        yield from self._path_problems(cells, row.line)
        if _LABEL in cells and not cells[_LABEL]:
            yield "has no label"
        for name in self._class_columns:
            if cells[name] not in _NUMBERS:
                yield f"has {cells[name]!r} in column {name}: expected 0 or 1"
        if _SPLIT in cells and cells[_SPLIT].lower() not in _SPLITS:
            yield f"has split {cells[_SPLIT]!r}: expected train, validation or test"
        if _GROUP in cells:
            yield from self._group_problems(cells, row.line)

    def path(self, cells: Mapping[str, str]) -> Path:
        """Image file of a row."""
        return self._root / Path(cells[_PATH]).expanduser()

    def _path_problems(self, cells: Mapping[str, str], line: int) -> Iterator[str]:
        if not cells[_PATH]:
            yield "has no path"
            return
        path = self.path(cells)
        if (first := self._lines.setdefault(path, line)) != line:
            yield f"has the image of line {first} again: {path}"
        elif not self._lenient and not path.is_file():
            yield f"has no image at {path}"

    def _group_problems(self, cells: Mapping[str, str], line: int) -> Iterator[str]:
        group, split = cells[_GROUP], _SPLITS.get(cells.get(_SPLIT, "").lower(), "")
        if not group:
            yield "has no group"
            return
        other, first = self._split_of_group.setdefault(group, (split, line))
        if other != split and split:
            yield f"has group {group!r} in {split}, line {first} in {other}: expected each group in one split"


def _from_names(cells: Sequence[str]) -> tuple[tuple[str, ...], Labels]:
    """Classes and labels of a column of names or numbers; of several labels per image if a cell has a separator."""
    named = [[name for part in cell.split(SEPARATOR) if (name := part.strip())] for cell in cells]
    names = {name for several in named for name in several}
    numbers = all(re.fullmatch("[0-9]+", name) for name in names)
    classes = tuple(sorted(names, key=lambda name: (int(name), name) if numbers else (0, name)))
    index = {name: label for label, name in enumerate(classes)}
    if not any(SEPARATOR in cell for cell in cells):
        return classes, np.array([index[name] for (name,) in named], dtype=np.int64)
    labels = np.zeros((len(cells), len(classes)), dtype=np.uint8)
    for row, several in zip(labels, named, strict=True):
        row[[index[name] for name in several]] = 1
    return classes, labels


def _from_columns(rows: Sequence[Mapping[str, str]], classes: Sequence[str]) -> Labels:
    return np.array([[_NUMBERS[row[name]] for name in classes] for row in rows], np.uint8).reshape(-1, len(classes))


def _not_in_training(
    source: Path, classes: Sequence[str], labels: Labels, splits: Sequence[str] | None
) -> Iterator[RowProblem]:
    """Yield the classes without training images, where the table has splits."""
    if splits is None:
        return
    train = np.array(splits) == "train"
    if not train.any():
        yield RowProblem(str(source), "has no row of split train")
        return
    counts = class_counts(labels[train], len(classes))
    if missing := [name for name, count in zip(classes, counts, strict=True) if not count]:
        yield RowProblem(str(source), f"has no training image of {', '.join(missing)}")
