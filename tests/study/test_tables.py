"""CSV files of a study."""

import csv
from dataclasses import replace
from pathlib import Path

from skipweave.study.class_results import IOU
from skipweave.study.results import Results, Run, Timing
from skipweave.study.tables import write_classes, write_results, write_summary
from tests.study.test_results import RESULTS, SMALL


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_results_csv_has_one_row_per_run(tmp_path):
    write_results(tmp_path / "results.csv", RESULTS)
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [(row["label"], row["seed"], row["test_top1_error"]) for row in rows] == [
        ("small", "0", "3.0"),
        ("small", "1", "5.0"),
        ("large", "0", "2.5"),
        ("large", "1", ""),
    ]
    expected = {"overrides": '{"growth": 4}', "macs": "2000", "mean_distance": "1.75", "exit_top1_error": ""}
    assert rows[0].items() >= (expected | {"inference_ms": "1.5", "run": "runs/small/0", "failure": ""}).items()
    assert rows[3]["failure"] == "loss became NaN"


def test_summary_csv_has_one_row_per_network(tmp_path):
    write_summary(tmp_path / "summary.csv", RESULTS)
    small, large = csv.DictReader((tmp_path / "summary.csv").read_text().splitlines())
    assert (small["seeds"], small["mean_test_top1_error"], small["spread"]) == ("2", "4.0", "1.4142")
    assert (small["min_test_top1_error"], small["max_test_top1_error"]) == ("3.0", "5.0")
    assert small["on_front_of"] == "parameters macs step_ms"
    assert (large["seeds"], large["spread"]) == ("1", "")
    # a spread of sqrt(2) with one degree of freedom: t is 12.7062, and errors end at 0
    assert (small["interval_low"], small["interval_high"]) == ("0.0", "16.7062")
    assert (large["interval_low"], large["interval_high"]) == ("0.0", "20.4693")


def test_csv_of_no_runs_has_no_rows(tmp_path):
    write_results(tmp_path / "results.csv", Results("nothing", (), ()))
    assert list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines())) == []


def test_classes_energy_memory_and_engines_have_columns(tmp_path):
    network = replace(SMALL, cost=replace(SMALL.cost, training_bytes=2048, inference_bytes=512))
    runs = (
        Run(
            "small", 0, "a", 3.0, 9.0,
            class_values=(50.0, None), calibration_error=1.25, energy_wh={"cpu": 0.5}, tta_value=2.5,
        ),
        Run(
            "small", 1, "b", 5.0, 9.0,
            class_values=(25.0, None), calibration_error=1.75, energy_wh={"cpu": 1.0}, tta_value=2.5,
        ),
        Run("small", 2, "c", failure="loss became NaN"),
    )  # fmt: skip
    timings = {"small": Timing(1.0, 2.0, {"torch": 0.25}, {"openvino": "no such operator"})}
    results = Results("", (network,), runs, timings, classes=("ape", "cat"))
    write_results(tmp_path / "results.csv", results)
    first, _, failed = rows_of(tmp_path / "results.csv")
    expected = {"test_calibration_error": "1.25", "test_recall_ape": "50.0", "test_recall_cat": ""}
    expected |= {"cpu_energy_wh": "0.5", "gpu_energy_wh": "", "training_bytes": "2048", "inference_bytes": "512"}
    expected |= {"test_tta_top1_error": "2.5", "image_ms_torch": "0.25", "image_ms_openvino": ""}
    assert first.items() >= expected.items()
    assert (failed["test_recall_ape"], failed["test_calibration_error"], failed["cpu_energy_wh"]) == ("", "", "")
    write_summary(tmp_path / "summary.csv", results)
    (row,) = rows_of(tmp_path / "summary.csv")
    expected = {"mean_test_calibration_error": "1.5", "calibration_spread": "0.3536", "mean_cpu_energy_wh": "0.75"}
    expected |= {"mean_test_tta_top1_error": "2.5", "tta_interval_low": "2.5", "tta_interval_high": "2.5"}
    assert row.items() >= (expected | {"mean_test_recall_ape": "37.5", "mean_test_recall_cat": ""}).items()


def test_classes_csv_has_one_row_per_class(tmp_path):
    results = Results("", (), (), classes=("ape", "cat"), class_counts={"train": (3, 2), "test": (1, 0)})
    write_classes(tmp_path / "classes.csv", results)
    assert rows_of(tmp_path / "classes.csv") == [
        {"class": "ape", "train_images": "3", "test_images": "1"},
        {"class": "cat", "train_images": "2", "test_images": "0"},
    ]
    write_classes(tmp_path / "classes.csv", replace(results, class_counts={"test": (9, 8)}, class_metric=IOU))
    assert rows_of(tmp_path / "classes.csv")[0] == {"class": "ape", "test_pixels": "9"}
