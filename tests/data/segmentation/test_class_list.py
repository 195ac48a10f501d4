import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave.data.segmentation.class_list import ClassEntry, ClassList, pack, read_classes, unpack
from skipweave.data.segmentation.mask_folders import CAMVID
from tests.errors import raises


def read(tmp_path, text):
    (tmp_path / "classes.csv").write_text(text)
    return read_classes(tmp_path / "classes.csv")


def labels_of(code, numbers):
    labels, known = code.decode(np.array(numbers))
    return [label if is_known else None for label, is_known in zip(labels.tolist(), known.tolist(), strict=True)]


def test_a_list_with_values_and_colors(tmp_path):
    classes = read(tmp_path, "name, value, r, g, b\nroad, 7, 128, 64, 128\ncar, 26, 0, 0, 142\nvoid, 255, 0, 0, 0\n")
    assert classes.names == ("road", "car")
    assert classes.void == 2
    assert classes.palette == ((128, 64, 128), (0, 0, 142), (0, 0, 0))
    assert labels_of(classes.of_value, [7, 26, 255, 0, 300]) == [0, 1, 2, None, None]
    assert labels_of(classes.of_color, pack(np.array([(0, 0, 142), (0, 0, 0), (1, 2, 3)]))) == [1, 2, None]


def test_default_values_and_colors(tmp_path):
    classes = read(tmp_path, "\ufeffName\n\nroad\n Void \ncar\n")
    assert classes.names == ("road", "car")
    assert labels_of(classes.of_value, [0, 1, 2, 3]) == [0, 2, 1, None]
    assert len(set(classes.palette)) == 3
    assert classes.palette[classes.void] == (0, 0, 0)
    assert labels_of(classes.of_color, [0]) == [None]


def test_entries_of_one_name_are_one_class(tmp_path):
    classes = read(tmp_path, "name,r,g,b\ncar,1,1,1\nroad,2,2,2\ncar,3,3,3\nvoid,4,4,4\nvoid,5,5,5\n")
    assert classes.names == ("car", "road")
    assert classes.palette == ((1, 1, 1), (2, 2, 2), (4, 4, 4))
    assert labels_of(classes.of_value, range(5)) == [0, 1, 0, 2, 2]
    assert labels_of(classes.of_color, pack(np.array([(3, 3, 3), (5, 5, 5)]))) == [0, 2]


def test_camvid_has_the_classes_of_segnet():
    assert len(CAMVID.names) == CAMVID.void == 11
    assert labels_of(CAMVID.of_value, range(13)) == [*range(12), None]
    assert CAMVID.palette[CAMVID.names.index("road")] == (128, 64, 128)


@given(st.integers(1, 255))
def test_default_colors_are_distinct_and_not_void(count):
    classes = ClassList(tuple(ClassEntry(f"class {number}", number) for number in range(count)), "made up")
    assert len(set(classes.palette)) == count + 1
    assert all(0 <= part <= 255 for color in classes.palette for part in color)


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_colors_are_packed_without_loss(color):
    assert unpack(pack(np.array(color)).item()) == color


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ()),
        ("class,r,g,b\nroad,1,2,3\n", (["class", "r", "g", "b"],)),
        ("name,r,g,b\nroad,1,2\n", ("'road,1,2'",)),
        ("name,value\nroad,x\ncar,-1\n", ("'road,x'", "'car,-1'")),
        ("name,value\n,1\n", ("',1'",)),
        ("name,value\nroad,1\ncar,1\n", ("value", 1)),
        ("name,r,g,b\nroad,1,1,1\ncar,1,1,1\n", ("color", (1, 1, 1))),
        ("name,r,g,b\nroad,1,1,256\n", ("'road'", "color", (1, 1, 256))),
        ("name,value\nroad,70000\nvoid,70000\n", ("value", 70000, "'road'", "'void'")),
        ("name\nvoid\n", (0,)),
        ("name\n" + "\n".join(map(str, range(256))), (256,)),
    ],
)
def test_all_mistakes_of_a_class_list_are_reported(tmp_path, text, named):
    with raises(tmp_path / "classes.csv", *named):
        read(tmp_path, text)


def test_a_missing_or_unreadable_list_is_named(tmp_path):
    with raises(tmp_path / "nowhere.csv"):
        read_classes(tmp_path / "nowhere.csv")
    (tmp_path / "classes.csv").write_bytes(b"\xff\xfe\x00")
    with raises(tmp_path / "classes.csv"):
        read_classes(tmp_path / "classes.csv")
