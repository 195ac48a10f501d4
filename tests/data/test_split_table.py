import csv
from pathlib import Path

import numpy as np
import pytest

from skipweave.data import DataConfig, load
from skipweave.data.split_table import label_text, split_table
from skipweave.files.atomic_write import as_csv


def test_digits_are_named_by_their_index():
    header, *rows = split_table(load(DataConfig()))
    assert header == ["image", "label", "split"]
    assert sorted(int(str(index)) for index, *_ in rows) == list(range(1797))
    assert {split for *_, split in rows} == {"train", "validation", "test"}


def test_a_table_of_splits_is_a_table_of_labels(tmp_path: Path, make_images):
    make_images(tmp_path, {"all": 24})
    rows = [f"all/{number}.png,{'ape' if number % 3 else 'cow'},p{number // 2}" for number in range(24)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,patient", *rows]))
    config = DataConfig(
        name="csv", labels=tmp_path / "labels.csv", group_column="patient", image_size=8, folds=3, fold=2
    )
    data = load(config)
    (tmp_path / "splits.csv").write_text(as_csv(split_table(data, 2)))
    with (tmp_path / "splits.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["fold"] for row in table} == {"2"}
    assert all(row["group"] == f"p{int(Path(row['image']).stem) // 2}" for row in table)
    again = load(DataConfig(name="csv", labels=tmp_path / "splits.csv", path_column="image", image_size=8))
    for ours, theirs in zip(data.splits.values(), again.splits.values(), strict=True):
        assert ours.paths == theirs.paths
        assert np.array_equal(ours.labels, theirs.labels)


@pytest.mark.parametrize(("label", "text"), [(1, "b"), (np.array([1, 0, 1]), "a;c"), (np.zeros(3), "")])
def test_several_labels_are_separated(label, text):
    assert label_text("abc", label) == text
