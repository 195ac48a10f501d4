import re
from pathlib import Path

import numpy as np
import pytest

from skipweave.data import DataConfig, load
from skipweave_config.errors import SkipweaveError
from tests.errors import raises


@pytest.fixture
def photos(tmp_path, make_images):
    """Thirty images of two classes in one folder, and a table of them with a group of three images each."""
    make_images(tmp_path, {"all": 30})
    rows = [f"all/{number}.png,{'ape' if number % 3 else 'cow'},g{number // 3}" for number in range(30)]

    def table(*columns, split=None):
        header = ["path", "label", *columns, *(["split"] if split else [])]
        lines = [
            row.split(",")[: 2 + len(columns)] + ([split(number)] if split else []) for number, row in enumerate(rows)
        ]
        (tmp_path / "labels.csv").write_text("\n".join(map(",".join, [header, *lines])))
        return tmp_path / "labels.csv"

    return table


def files(images):
    return [] if images is None else [Path(path).name for path in images.paths]


def all_files(data):
    return sorted([name for part in (data.train, data.val, data.test) for name in files(part)])


def csv(labels, **options):
    return load(DataConfig(name="csv", labels=labels, image_size=8, **options))


def test_a_table_without_splits_is_divided_by_class(photos):
    data = csv(photos())
    assert [len(part) for part in (data.train, data.val, data.test)] == [22, 2, 6]
    assert data.classes == ("ape", "cow")
    assert np.bincount(data.test.labels).tolist() == [4, 2]
    assert len(set(all_files(data))) == 30
    assert files(csv(photos()).test) == files(data.test)
    assert files(csv(photos(), split_seed=1).test) != files(data.test)


def test_the_splits_of_a_table_are_kept(photos):
    data = csv(photos(split=lambda number: "test" if number < 6 else "train"), validation=0)
    assert (len(data.train), data.val, len(data.test)) == (24, None, 6)
    assert sorted(files(data.test)) == [f"{number}.png" for number in range(6)]
    data = csv(photos(split=lambda number: ["train", "validation", "test"][number // 10]))
    assert [len(part) for part in (data.train, data.val, data.test)] == [10, 10, 10]


@pytest.mark.parametrize("options", [{}, {"validation": 5}, {"folds": 3, "fold": 2}])
def test_no_group_is_in_two_splits(photos, options):
    data = csv(photos("group"), **options)
    groups = [{int(name.split(".")[0]) // 3 for name in files(part)} for part in (data.train, data.val, data.test)]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 10
    assert all(groups)


@pytest.mark.parametrize("columns", [(), ("group",)])
def test_folds_are_disjoint_and_cover_everything(photos, columns):
    tests = [files(csv(photos(*columns), folds=4, fold=fold, validation=0).test) for fold in (1, 2, 3, 4)]
    assert sorted(name for part in tests for name in part) == all_files(csv(photos()))
    assert max(map(len, tests)) - min(map(len, tests)) <= (3 if columns else 1)
    data = csv(photos(*columns), folds=4, fold=3)
    assert files(data.test) == tests[2]
    assert len(data.val) > 0
    assert len(set(all_files(data))) == 30


def test_a_fold_is_the_validation_split_of_a_dataset_with_a_test_split(photos):
    labels = photos(split=lambda number: "test" if number < 6 else "train")
    folds = [csv(labels, folds=3, fold=fold) for fold in (1, 2, 3)]
    assert all(sorted(files(data.test)) == [f"{number}.png" for number in range(6)] for data in folds)
    assert sorted(name for data in folds for name in files(data.val)) == sorted(f"{n}.png" for n in range(6, 30))
    labels = photos(split=lambda number: ["train", "validation", "test"][number // 10])
    with pytest.raises(SkipweaveError, match=r"data\.folds is 3"):
        csv(labels, folds=3, fold=1)


def test_class_folders_have_folds(tmp_path, make_images):
    make_images(tmp_path, {"cat": 6, "ape": 9})
    config = [DataConfig(name="folder", root=tmp_path, image_size=8, folds=3, fold=fold) for fold in (1, 2, 3)]
    tests = [load(one).test for one in config]
    assert [np.bincount(part.labels).tolist() for part in tests] == [[3, 2]] * 3
    assert len({path for part in tests for path in part.paths}) == 15


def test_folds_without_images_raise(photos):
    with pytest.raises(SkipweaveError, match=r"data\.folds is 20, of which 10 .*10 groups"):
        csv(photos("group"), folds=20, fold=1)
    with pytest.raises(SkipweaveError, match=r"data\.folds is 40, of which 10 "):
        csv(photos(), folds=40, fold=1)


@pytest.mark.parametrize(("options", "field"), [({}, "data.test"), ({"test": 0}, "data.validation")])
def test_images_of_one_group_are_not_trained_on_without_other_splits(photos, options, field):
    labels = photos("group")
    labels.write_text(re.sub("g[0-9]", "g", labels.read_text()).replace("group", "patient"))
    with raises(field, "patient", "1 group"):
        csv(labels, group_column="patient", **options)
    data = csv(labels, group_column="patient", test=0, validation=0)
    assert (len(data.train), data.val, data.test) == (30, None, None)


@pytest.mark.parametrize(("test", "count"), [(0, 0), (3, 3), (0.5, 15)])
def test_test_images_are_a_count_or_a_fraction(photos, test, count):
    for columns in ((), ("group",)):
        data = csv(photos(*columns), test=test)
        assert len(data.test or ()) == count
        assert len(set(all_files(data))) == 30


def test_a_class_of_one_group_cannot_be_divided(tmp_path, make_images):
    make_images(tmp_path, {"all": 12})
    rows = [
        f"all/{number}.png,{'ape' if number < 4 else 'cow'},{'p' if number < 4 else number}" for number in range(12)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,group", *rows]))
    data = csv(tmp_path / "labels.csv", folds=2, fold=2, validation=0)
    assert set(data.test.labels) == {1}
    with pytest.raises(SkipweaveError, match="ape"):
        csv(tmp_path / "labels.csv", folds=2, fold=1, validation=0)


def test_several_labels_per_image_are_divided(tmp_path, make_images):
    make_images(tmp_path, {"all": 40})
    rows = [f"all/{number}.png,{number % 2},{int(number % 4 == 0)},1" for number in range(40)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,odd,fourth,every", *rows]))
    data = csv(tmp_path / "labels.csv")
    assert data.multi_label
    assert data.classes == ("odd", "fourth", "every")
    assert [len(part) for part in (data.train, data.val, data.test)] == pytest.approx([29, 3, 8], abs=1)
    assert data.test.labels.sum(0).tolist() == pytest.approx([4, 2, 8], abs=1)
    assert data.class_counts == tuple(data.train.labels.sum(0))
    assert data.train[0][1].shape == (3,)
