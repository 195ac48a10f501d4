import re
from dataclasses import replace
from html import escape

import numpy as np
import pytest

from skipweave.study.comparisons import comparisons
from skipweave.study.report.comparison_table import comparison_section
from skipweave.study.results import Network, Results, Run
from skipweave.training.tasks.metrics import MEAN_IOU
from skipweave.training.tasks.predictions import Predictions


def study(networks: int, seeds: int, images: int = 40) -> Results:
    rng = np.random.default_rng(0)
    labels = [f"net <{i}>" for i in range(networks)]
    runs = []
    for i, label in enumerate(labels):
        for seed in range(seeds):
            wrong = (rng.random(images) < (0.1 if i % 2 else 0.7)).astype(np.int64)
            predictions = Predictions(np.zeros_like(wrong), wrong)
            runs.append(Run(label, seed, "", 100 * wrong.mean(), 1.0, predictions=predictions))
    return Results("", tuple(Network(label, "m", {}) for label in labels), tuple(runs), test_images=images)


def cells(section: str) -> list[list[str]]:
    """The text of the table's rows, the header first."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", section)
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows]


@pytest.mark.parametrize(("networks", "rows"), [(2, 1), (8, 28), (9, 8)])
def test_a_row_has_the_difference_its_interval_and_both_p_values(networks: int, rows: int):
    results = study(networks, seeds=2)
    section = comparison_section(results)
    _, *table = cells(section)
    compared = comparisons(results)
    assert len(table) == len(compared) == rows
    for row, one in zip(table, compared, strict=True):
        low, high = one.interval
        numbers = [float(cell.replace("−", "-")) for cell in (row[2], *row[3].strip("[]").split(", "))]
        assert numbers == pytest.approx([one.difference, low, high], abs=0.0051)
        assert row[:2] == [escape(s.network.label) for s in (one.network, one.reference)]
        for cell, p in zip(row[4:6], (one.p, one.holm_p), strict=True):
            assert cell == "&lt; 0.001" if p < 0.001 else float(cell) == pytest.approx(p, abs=0.0006)
        assert row[6:] == ["2"]
    assert section.count('class="differs"') == sum(one.differs for one in compared) > 0
    assert ("overestimated" in section) == (networks > 8)


def test_with_one_seed_each_the_images_of_mcnemars_test_are_listed():
    results = study(2, seeds=1)
    (one,) = comparisons(results)
    section = comparison_section(results)
    assert cells(section)[1][6:] == ["1", *map(str, one.only_wrong)]
    assert "McNemar" in section


def test_the_note_is_of_what_is_known():
    results = study(2, seeds=2)
    assert "image by image" in comparison_section(results)
    runs = (replace(results.runs[0], predictions=None), *results.runs[1:])
    assert "Not all runs have predictions" in comparison_section(replace(results, runs=runs))
    assert "for these test images" in comparison_section(replace(results, test_images=0, metric=MEAN_IOU))


def test_without_intervals_there_is_no_table():
    assert comparison_section(replace(study(2, seeds=1), test_images=0, metric=MEAN_IOU)) == ""
    assert comparison_section(study(1, seeds=2)) == ""
