"""The run directory and its files."""

import csv
import io
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from errno import EEXIST
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skipweave.data import ClassificationData, SegmentationData, Unreadable
from skipweave.data.split_table import split_table
from skipweave.files.atomic_write import as_csv, keep_as, refuse_links, remove_partial, sync, write_text
from skipweave.files.hub import WEIGHTS_FILE
from skipweave.training.checkpoint.tensor_file import Saved, open_saved
from skipweave.training.distributed import torchrun
from skipweave.training.run.summary import EpochRow, RunSummary
from skipweave.training.run.versions import versions
from skipweave.training.tasks.predictions import Predictions
from skipweave_config.config_files import as_yaml, read
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig
from skipweave_config.plain_files import read_json, read_text
from skipweave_config.validation import validate_json

Confusion = NDArray[np.int64]
"""Images or pixels, (classes, classes): row = true class, column = predicted class."""

_TRUE = "true"  # header of the names of true classes
_SKIPPED = ("index", "file", "problem")
_MOST_BYTES_OF_PREDICTIONS = 2**25  # almost two million images of up to 1,000 classes


class RunDirectory:
    """The files of one run.

    Raises:
        SkipweaveError: It is not a run directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.versions = self.path / "versions.json"
        self.metrics = self.path / "metrics.csv"
        self.summary = self.path / "summary.json"
        self.test_predictions = self.path / "test_predictions.csv"
        self.test_confusion = self.path / "test_confusion.csv"
        self.job = self.path / "torchrun_job.txt"
        self.weights = self.path / WEIGHTS_FILE
        self.skipped = self.path / "skipped.csv"
        self.splits = self.path / "splits.csv"
        self.curves = self.path / "curves"
        self.events = self.path / "events"
        self.log = self.path / "log.txt"
        self.log_lines = self.path / "log.jsonl"
        self.divergence = self.path / "diverged.json"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.safetensors"
        self.previous = self.checkpoints / "previous.safetensors"
        self.best = self.checkpoints / "best.safetensors"
        if not self.path.is_dir():
            kind = "a file, not a run directory" if self.path.is_file() else "no such run directory"
            raise SkipweaveError(f"{kind}: {self.path}")

    @classmethod
    def create(cls, config: FitConfig) -> "RunDirectory":
        """Create `<output>/<model>_<data>_<n>` with the first free n, and write config and versions into it.

        Raises:
            SkipweaveError: It cannot be made, or not be written to.
        """
        if config.output.exists() and not config.output.is_dir():
            raise SkipweaveError(f"output is {config.output}: expected a folder, found a file")
        stem = re.sub(r"[^\w.-]+", "_", f"{config.model.name}_{config.data.name}")
        numbers = count(1)
        while True:
            with suppress(FileExistsError):
                return cls._new(config.output / f"{stem}_{next(numbers)}", config)

    @classmethod
    def make(cls, path: Path, config: FitConfig) -> "RunDirectory":
        """Create a directory of this name, and write config and versions into it.

        Raises:
            SkipweaveError: It exists already, cannot be made, or not be written to.
        """
        try:
            return cls._new(path, config)
        except FileExistsError as error:
            raise SkipweaveError(f"cannot make the run directory {path}: {error.filename} is there already") from error

    @classmethod
    def _new(cls, path: Path, config: FitConfig) -> "RunDirectory":
        """Create it as `.NAME.partial` and rename it, so that it is complete as soon as it has its name."""
        partial = path.parent / f".{path.name}.partial"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()  # the process that creates this may take the name
        except OSError as error:
            if isinstance(error, FileExistsError) and Path(error.filename) == partial:
                raise
            raise SkipweaveError(f"cannot make the run directory {path}: {error.strerror}") from error
        try:
            if os.path.lexists(path):  # an empty folder would be replaced
                raise FileExistsError(EEXIST, os.strerror(EEXIST), str(path))
            cls(partial)._begin(config)
            partial.rename(path)
            sync(path.parent)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, FileExistsError):
                raise
            raise SkipweaveError(f"cannot begin the run {path}: {error.strerror}; nothing is left of it") from error
        return cls(path)

    def _begin(self, config: FitConfig) -> None:
        self.checkpoints.mkdir()
        write_text(self.versions, json.dumps(versions(config.accelerator), indent=2) + "\n")
        if torchrun.job():
            write_text(self.job, torchrun.job() + "\n")
        write_text(self.config, as_yaml(config))

    @classmethod
    def of_torchrun_job(cls, output: Path) -> "RunDirectory | None":
        """The newest run in a directory that this torchrun job started; None if there is none."""
        marks = [path / "torchrun_job.txt" for path in runs_in(output)]
        own = [path for path in marks if path.is_file() and read_text(path).strip() == torchrun.job()]
        newest = _newest(own)
        return cls.reopen(newest.parent) if newest else None

    @classmethod
    def reopen(cls, path: Path) -> "RunDirectory":
        """Open a run that was started before."""
        folder = cls(path)
        folder.check()
        refuse_links(folder.path)
        return folder

    def repair(self, check: Callable[[Saved], object]) -> str:
        """Remove partial files of a killed process, and replace a damaged `last` checkpoint by `previous`.

        Returns:
            A warning, or nothing.

        Raises:
            SkipweaveError: All checkpoints are damaged, or the folder cannot be written.
        """
        saved, warning = self.newest(check)
        with self.writing():
            self.checkpoints.mkdir(exist_ok=True)
            remove_partial(self.path)
            remove_partial(self.checkpoints)
            if saved and saved.path != self.last:  # else the next save would keep the damaged one as `previous`
                keep_as(self.previous, self.last)
        return warning

    @property
    def resume_command(self) -> str:
        """The command that resumes the run."""
        return f"skipweave fit --resume {shlex.quote(str(self.path))}"

    def check(self) -> None:
        """Check that a run was started here.

        Raises:
            SkipweaveError: There is no config.
        """
        if not self.config.is_file():
            raise SkipweaveError(f"not a run directory (it has no config.yaml): {self.path}")

    def read_config(self) -> FitConfig:
        """The config that the run was started with, without downloads.

        Raises:
            SkipweaveError: There are none, or they are damaged.
        """
        self.check()
        config = read(FitConfig, self.config)
        return replace(config, data=replace(config.data, download=False))

    def extend(self, config: FitConfig) -> None:
        """Reopen the run, finished or not, for the epochs and the early stopping of a config."""
        own = self.read_config()
        self.summary.unlink(missing_ok=True)  # first: with a summary the run would be finished
        write_text(self.config, as_yaml(replace(own, epochs=config.epochs, early_stopping=config.early_stopping)))

    def keep_last(self) -> None:
        """Keep `last` as `previous`, before `last` is replaced."""
        if self.last.exists():
            keep_as(self.last, self.previous)

    def newest(self, check: Callable[[Saved], object] = lambda saved: None) -> tuple[Saved | None, str]:
        """The checkpoint to resume from.

        Args:
            check: Raises a SkipweaveError if a file's header does not fit; its tensors are then not read.

        Returns:
            `last`, or if that is damaged `previous`; None before the first one. And a warning, or nothing.

        Raises:
            SkipweaveError: All that is there is damaged, or a file that is whole does not fit.
        """
        problems: list[str] = []
        for path in (self.last, self.previous):
            if not path.exists():
                continue
            try:
                saved = open_saved(path)
            except SkipweaveError as error:
                problems.append(str(error))
                continue
            check(saved)
            try:
                saved.tensors()
            except SkipweaveError as error:
                problems.append(str(error))
                continue
            return saved, f"{problems[0]}; resuming from {path.name}" if problems else ""
        if problems:
            raise SkipweaveError(*problems)
        return None, ""

    def describe_kept(self) -> str:
        """The last good checkpoint, for messages."""
        if not self.path.is_dir():
            return f"the run directory is gone: {self.path}"
        try:
            saved, _ = self.newest()
        except SkipweaveError as error:
            return str(error)
        if saved is None:
            return f"there is no checkpoint yet in {self.checkpoints}"
        state = saved.info["state"]
        return f"the last good checkpoint is {saved.path}, after {state['epoch']} epochs and {state['step']} steps"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Report in one line what the block cannot write, as on a full or read-only disk.

        Raises:
            SkipweaveError: The file, the reason, the remaining checkpoint, and the command to resume.
        """
        try:
            yield
        except OSError as error:
            raise SkipweaveError(
                f"cannot write {error.filename or self.path} ({error.strerror or error}); {self.describe_kept()}; when "
                f"this is fixed, resume with: {self.resume_command}"
            ) from error

    def write_divergence(self, values: Mapping[str, Any]) -> None:
        """Write the divergence report."""
        write_text(self.divergence, json.dumps(values, indent=2, allow_nan=False) + "\n")

    def write_metrics(self, rows: Sequence[EpochRow]) -> None:
        """Rewrite metrics.csv, one row per epoch, so that none is lost or duplicated."""
        lines = [row.as_columns() for row in rows]
        names = dict.fromkeys(name for line in lines for name in line)
        cells = ([line.get(name) for name in names] for line in lines)
        write_text(self.metrics, as_csv([names, *cells] if names else []))

    def read_metrics(self) -> list[EpochRow]:
        """The rows of metrics.csv; none before the first epoch's end.

        Raises:
            SkipweaveError: It is damaged.
        """
        if not self.metrics.is_file():
            return []
        try:
            return [EpochRow.of_columns(row) for row in csv.DictReader(io.StringIO(read_text(self.metrics)))]
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise SkipweaveError(f"damaged file: {self.metrics} ({error})") from error

    def write_skipped(self, images: Sequence[Unreadable]) -> None:
        """Write skipped.csv, a row per skipped training image, also if there are none."""
        rows = ((image.index, image.file, image.problem) for image in images)
        write_text(self.skipped, as_csv([_SKIPPED, *rows]), errors="surrogateescape")  # names are compared later

    def write_splits(self, data: ClassificationData | SegmentationData, fold: int | None) -> None:
        """Write splits.csv, a row per image."""
        write_text(self.splits, as_csv(split_table(data, fold)), errors="surrogateescape")

    def read_skipped(self) -> list[Unreadable] | None:
        """The skipped training images; None if they are not known yet.

        Raises:
            SkipweaveError: The file is damaged.
        """
        if not self.skipped.exists():
            return None
        try:
            if not self.skipped.is_file():
                raise ValueError("not a file")
            with self.skipped.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                header, *rows = csv.reader(file)
            if tuple(header) != _SKIPPED:
                raise ValueError(f"its columns are {', '.join(header)}")
            return [Unreadable(int(index), path, problem) for index, path, problem in rows]
        except (ValueError, csv.Error) as error:
            raise SkipweaveError(f"damaged file: {self.skipped} ({error})") from error

    def write_test_predictions(self, predictions: Predictions) -> None:
        """Write test_predictions.csv, a row per test image in the order of the split."""
        write_text(self.test_predictions, predictions.as_csv())

    def read_test_predictions(self) -> Predictions | None:
        """Predictions for the test split; None for several labels, masks, and runs of versions without this file.

        Raises:
            SkipweaveError: The file is damaged.
        """
        if not self.test_predictions.exists():
            return None
        try:
            return Predictions.from_csv(read_text(self.test_predictions, most_bytes=_MOST_BYTES_OF_PREDICTIONS))
        except ValueError as error:
            raise SkipweaveError(f"damaged file: {self.test_predictions} ({error})") from error

    def write_test_confusion(self, classes: Sequence[str], confusion: Confusion) -> None:
        """Write test_confusion.csv of masks: pixels, a row per true class and a column per predicted class."""
        rows = ([name, *row] for name, row in zip(classes, confusion.tolist(), strict=True))
        write_text(self.test_confusion, as_csv([[_TRUE, *classes], *rows]), errors="surrogateescape")

    def read_test_confusion(self, classes: Sequence[str]) -> Confusion | None:
        """Pixels of the test split by true and predicted class; None for images, and runs of older versions.

        Raises:
            SkipweaveError: The file is damaged, or of other classes.
        """
        if not self.test_confusion.exists():
            return None
        try:
            with self.test_confusion.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                header, *rows = csv.reader(file)
            if header != [_TRUE, *classes] or [row[0] for row in rows] != list(classes):
                raise ValueError(f"expected a row and a column for each of {', '.join(classes)}")
            return np.array([row[1:] for row in rows], np.int64).reshape(len(classes), len(classes))
        except (ValueError, IndexError, OSError, csv.Error) as error:
            raise SkipweaveError(f"damaged file: {self.test_confusion} ({error})") from error

    def write_summary(self, summary: RunSummary) -> None:
        """Write summary.json, the sign that the run is finished."""
        write_text(self.summary, json.dumps(summary.as_plain(), indent=2) + "\n")

    def read_summary(self) -> RunSummary | None:
        """The summary of a finished run; None if it is not finished."""
        if not self.summary.exists():
            return None
        try:
            values = validate_json(RunSummary, read_json(self.summary))
            return replace(values, run_dir=self.path)
        except SkipweaveError as error:
            raise SkipweaveError(
                f"damaged file, or of another version: {self.summary}: remove it and resume the run ({error})"
            ) from error


def runs_in(output: Path) -> list[Path]:
    """The run directories in a directory, without `.NAME.partial` of runs killed while they started."""
    return sorted(path.parent for path in output.glob("[!.]*/config.yaml") if path.is_file())


def newest_run(output: Path) -> Path | None:
    """The newest run directory in a directory; None if there is none."""
    return _newest(runs_in(output))


def _newest(paths: Sequence[Path]) -> Path | None:
    return max(paths, key=lambda path: (path.stat().st_mtime_ns, path), default=None)
