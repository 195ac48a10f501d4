"""A study's folder: what lies where in it."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from skipweave.errors import SkipweaveError
from skipweave.files.atomic_write import refuse_links, write_text
from skipweave.study.results import Epoch, Timing
from skipweave.training.run.run_directory import runs_in
from skipweave_config.config_files import as_yaml
from skipweave_config.plain_files import read_json, read_text
from skipweave_config.study_config import NetworkConfig, StudyConfig
from skipweave_config.validation import validate_json


class StudyDirectory:
    """The files of one study.

    Args:
        path: the folder; made if it is missing.

    Raises:
        SkipweaveError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.runs = path / "runs"
        self.results = path / "results.csv"
        self.summary = path / "summary.csv"
        self.timing = path / "timing.json"
        self.plots = path / "plots"
        self.report = path / "report.html"
        try:
            refuse_links(path)
            self.runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SkipweaveError(f"cannot make the study's folder {path}: {error.strerror}") from error

    def write_config(self, config: StudyConfig) -> None:
        """Write the settings, so that the study can be gone on with and repeated."""
        write_text(self.config, as_yaml(config))

    def place(self, network: NetworkConfig, seed: int) -> Path:
        """Where the run of a network from a seed gets its folder."""
        return self.runs / network.slug / f"seed-{seed}"

    def run_dir(self, network: NetworkConfig, seed: int) -> Path | None:
        """The newest folder of that run which can be gone on with; None if it has not begun."""
        runs = runs_in(self.place(network, seed))
        return max(runs, key=lambda path: (path.stat().st_mtime_ns, path), default=None)

    def relative(self, path: Path) -> str:
        """A path within the folder, as tables name it."""
        return path.relative_to(self.path).as_posix() if path.is_relative_to(self.path) else str(path)

    def write_timing(self, key: str, timings: Mapping[str, Timing]) -> None:
        """Keep what was measured; the key says of what and how."""
        plain = {"key": key, "timings": {label: asdict(timing) for label, timing in timings.items()}}
        write_text(self.timing, json.dumps(plain, indent=2) + "\n")

    def read_timing(self, key: str) -> dict[str, Timing] | None:
        """What was measured before under the same key."""
        saved = validate_json(dict[str, Any], read_json(self.timing), self.timing.name) if self.timing.is_file() else {}
        if saved.get("key") != key:
            return None
        return validate_json(dict[str, Timing], saved.get("timings"), f"{self.timing}: timings")


def read_curve(run_dir: Path) -> tuple[Epoch, ...]:
    """A run's learning curve, from its metrics.csv; empty where there is none yet."""
    metrics = run_dir / "metrics.csv"
    if not metrics.is_file():
        return ()
    try:
        return tuple(
            Epoch(int(row["epoch"]), float(row["train_loss"]), _number(row["train_error"]), _number(row["val_error"]))
            for row in csv.DictReader(io.StringIO(read_text(metrics)))
        )
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise SkipweaveError(f"damaged file: {metrics} ({error})") from error


def _number(text: str) -> float | None:
    return float(text) if text else None
