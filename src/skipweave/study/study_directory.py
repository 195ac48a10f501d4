"""The study directory and its files."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from skipweave.files.atomic_write import refuse_links, write_text
from skipweave.study.results import Epoch, Timing
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.config_files import as_yaml
from skipweave_config.errors import SkipweaveError
from skipweave_config.plain_files import read_json
from skipweave_config.study_config import NetworkConfig, StudyConfig
from skipweave_config.validation import validate_json


class StudyDirectory:
    """The files of one study.

    Raises:
        SkipweaveError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.runs = path / "runs"
        self.results = path / "results.csv"
        self.summary = path / "summary.csv"
        self.classes = path / "classes.csv"
        self.comparisons = path / "comparisons.csv"
        self.halving = path / "halving.csv"
        self.timing = path / "timing.json"
        self.plots = path / "plots"
        self.report = path / "report.html"
        try:
            refuse_links(path)
            self.runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SkipweaveError(f"cannot make the study directory {path}: {error.strerror}") from error

    def write_config(self, config: StudyConfig) -> None:
        """Write the config, so that the study can be resumed and repeated."""
        write_text(self.config, as_yaml(config))

    def place(self, network: NetworkConfig, seed: int) -> Path:
        """The directory for the run directories of a network and a seed."""
        return self.runs / network.slug / f"seed-{seed}"

    def relative(self, path: Path) -> str:
        """A path relative to the directory, as in tables."""
        return path.relative_to(self.path).as_posix() if path.is_relative_to(self.path) else str(path)

    def write_timing(self, key: str, timings: Mapping[str, Timing]) -> None:
        """Write measured times with a key of what was measured and how."""
        plain = {"key": key, "timings": {label: asdict(timing) for label, timing in timings.items()}}
        write_text(self.timing, json.dumps(plain, indent=2) + "\n")

    def read_timing(self, key: str) -> dict[str, Timing] | None:
        """The times measured before under the same key."""
        saved = validate_json(dict[str, Any], read_json(self.timing), self.timing.name) if self.timing.is_file() else {}
        if saved.get("key") != key:
            return None
        return validate_json(dict[str, Timing], saved.get("timings"), f"{self.timing}: timings")


def read_curve(run_dir: Path, metric: str) -> tuple[Epoch, ...]:
    """A run's learning curve, from its metrics.csv; empty without one.

    Raises:
        SkipweaveError: It is damaged.
    """
    rows = RunDirectory(run_dir).read_metrics()
    return tuple(
        Epoch(row.epoch, row.train_loss, row.train_metrics.get(metric), row.val_metrics.get(metric), row.seconds)
        for row in rows
    )
