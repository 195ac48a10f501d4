"""CSV files of a study."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from skipweave.files.atomic_write import as_csv, write_text
from skipweave.study.class_results import IOU, ClassValues
from skipweave.study.results import COSTS, Network, Results, Run
from skipweave.training.energy import Energy


def write_results(path: Path, results: Results) -> None:
    """Write results.csv, one row per run; a failed run has a row with the reason."""
    networks = {network.label: network for network in results.networks}
    write_table(path, [_run_row(networks[run.label], run, results) for run in results.runs])


def _run_row(network: Network, run: Run, results: Results) -> dict[str, Any]:
    metric = results.metric.name
    return {
        "label": run.label,
        **_network_cells(network),
        "seed": run.seed,
        f"test_{metric}": run.value,
        f"exit_{metric}": " ".join(map(str, run.exit_values)),
        f"test_tta_{metric}": run.tta_value,
        "test_calibration_error": rounded(run.calibration_error),
        "train_seconds": rounded(run.train_seconds),
        **_energy_cells(run.energy_wh),
        **_timing_cells(results, run.label),
        "run": run.run_dir,
        "stopped_after": run.stopped_after,
        f"stopped_val_{metric}": run.stopped_after and run.val_value(run.stopped_after),
        "failure": run.failure or network.failure,
        **_class_cells("test", run.class_values, results),
    }


def write_summary(path: Path, results: Results) -> None:
    """Write summary.csv, one row per network: mean, its 95 % interval and spread over its finished seeds."""
    fronts, metric = {key: results.front(key) for key in COSTS}, results.metric.name
    rows = [
        {
            "label": s.network.label,
            **_network_cells(s.network),
            "seeds": len(s.values),
            f"mean_test_{metric}": rounded(s.mean),
            "spread": rounded(s.spread),
            **_interval_cells("", results.interval(s)),
            f"min_test_{metric}": min(s.values),
            f"max_test_{metric}": max(s.values),
            f"mean_test_tta_{metric}": rounded(s.tta_mean),
            **_interval_cells("tta_", results.tta_interval(s)),
            "mean_test_calibration_error": rounded(s.calibration_error),
            "calibration_spread": rounded(s.calibration_spread),
            "mean_train_seconds": rounded(s.train_seconds),
            **_energy_cells(s.energy_wh, "mean_"),
            **_timing_cells(results, s.network.label),
            "on_front_of": " ".join(key for key in COSTS if s.network.label in fronts[key]),
            **_class_cells("mean_test", s.class_values, results),
        }
        for s in results.summaries
    ]
    write_table(path, rows)


def write_classes(path: Path, results: Results) -> None:
    """Write classes.csv, one row per class: its number of test images or pixels, and of those of the other splits."""
    unit = "pixels" if results.class_metric is IOU else "images"
    counts = {f"{split}_{unit}": numbers for split, numbers in results.class_counts.items()}
    rows = [
        {"class": name, **{column: numbers[place] for column, numbers in counts.items()}}
        for place, name in enumerate(results.classes)
    ]
    write_table(path, rows)


def _network_cells(network: Network) -> dict[str, Any]:
    cost = network.cost
    return {
        "model": network.model,
        "overrides": json.dumps(dict(network.args)),
        "parameters": cost and cost.parameters,
        "macs": cost and cost.macs,
        "links": cost and cost.links,
        "max_distance": cost and cost.max_distance,
        "mean_distance": cost and rounded(cost.mean_distance),
        "training_bytes": cost and cost.training_bytes,
        "inference_bytes": cost and cost.inference_bytes,
        "devices": network.devices,
        "batch_size": network.batch_size,
        "grad_checkpointing": network.grad_checkpointing,
    }


def _interval_cells(prefix: str, interval: tuple[float, float] | None) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {f"{prefix}interval_low": rounded(low), f"{prefix}interval_high": rounded(high)}


def _energy_cells(energy: Energy, prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}{part}_energy_wh": rounded(energy.get(part)) for part in ("cpu", "gpu")}


def _timing_cells(results: Results, label: str) -> dict[str, Any]:
    """Times of a network; a column for each engine that a network of the study was to run in."""
    timing = results.timings.get(label)
    engines = dict.fromkeys(name for one in results.timings.values() for name in (*one.engine_ms, *one.engine_failures))
    return {
        "inference_ms": rounded(timing.inference_ms if timing else None),
        "step_ms": rounded(timing.step_ms if timing else None),
        **{f"image_ms_{name}": rounded(timing.engine_ms.get(name) if timing else None) for name in engines},
    }


def _class_cells(prefix: str, values: ClassValues, results: Results) -> dict[str, Any]:
    """A metric of each class."""
    known = values or (None,) * len(results.classes)
    names = (f"{prefix}_{results.class_metric.name}_{name}" for name in results.classes)
    return {name: rounded(value) for name, value in zip(names, known, strict=True)}


def rounded(value: float | None) -> float | None:
    """Round a number of a table to four decimals."""
    return None if value is None else round(value, 4)


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file from rows of equal columns."""
    rows = list(rows)
    write_text(path, as_csv([rows[0] if rows else ["label"], *(row.values() for row in rows)]))
