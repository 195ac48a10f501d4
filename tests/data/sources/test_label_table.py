import numpy as np
import pytest

from skipweave.data.sources.label_table import read_table
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_reports, raises


@pytest.fixture
def write(tmp_path):
    """Write a table, and an empty file for each image that it should find."""

    def write_table(text, *images):
        for image in images:
            (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / image).touch()
        (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
        return tmp_path / "labels.csv"

    return write_table


def read(path, **options):
    return read_table(path, path.parent, **options)


def mistakes(table):
    """Mistakes by line."""
    return [(int(problem.place.rpartition(":")[2]), problem.problem) for problem in table.problems]


def test_names_are_classes_in_alphabetical_order(write):
    table = read(write("path,label\na.png,heron\nb/c.png, crane \n\nd.png,heron\n", "a.png", "b/c.png", "d.png"))
    assert table.check().classes == ("crane", "heron")
    assert table.labels.tolist() == [1, 0, 1]
    assert [str(path.relative_to(table.source.parent)) for path in table.paths] == ["a.png", "b/c.png", "d.png"]
    assert (table.splits, table.groups, table.unused) == (None, None, ())


def test_numbers_are_classes_in_their_order(write):
    table = read(write("label,path\n10,a.png\n9,b.png\n", "a.png", "b.png")).check()
    assert table.classes == ("9", "10")
    assert table.labels.tolist() == [1, 0]


def test_several_labels_are_separated_by_semicolons(write):
    table = read(write("path,label\na.png,cat;dog\nb.png,cow\nc.png,dog ;\n", "a.png", "b.png", "c.png")).check()
    assert table.classes == ("cat", "cow", "dog")
    assert table.labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_columns_of_0_and_1_are_classes(write):
    table = read(write("path,zebra,ape,split\na.png,1,0,train\nb.png,0.0,1.0,val\nc.png,1,1,train\n", *"abc")).problems
    assert [problem.problem.partition(" at")[0] for problem in table] == ["has no image"] * 3
    table = read(write("path,zebra,ape\na,1,0\nb,0.0,1.0\nc,0,0\n", *"abc")).check()
    assert table.classes == ("zebra", "ape")
    assert table.labels.tolist() == [[1, 0], [0, 1], [0, 0]]


def test_splits_and_groups_are_columns(write):
    text = "Path,Label,Split,Group\na,x,train,p1\nb,y,Train,p2\nc,x,validation,p3\nd,y,val,p3\ne,x,test,p4\n"
    table = read(write(text, *"abcde")).check()
    assert table.splits == ("train", "train", "val", "val", "test")
    assert table.groups.tolist() == ["p1", "p2", "p3", "p3", "p4"]


def test_absolute_paths_are_kept(write, tmp_path):
    (tmp_path / "else").mkdir()
    image = tmp_path / "else" / "a.png"
    image.touch()
    (table,) = [read_table(write(f"path,label\n{image},x\n"), tmp_path / "nowhere")]
    assert table.check().paths == (image,)


def test_other_columns_beside_label_are_not_used(write):
    table = read(write("path,label,age\na,x,30\n", "a")).check()
    assert table.unused == ("age",)
    assert table.classes == ("x",)


@pytest.mark.parametrize("name", ["patient", "Patient", "pat", "site", "age", "label2s", "grade"])
def test_columns_of_any_other_name_are_not_used(write, name):
    assert read(write(f"path,label,{name}\na,x,1\nb,y,2\n", "a", "b")).unused == (name,)


@pytest.mark.parametrize(
    ("name", "meant"), [("spilt", "split"), ("gruop", "group"), ("Groups", "group"), ("slit", "split")]
)
def test_misspelled_columns_raise(write, name, meant):
    with raises(f"'{name}'", meant):
        read(write(f"path,label,{name}\na,x,1\n", "a"))
    table = read(write(f"path,label,{meant},{name}\na,x,train,1\n", "a"))
    assert table.unused == (name,)


@pytest.mark.parametrize("others", ["", ",age", ",cat,dog"])
def test_a_misspelled_label_raises_among_any_columns(write, others):
    with raises("'lable'", "label"):
        read(write(f"path,lable{others}\na,1{',1' * others.count(',')}\n", "a"))


def test_columns_may_have_other_names(write):
    names = {"path": "image", "label": "dx", "group": "patient", "split": "fold"}
    text = "Image,dx,Patient,group,fold\na,x,p1,g,train\nb,y,p2,g,test\nc,y,p3,g,train\n"
    table = read(write(text, *"abc"), names=names).check()
    assert (table.classes, table.splits) == (("x", "y"), ("train", "test", "train"))
    assert table.groups.tolist() == ["p1", "p2", "p3"]
    assert table.unused == ("group",)
    classes = read(write("path,cat,dog,patient\na,1,0,p\nb,0,1,p\n", *"ab"), names={"group": "patient"}).check()
    assert (classes.classes, classes.groups.tolist()) == (("cat", "dog"), ["p", "p"])
    with raises("patients", "data.group_column"):
        read(write("path,label,patient\na,x,p\n", "a"), names={"group": "patients"})


@pytest.mark.parametrize(
    ("name", "values", "noted"),
    [
        ("Patient", "ppq", True),
        ("sites", "ppq", True),
        ("Series", "ppq", True),
        ("series_id", "ppq", True),
        ("StudyID", "ppq", True),
        ("image_id", "pqr", False),
        ("patient", "ppp", False),
        ("valid", "ppq", False),
        ("age", "ppq", False),
    ],
)
def test_unused_columns_that_look_like_groups_are_noted(write, name, values, noted):
    def rows(header, more=""):
        return "\n".join([header, *(f"{image},x,{value}{more}" for image, value in zip("abc", values, strict=True))])

    unused, *groups = read(write(rows(f"path,label,{name}"), *"abc")).notes
    assert_reports(unused, name)
    assert len(groups) == noted
    if noted:
        assert_reports(groups[0], name, "data.group_column")
    assert len(read(write(rows(f"path,label,{name},group", ",g"), *"abc")).notes) == 1


def test_all_mistakes_are_reported_with_their_lines(write):
    text = (
        "path,label,split,group\na,x,train,p1\n,x,train,p2\nb,,train,p3\nmissing,y,tests,p4\n"
        '"a",y,train,p5\nc,x\nd,x,test,p1\ne,y,train,\n"f\nf",y,train,p9\n'
    )
    table = read(write(text, *"abcde"))
    assert [line for line, _ in mistakes(table)] == [3, 4, 5, 5, 6, 7, 8, 9, 11]
    found = dict(mistakes(table))
    assert "label" in found[4]
    assert "tests" in found[5]
    assert "line 2" in found[6]
    assert "2 cells" in found[7]
    assert all(part in found[8] for part in ("'p1'", "test", "line 2", "train"))
    assert len(table.paths) == 1
    with pytest.raises(SkipweaveError, match="9 mistake"):
        table.check()


def test_class_columns_hold_nothing_but_0_and_1(write):
    table = read(write("path,ape,cow\na,1,2\nb,yes,0\nc,,1\n", *"abc"))
    assert [(line, what.split("column ")[1][:3]) for line, what in mistakes(table)] == [
        (2, "cow"),
        (3, "ape"),
        (4, "ape"),
    ]


def test_missing_images_are_allowed_where_they_are_left_out(write):
    path = write("path,label\na,x\nmissing,y\n", "a")
    assert len(read(path).paths) == 1
    assert len(read(path, lenient=True).check().paths) == 2


@pytest.mark.parametrize("text", ["path,label,split\na,x,val\n", "path,label,split\na,x,test\nb,y,train\n"])
def test_every_class_has_training_images_if_there_are_splits(write, text):
    table = read(write(text, "a", "b"))
    assert len(table.problems) == 1
    assert "train" in table.problems[0].problem


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("path", "labels"),
        ("label,group", "path"),
        ("path,label,label", "twice"),
        ("path,label,splits", "split"),
        ("image,label", "path"),
        ("path,labels", "label"),
        ("path,label,", "without a name"),
        ("path;label", "path;label"),
    ],
)
def test_wrong_columns_raise(write, header, named):
    with pytest.raises(SkipweaveError, match=named):
        read(write(f"{header}\n{header}\n"))


@pytest.mark.parametrize("content", [b"", b"path,label\n", b"\xff\xfe\n", b'path,label\n"a,x\n'])
def test_files_that_are_no_tables_raise(tmp_path, content):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(SkipweaveError, match=r"labels\.csv"):
        read(tmp_path / "labels.csv")
    with pytest.raises(SkipweaveError, match=r"missing\.csv"):
        read(tmp_path / "missing.csv")


def test_a_byte_order_mark_is_ignored(write):
    assert read(write("\ufeffpath,label\na,x\n", "a")).check().classes == ("x",)


def test_parquet_files_hold_numbers_and_lists(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for name in "abc":
        (tmp_path / name).touch()
    path = tmp_path / "labels.parquet"
    parquet.write_table(pyarrow.table({"path": [*"abc"], "label": [2, 10, None]}), path)
    table = read(path)
    assert mistakes(table) == [(3, "has no label")]
    assert table.classes == ("2", "10")
    parquet.write_table(pyarrow.table({"path": [*"abc"], "label": [["x", "y"], ["y"], []], "group": [1, 1, 2]}), path)
    table = read(path)
    assert table.labels.tolist() == [[1, 1], [0, 1]]
    parquet.write_table(pyarrow.table({"path": [*"abc"], "x": [True, False, True], "y": [0.0, 1.0, 1.0]}), path)
    assert np.array_equal(read(path).check().labels, [[1, 0], [0, 1], [1, 1]])
    path.write_bytes(b"PAR1")
    with pytest.raises(SkipweaveError, match="Parquet"):
        read(path)
