"""Columns of a table of labels, checked row by row: paths, labels, splits and groups."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipweave.data.sources.table_files import SEPARATOR, Row, read_rows
from skipweave.data.splits import Groups, Labels, class_counts
from skipweave_config.errors import SkipweaveError
from skipweave_config.hints import one_edit_apart

_SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_FORMAT = (
    "expected the columns path and label (several labels separated by semicolons), or path and one column of 0 and 1 "
    "per class; optionally split and group; data.path_column, label_column, split_column and group_column take other "
    "names"
)
_ROLES = ("path", "label", "split", "group")
_GROUPS = ("patient", "subject", "person", "case", "study", "series", "scan", "site", "slide", "camera", "video")
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
class Columns:
    """Names of the columns of a table, as its header has them; None for columns that it does not have.

    Attributes:
        path: Column of the image files.
        label: Column of labels.
        split: Column of splits.
        group: Column of groups.
        others: Other columns: the classes if there is no column of labels, else not used.
    """

    path: str
    label: str | None
    split: str | None
    group: str | None
    others: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Columns of 0 and 1, one per class."""
        return () if self.label else self.others

    @property
    def unused(self) -> tuple[str, ...]:
        """Columns that are not used."""
        return self.others if self.label else ()


@dataclass(frozen=True)
class LabelTable:
    """Checked table of labels; rows with mistakes are left out.

    Attributes:
        source: The file.
        classes: Class names, by label: numbers in their order, names in alphabetical order, or columns in theirs.
        paths: Image files.
        labels: Class indices, (N,); for several labels per image uint8 (N, classes) of 0 and 1.
        splits: Split of each image, `train`, `val` or `test`; None without this column.
        groups: Group of each image, (N,); None without this column.
        problems: Mistakes.
        unused: Columns that are not used.
        notes: Notes about these, one line each.
    """

    source: Path
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: Labels
    splits: tuple[str, ...] | None
    groups: Groups | None
    problems: tuple[RowProblem, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...]

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


def read_table(
    source: Path, root: Path, *, names: Mapping[str, str] | None = None, lenient: bool = False
) -> LabelTable:
    """Load a table of labels and check all its rows.

    Args:
        source: CSV or Parquet file.
        root: Directory that relative paths start from.
        names: Names of the columns `path`, `label`, `split` and `group`, where they have others.
        lenient: Whether image files may be missing, which then raise when they are loaded.

    Raises:
        SkipweaveError: The file cannot be read, or columns are missing or ambiguous.
    """
    header, rows = read_rows(source)
    columns = find_columns(source, header, names or {})
    check = _RowCheck(header, columns, root, lenient=lenient)
    problems: list[RowProblem] = []
    good: list[dict[str, str]] = []
    for row in rows:
        found = [RowProblem(f"{source}:{row.line}", problem) for problem in check(row)]
        problems += found
        if not found:
            good.append(dict(zip(header, row.cells, strict=True)))
    if columns.label:
        classes, labels = _from_names([row[columns.label] for row in good])
    else:
        classes, labels = columns.classes, _from_columns(good, columns.classes)
    splits = tuple(_SPLITS[row[columns.split].lower()] for row in good) if columns.split else None
    if good:
        problems += _not_in_training(source, classes, labels, splits)
    return LabelTable(
        source=source,
        classes=classes,
        paths=tuple(check.path(row) for row in good),
        labels=labels,
        splits=splits,
        groups=np.array([row[columns.group] for row in good]) if columns.group else None,
        problems=tuple(problems),
        unused=columns.unused,
        notes=tuple(_notes(columns, good)),
    )


def find_columns(source: Path, header: Sequence[str], names: Mapping[str, str]) -> Columns:
    """Find the columns of a table of labels, whatever their case.

    Args:
        source: The file.
        header: Names of its columns.
        names: Names of the columns `path`, `label`, `split` and `group`, where they have others.

    Raises:
        SkipweaveError: A column is missing, repeated or without a name, or has nearly the name of a missing one.
    """
    problems = [f"has the column {name!r} twice" for name in dict.fromkeys(header) if header.count(name) > 1]
    if not all(header):
        problems.append("has a column without a name")
    found: dict[str, str | None] = {}
    for role in _ROLES:
        name = names.get(role, role)
        alike = [own for own in dict.fromkeys(header) if own.lower() == name.lower()]
        chosen = alike if len(alike) < 2 else [own for own in alike if own == name]
        found[role] = chosen[0] if chosen else None
        if len(alike) > 1 and not chosen:
            problems.append(f"has the columns {' and '.join(alike)}, which differ in case only")
        elif not chosen and (role in names or role == "path"):
            problems.append(f"has no column {name}" + (f", which data.{role}_column names" if role in names else ""))
    others = [name for name in header if name and name not in found.values()]
    if not found["label"] and not others and "label" not in names:
        problems.append("has no column of labels")
    problems += _misspelled(others, [role for role in _ROLES if not found[role] and role not in names], found["label"])
    if problems:
        raise SkipweaveError(f"table {source} {', '.join(problems)} (its columns are {list(header)}): {_FORMAT}")
    return Columns(found["path"] or "", found["label"], found["split"], found["group"], tuple(others))


def _misspelled(others: Sequence[str], missing: Sequence[str], label: str | None) -> Iterator[str]:
    """Yield the columns that have nearly the name of a missing one."""
    for role in missing:
        close = [name for name in others if one_edit_apart(name.lower(), role)]
        if len(close) == 1 and (label or role in ("path", "label") or len(others) == 1):  # otherwise they are classes
            yield f"has the column {close[0]!r}: did you mean {role}?"


def _notes(columns: Columns, rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield a line about the columns that are not used, and one per column that looks like a group of images."""
    if columns.unused:
        yield f"columns not used: {', '.join(columns.unused)}"
    if columns.group:
        return
    for name in columns.unused:
        if _names_groups(name) and 1 < len({row[name] for row in rows}) < len(rows):
            yield f"column {name} is not used: --data.group_column {name} keeps its images in one split"


def _names_groups(column: str) -> bool:
    """Whether a column has the name of a group of images, or of their identifiers: `patients`, `case_id`, `StudyID`."""
    if re.search("(^|[_ -])(id|ID|Id)$|[a-z]ID$", column):
        return True
    return column.lower() in _GROUPS or column.lower().removesuffix("s") in _GROUPS


class _RowCheck:
    """Check of one row after the other.

    Args:
        header: Names of all columns.
        columns: Columns by their meaning.
        root: Directory that relative paths start from.
        lenient: Whether image files may be missing.
    """

    def __init__(self, header: Sequence[str], columns: Columns, root: Path, *, lenient: bool) -> None:
        self._header = header
        self._columns = columns
        self._root = root
        self._lenient = lenient
        self._lines: dict[Path, int] = {}
        self._split_of_group: dict[str, tuple[str, int]] = {}

    def __call__(self, row: Row) -> Iterator[str]:
        """Yield the mistakes of a row, each as the predicate of a sentence."""
        if len(row.cells) != len(self._header):
            yield f"has {len(row.cells)} cells: expected {len(self._header)}, as the header has"
            return
        cells, columns = dict(zip(self._header, row.cells, strict=True)), self._columns
        yield from self._path_problems(cells, row.line)
        if columns.label and not cells[columns.label]:
            yield "has no label"
        for name in columns.classes:
            if cells[name] not in _NUMBERS:
                yield f"has {cells[name]!r} in column {name}: expected 0 or 1"
        if columns.split and cells[columns.split].lower() not in _SPLITS:
            yield f"has split {cells[columns.split]!r}: expected train, validation or test"
        if columns.group:
            yield from self._group_problems(cells[columns.group], cells.get(columns.split or "", ""), row.line)

    def path(self, cells: Mapping[str, str]) -> Path:
        """Image file of a row."""
        return self._root / Path(cells[self._columns.path]).expanduser()

    def _path_problems(self, cells: Mapping[str, str], line: int) -> Iterator[str]:
        if not cells[self._columns.path]:
            yield "has no path"
            return
        path = self.path(cells)
        if (first := self._lines.setdefault(path, line)) != line:
            yield f"has the image of line {first} again: {path}"
        elif not self._lenient and not path.is_file():
            yield f"has no image at {path}"

    def _group_problems(self, group: str, split: str, line: int) -> Iterator[str]:
        split = _SPLITS.get(split.lower(), "")
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
