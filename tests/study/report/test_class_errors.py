import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from skipweave.data import ClassificationData, MemoryDataset
from skipweave.data.preprocessing import Preprocessing
from skipweave.study.report.class_errors import class_error_section, confusions, mistakes
from skipweave.study.results import Network, Results, Run
from skipweave.training.tasks.predictions import Predictions


def dataset(classes: int, images: int) -> ClassificationData:
    labels = np.arange(images) % classes
    pictures = torch.arange(images, dtype=torch.uint8)[:, None, None, None].expand(images, 3, 8, 8)
    split = MemoryDataset(pictures, labels)
    plain = Preprocessing(channels=3, resize=8, crop=8, mean=(0.0,) * 3, std=(1.0,) * 3)
    names = tuple(f"<class {label}>" for label in range(classes))
    return ClassificationData("made", names, split, None, split, lambda batch, _: batch, plain)


def results_of(data: ClassificationData, *wrong: int) -> Results:
    """Two networks with a seed each; `wrong` images of the first are predicted as the next class."""
    labels = data.test.labels
    predicted = labels.copy()
    predicted[list(wrong)] = (predicted[list(wrong)] + 1) % len(data.classes)
    runs = tuple(
        Run(label, 0, "", value, 1.0, predictions=Predictions(labels, own))
        for label, value, own in (("first", 9.0, predicted), ("second", 3.0, labels))
    )
    return Results("", (Network("first", "m", {}), Network("second", "m", {})), runs)


def cells(markup: str) -> list[list[str]]:
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", markup)]


def test_errors_by_class_have_a_row_per_network_best_first():
    data = dataset(4, 16)
    section = class_error_section(results_of(data, 1, 5, 2), data)
    head, second, first = cells(section)
    assert head[1:] == [f"&lt;class {label}&gt;" for label in range(4)]
    assert first[1:] == ["0.0", "50.0", "25.0", "0.0"]
    assert second[1:] == ["0.0"] * 4
    assert re.findall(r'<tr data-model="(\d)"', section) == ["1", "0"]


def test_of_many_classes_those_of_the_highest_error_are_shown():
    data = dataset(40, 80)
    head, *_ = cells(class_error_section(results_of(data, 39, 38, 20), data))
    assert len(head) == 1 + 15
    assert {"&lt;class 39&gt;", "&lt;class 38&gt;", "&lt;class 20&gt;"} <= {*head}


def test_the_confusion_matrix_has_percents_of_the_true_class():
    data = dataset(4, 16)
    (first, _) = results_of(data, 1, 5, 2).summaries
    _, *rows = cells(confusions(first, data))
    assert [row[1:] for row in rows] == [
        ["100", "", "", ""],
        ["", "50", "50", ""],
        ["", "", "75", "25"],
        ["", "", "", "100"],
    ]


def test_of_many_classes_the_most_frequent_confusions_are_listed():
    data = dataset(40, 80)
    (first, _) = results_of(data, 39, 38, 78).summaries
    _, *rows = cells(confusions(first, data))
    assert rows == [
        ["&lt;class 38&gt;", "&lt;class 39&gt;", "100.0 %"],
        ["&lt;class 39&gt;", "&lt;class 0&gt;", "50.0 %"],
    ]


def test_mistakes_are_shown_with_both_classes():
    data = dataset(4, 16)
    first, second = results_of(data, 1, 5).summaries
    shown = mistakes(first, first.predictions, data)
    assert re.findall('alt="([^"]*)"', shown) == ["&lt;class 1&gt;, predicted as &lt;class 2&gt;"] * 2
    assert shown.count("data:image/png;base64,") == 2
    assert mistakes(second, first.predictions, data) == ""


@pytest.mark.parametrize(
    "shown", [lambda r, d: class_error_section(r, d), lambda r, d: mistakes(r.summaries[0], (), d)]
)
def test_without_predictions_for_these_images_there_is_nothing(shown):
    data = dataset(4, 16)
    results = results_of(data, 1)
    if shown(replace(results, runs=tuple(replace(run, predictions=None) for run in results.runs)), data):
        pytest.fail("expected nothing")
