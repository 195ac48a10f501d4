import re
from dataclasses import replace

import numpy as np
import torch

from skipweave.data import ClassificationData, MemoryDataset
from skipweave.data.preprocessing import Preprocessing
from skipweave.study.class_results import confusion_of, recalls
from skipweave.study.report.class_tables import class_section, confusions
from skipweave.study.report.mistake_gallery import mistake_gallery
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
    """Two networks with a seed each; images `wrong` of the first are predicted as the next class, ever more surely."""
    labels, classes = data.test.labels, len(data.classes)
    predicted, confidences = labels.copy(), np.full(len(labels), 0.99)
    predicted[list(wrong)] = (predicted[list(wrong)] + 1) % classes
    confidences[list(wrong)] = 0.5 + np.arange(len(wrong)) / 10
    runs = []
    for label, value, own in (("first", 9.0, predicted), ("second", 3.0, labels)):
        known = Predictions(labels, own, confidences)
        matrix, values = confusion_of(known, classes), recalls(known, classes)
        runs.append(Run(label, 0, "", value, 1.0, predictions=known, class_values=values, confusion=matrix))
    networks = (Network("first", "m", {}), Network("second", "m", {}))
    counts = {"train": (9,) * classes, "test": tuple(np.bincount(labels).tolist())}
    return Results("", networks, tuple(runs), classes=data.classes, class_counts=counts)


def cells(markup: str) -> list[list[str]]:
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", markup)]


def test_results_by_class_have_a_row_per_network_best_first():
    section = class_section(results_of(dataset(4, 16), 1, 5, 2))
    head, second, first, counts = cells(section)
    assert head[1:] == [f"&lt;class {label}&gt;" for label in range(4)]
    assert first[1:] == ["100.0", "50.0", "75.0", "100.0"]
    assert second[1:] == ["100.0"] * 4
    assert counts == ["test images", "4", "4", "4", "4"]
    assert re.findall(r'<tr data-model="(\d)"', section) == ["1", "0"]
    assert re.findall(r"--v:([\d.]+)", section)[4:] == ["0.00", "1.00", "0.50", "0.00"]


def test_a_class_without_a_value_has_a_dash():
    results = results_of(dataset(4, 16))
    runs = tuple(replace(run, class_values=(None, *run.class_values[1:])) for run in results.runs)
    assert [row[1] for row in cells(class_section(replace(results, runs=runs)))[1:3]] == ["–", "–"]


def test_of_many_classes_those_of_the_lowest_values_are_shown():
    head, *_ = cells(class_section(results_of(dataset(40, 80), 39, 38, 20)))
    assert len(head) == 1 + 15
    assert {"&lt;class 39&gt;", "&lt;class 38&gt;", "&lt;class 20&gt;"} <= {*head}


def test_the_confusion_matrix_has_percents_of_the_true_class():
    data = dataset(4, 16)
    (first, _) = results_of(data, 1, 5, 2).summaries
    _, *rows = cells(confusions(first.confusion, data.classes))
    assert [row[1:] for row in rows] == [
        ["100", "", "", ""],
        ["", "50", "50", ""],
        ["", "", "75", "25"],
        ["", "", "", "100"],
    ]


def test_of_many_classes_the_most_frequent_confusions_are_listed():
    data = dataset(40, 80)
    (first, _) = results_of(data, 39, 38, 78).summaries
    _, *rows = cells(confusions(first.confusion, data.classes))
    assert rows == [
        ["&lt;class 38&gt;", "&lt;class 39&gt;", "100.0 %"],
        ["&lt;class 39&gt;", "&lt;class 0&gt;", "50.0 %"],
    ]


def test_mistakes_are_shown_with_both_classes_the_most_confident_first():
    data = dataset(4, 16)
    first, second = results_of(data, 1, 6).summaries
    shown = mistake_gallery(first, data)
    assert re.findall('alt="([^"]*)"', shown) == [
        "&lt;class 2&gt;, predicted as &lt;class 3&gt;",
        "&lt;class 1&gt;, predicted as &lt;class 2&gt;",
    ]
    assert re.findall(r"</b> (\d+)%", shown) == ["60", "50"]
    assert shown.count("data:image/png;base64,") == 2
    assert mistake_gallery(second, data) == ""


def test_without_results_by_class_and_predictions_there_is_nothing():
    data = dataset(4, 16)
    results = results_of(data, 1)
    unknown = replace(results, runs=tuple(replace(r, predictions=None, class_values=()) for r in results.runs))
    assert class_section(unknown) == ""
    assert mistake_gallery(unknown.summaries[0], data) == ""
    assert mistake_gallery(results.summaries[0], dataset(4, 12)) == ""  # another test split
