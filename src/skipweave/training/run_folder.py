"""A run's folder: what lies where in it, made new for every run, complete in itself."""

import csv
import io
import json
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from skipweave.errors import SkipweaveError
from skipweave.training.checkpoint import Saved, open_saved
from skipweave.training.config import FitConfig
from skipweave.training.files import keep_as, refuse_links, remove_partial, write_text
from skipweave.training.plain_files import read_json
from skipweave.training.settings import as_yaml, read
from skipweave.training.summary import EpochRow, RunSummary
from skipweave.training.typed import build

_PACKAGES = ("skipweave", "torch", "torchvision", "timm", "lightning-fabric", "safetensors", "numpy")


class RunFolder:
    """The files of one run.

    Args:
        path: the folder.

    Raises:
        SkipweaveError: it is not a run's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.versions = self.path / "versions.json"
        self.metrics = self.path / "metrics.csv"
        self.summary = self.path / "summary.json"
        self.weights = self.path / "model.safetensors"
        self.curves = self.path / "curves"
        self.events = self.path / "events"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.safetensors"
        self.previous = self.checkpoints / "previous.safetensors"
        self.best = self.checkpoints / "best.safetensors"
        if not self.path.is_dir():
            raise SkipweaveError(f"no such run folder: {self.path}")

    @classmethod
    def create(cls, config: FitConfig) -> "RunFolder":
        """Make `<output>/<model>_<data>_<n>` with the first free n, and write settings and versions into it."""
        if config.output.exists() and not config.output.is_dir():
            raise SkipweaveError(f"output is {config.output}: expected a folder, found a file")
        stem = re.sub(r"[^\w.-]+", "_", f"{config.model.name}_{config.data.name}")
        for number in count(1):
            path = config.output / f"{stem}_{number}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise SkipweaveError(f"cannot make the run folder {path}: {error.strerror}") from error
            break
        return cls(path)._begin(config)

    @classmethod
    def make(cls, path: Path, config: FitConfig) -> "RunFolder":
        """Make a folder of this very name, and write settings and versions into it.

        Raises:
            SkipweaveError: it exists already, or cannot be made.
        """
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise SkipweaveError(f"cannot make the run folder {path}: {error.strerror}") from error
        return cls(path)._begin(config)

    def _begin(self, config: FitConfig) -> "RunFolder":
        self.checkpoints.mkdir()
        write_text(self.versions, json.dumps(_versions(), indent=2) + "\n")
        write_text(self.config, as_yaml(config))
        return self

    @classmethod
    def reopen(cls, path: Path) -> "RunFolder":
        """Open a run that was started before, and clear away what it was writing when it was stopped."""
        folder = cls(path)
        if not folder.config.is_file():
            raise SkipweaveError(f"not a run folder (it has no config.yaml): {path}")
        refuse_links(folder.path)
        folder.checkpoints.mkdir(exist_ok=True)
        remove_partial(folder.path)
        remove_partial(folder.checkpoints)
        return folder

    def read_config(self) -> FitConfig:
        """The settings that the run was started with; what they had downloaded is there by now."""
        config = read(FitConfig, self.config)
        return replace(config, data=replace(config.data, download=False))

    def keep_last(self) -> None:
        """Let `previous` be what is now `last`, before `last` is replaced."""
        if self.last.exists():
            keep_as(self.last, self.previous)

    def newest(self, check: Callable[[Saved], object] = lambda saved: None) -> tuple[Saved | None, str]:
        """The checkpoint to continue from.

        Args:
            check: raises a SkipweaveError if a file's header does not fit; its tensors are then not read.

        Returns:
            `last`, or if that is damaged `previous`; None before the first one. And a warning, or nothing.

        Raises:
            SkipweaveError: all that is there is damaged, or a file that is whole does not fit.
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
            return saved, f"{problems[0]}; continuing from {path.name}" if problems else ""
        if problems:
            raise SkipweaveError("; ".join(problems))
        return None, ""

    def write_metrics(self, rows: Sequence[EpochRow]) -> None:
        """Write metrics.csv anew: one row an epoch, so that none is ever lost or doubled."""
        lines = [row.as_columns() for row in rows]
        names = dict.fromkeys(name for line in lines for name in line)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(names), lineterminator="\n")
        if names:
            writer.writeheader()
        writer.writerows(lines)
        write_text(self.metrics, text.getvalue())

    def write_summary(self, summary: RunSummary) -> None:
        """Write summary.json, the sign that the run is finished."""
        write_text(self.summary, json.dumps(summary.as_plain(), indent=2) + "\n")

    def read_summary(self) -> RunSummary | None:
        """The figures of a finished run; None while it is not."""
        if not self.summary.exists():
            return None
        try:
            values = build(RunSummary, read_json(self.summary))
            return replace(values, run_dir=self.path)
        except SkipweaveError as error:
            raise SkipweaveError(
                f"damaged file, or of another version: {self.summary}: remove it and resume the run ({error})"
            ) from error


def _versions() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "platform": platform.platform(),
    }
