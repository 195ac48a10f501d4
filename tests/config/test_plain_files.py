"""Untrusted files of plain values are loaded as written or rejected, quickly, and without running code."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from skipweave_config.plain_files import MOST_BYTES, parse_yaml, read_json, read_text, read_yaml
from tests.errors import raises

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: [1", "YAML"),
        ("a: !!python/object/apply:os.getcwd []", "os.getcwd"),
        ("a: !!python/name:os.system", "os.system"),
        ("!!python/object/new:os.system [echo]", "os.system"),
        ("a: !skipweave.FitConfig {}", "skipweave.FitConfig"),
        (LAUGHS, "aliases"),
        ("a: &a [*a]", "aliases"),
        ("a: 1\nb: 2\na: 3", "a"),
        ("{b: {c: 1, c: 1}}", "c"),
        ("a: 1\n---\nb: 2", "document"),
        ("? [a]\n: 1", "key"),
        ("a: " + "9" * 5000, "limit"),
        ("[" * 5000, "nested"),
        ("a: !!int x", "YAML"),
        ("a: !!timestamp 2026-99-99", "YAML"),
        ("a: \0", "YAML"),
    ],
)  # fmt: skip
def test_invalid_yaml_raises(tmp_path: Path, text: str, part: str):
    (tmp_path / "a.yaml").write_text(text)
    with raises(tmp_path / "a.yaml", part):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("text", ["", "{", "nul", "[" * 200_000, "9" * 5000, '{"a": 1} x'])
def test_invalid_json_raises(tmp_path: Path, text: str):
    (tmp_path / "a.json").write_text(text)
    with raises("JSON", tmp_path / "a.json"):
        read_json(tmp_path / "a.json")


def test_other_files_than_text_raise(tmp_path: Path):
    with raises(tmp_path / "none", "No such file"):
        read_text(tmp_path / "none")
    with raises(tmp_path):
        read_text(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):  # neither of which would ever end
        with raises(tmp_path / name):
            read_text(tmp_path / name)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with raises(tmp_path / "bytes"):
        read_text(tmp_path / "bytes")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    with raises(tmp_path / "large", f"{MOST_BYTES:,} bytes"):
        read_text(tmp_path / "large")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(plain)
def test_written_yaml_is_parsed_to_the_same_value(value: object):
    assert parse_yaml(yaml.safe_dump(value)) == value


def test_numbers_with_exponents_are_floats_and_dates_are_text():
    values = {"a": 1e-4, "b": 1e5, "c": -2.5e3, "d": "2026-11-21", "e": "1e", "f": ".e1", "g": 1.0, "h": 12}
    assert parse_yaml("{a: 1e-4, b: 1e5, c: -2.5E+3, d: 2026-11-21, e: 1e, f: .e1, g: 1., h: 12}") == values


@given(st.text(alphabet="{}[]:,&*!|>-?'\"#%@` \n\tab01.~<=", max_size=40))
def test_any_text_is_parsed_or_raises(text: str):
    with suppress(yaml.YAMLError, ValueError):  # what `read_yaml` turns into a SkipweaveError
        parse_yaml(text)
