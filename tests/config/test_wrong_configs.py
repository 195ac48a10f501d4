"""Random wrong configs, in files and on the command line: never a traceback, and every mistake is named."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from skipweave_cli.options import FitOptions, StudyOptions
from skipweave_cli.parser import parse
from skipweave_config.config_files import as_plain
from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig, ModelConfig
from skipweave_config.recipe import (
    DensifyConfig,
    EarlyStoppingConfig,
    EmaConfig,
    LossConfig,
    MixConfig,
    OptimConfig,
    ScheduleConfig,
)
from skipweave_config.study_config import NetworkConfig, StudyConfig
from skipweave_config.validation import validate

Place = tuple[str | int, ...]


OPTIONS = {FitOptions: FitConfig(), StudyOptions: StudyConfig()}


def places(tree: Any, path: Place = ()) -> Iterator[Place]:
    """Where in a config there is a value."""
    inner = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(tree: Any, path: Place, value: Any) -> Any:
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, Mapping) else list(tree)
    copy[path[0]] = changed(copy[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize(
    "kind",
    [
        FitConfig,
        ModelConfig,
        DataConfig,
        OptimConfig,
        ScheduleConfig,
        LossConfig,
        EmaConfig,
        MixConfig,
        EarlyStoppingConfig,
        DensifyConfig,
        StudyConfig,
        NetworkConfig,
    ],
)
def test_a_wrong_type_is_reported_in_python_as_in_a_file(kind: Any):
    needed = {"name": "sparsenet40_12"} if kind is NetworkConfig else {}
    for name in (field.name for field in fields(kind)):
        wrong = {**needed, name: b"bytes"}
        problems = problems_of(partial(kind, **wrong))
        assert problems == problems_of(partial(validate, kind, wrong)) != ()
        assert named_in(problems, (name,))


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(10**30), 10**4000, float("nan"), float("inf"), 1e308, "", "null", "~", "1e", "../../x"])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(max_size=4) | st.sampled_from(["class_path", "init_args", "name"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def mistakes(kind: Any, words: list[str]) -> tuple[str, ...]:
    """The problems of the words of a command. Any other error goes through."""
    return problems_of(lambda: parse(kind, words, "x"))


def problems_of(action: Callable[[], object]) -> tuple[str, ...]:
    try:
        action()
    except SkipweaveError as error:
        return error.problems
    return ()


def named_in(problems: tuple[str, ...], path: Place) -> bool:
    """Whether a problem names the field, or one that leads to it."""
    return any(part in problem for problem in problems for part in path if isinstance(part, str))


def check_wrong_values(kind: Any, data: st.DataObject, file: Path) -> None:
    """A value that is wrong alone is also reported among several mistakes, by the name of the field."""
    config = type(OPTIONS[kind])
    tree = as_plain(OPTIONS[kind])
    chosen = data.draw(st.lists(st.sampled_from([p for p in places(tree) if len(p) < 4]), min_size=1, max_size=3))
    apart = [path for path in dict.fromkeys(chosen) if not any(path[:n] in chosen for n in range(1, len(path)))]
    if ("match",) in apart:
        apart = [path for path in apart if path != ("target",)]  # which null may be where match is null
    if ("epochs",) in apart:
        apart = [path for path in apart if path != ("loss", "last_epochs")]  # which any number may be without epochs
    wrong, alone = tree, []
    for path in apart:
        value = data.draw(junk)
        wrong = changed(wrong, path, value)
        if problems := problems_of(partial(validate, config, changed(tree, path, value))):
            assert named_in(problems, path)
            alone.append(path)
    try:
        file.write_text(yaml.safe_dump(wrong, allow_unicode=True), encoding="utf-8")
    except ValueError:  # Python does not write out numbers of so many digits
        return
    together = mistakes(kind, ["--config", str(file)])
    assert [path for path in alone if not named_in(together, path)] == []


@pytest.mark.parametrize("kind", OPTIONS)
@settings(max_examples=12)
@given(data=st.data())
def test_wrong_values_in_a_file_are_all_named(kind: Any, data: st.DataObject, tmp_path_factory: Any):
    check_wrong_values(kind, data, tmp_path_factory.getbasetemp() / "wrong.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("kind", OPTIONS)
@settings(max_examples=500)
@given(data=st.data())
def test_five_hundred_wrong_files(kind: Any, data: st.DataObject, tmp_path_factory: Any):
    check_wrong_values(kind, data, tmp_path_factory.getbasetemp() / "wrong.yaml")


options = st.sampled_from(
    ["--" + ".".join(map(str, path)) for path in places(as_plain(FitConfig())) if not isinstance(path[-1], int)]
    + [
        "--modle.name",
        "--epoch",
        "--",
        "--model.",
        "--model.args.units",
        "--model.args.a.b",
        "--config",
        "--resume",
        "-e",
    ]
)
words = junk.map(lambda value: yaml.safe_dump(value).strip() if not isinstance(value, int) else str(value % 10**9))


def check_words(pairs: list[tuple[str, str, bool]]) -> None:
    argv = [word for name, value, joined in pairs for word in ([f"{name}={value}"] if joined else [name, value])]
    mistakes(FitOptions, argv)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)  # as a process gets them
pairs = st.lists(st.tuples(options, words | texts, st.booleans()), max_size=4)


@settings(max_examples=20)
@given(pairs)
def test_any_words_are_accepted_or_rejected(pairs: list[tuple[str, str, bool]]):
    check_words(pairs)


@pytest.mark.slow
@settings(max_examples=1000)
@given(pairs)
def test_a_thousand_command_lines(pairs: list[tuple[str, str, bool]]):
    check_words(pairs)
