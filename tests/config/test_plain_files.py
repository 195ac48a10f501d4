"""Untrusted files of plain values are read as written or rejected, quickly, and without running anything."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from skipweave_config.errors import SkipweaveError
from skipweave_config.plain_files import MOST_BYTES, parse_yaml, read_json, read_text, read_yaml

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: [1", "not a YAML file"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("!!python/object/new:os.system [echo]", "could not determine a constructor"),
        ("a: !skipweave.FitConfig {}", "could not determine a constructor"),
        (LAUGHS, "aliases"),
        ("a: &a [*a]", "aliases"),
        ("a: 1\nb: 2\na: 3", "a given more than once"),
        ("{b: {c: 1, c: 1}}", "c given more than once"),
        ("a: 1\n---\nb: 2", "but found another document"),
        ("? [a]\n: 1", "unhashable key"),
        ("a: " + "9" * 5000, "limit"),
        ("[" * 5000, "nested too deeply"),
        ("a: !!int x", "not a YAML file"),
        ("a: !!timestamp 2026-99-99", "not a YAML file"),
        ("a: \0", "not a YAML file"),
    ],
)  # fmt: skip
def test_yaml_that_is_refused(tmp_path: Path, text: str, part: str):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SkipweaveError, match=part) as caught:
        read_yaml(tmp_path / "a.yaml")
    assert str(tmp_path / "a.yaml") in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "nul", "[" * 200_000, "9" * 5000, '{"a": 1} x'])
def test_json_that_is_refused(tmp_path: Path, text: str):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SkipweaveError, match=r"not a JSON file: .*a\.json"):
        read_json(tmp_path / "a.json")


def test_what_is_no_text_file_is_refused(tmp_path: Path):
    with pytest.raises(SkipweaveError, match=r"cannot read .*none: No such file"):
        read_text(tmp_path / "none")
    with pytest.raises(SkipweaveError, match="not a file"):
        read_text(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):  # neither of which would ever end
        with pytest.raises(SkipweaveError, match="not a file"):
            read_text(tmp_path / name)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SkipweaveError, match="not a text file"):
        read_text(tmp_path / "bytes")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(SkipweaveError, match=f"more than {MOST_BYTES:,} bytes"):
        read_text(tmp_path / "large")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(plain)
def test_what_yaml_writes_is_read_back(value: object):
    assert parse_yaml(yaml.safe_dump(value)) == value


def test_numbers_and_dates_are_read_as_people_mean_them():
    values = {"a": 1e-4, "b": 1e5, "c": -2.5e3, "d": "2026-11-21", "e": "1e", "f": ".e1", "g": 1.0, "h": 12}
    assert parse_yaml("{a: 1e-4, b: 1e5, c: -2.5E+3, d: 2026-11-21, e: 1e, f: .e1, g: 1., h: 12}") == values


@given(st.text(alphabet="{}[]:,&*!|>-?'\"#%@` \n\tab01.~<=", max_size=40))
def test_any_text_is_read_or_refused(text: str):
    with suppress(yaml.YAMLError, ValueError):  # what `read_yaml` turns into a SkipweaveError
        parse_yaml(text)
