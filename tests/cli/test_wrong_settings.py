"""Random wrong settings, in files and on the command line: never a traceback, and every mistake is named."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from skipweave.cli.parsing import call
from skipweave.config.settings import as_plain
from skipweave.config.typed import build
from skipweave.data import DataConfig
from skipweave.errors import SkipweaveError
from skipweave.study.study_config import NetworkConfig, StudyConfig
from skipweave.training import (
    DensifyConfig,
    FitConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    ScheduleConfig,
)

Place = tuple[str | int, ...]


def fit(config: FitConfig, resume: Path | None = None) -> None:
    """Train."""


def study(config: StudyConfig, resume: Path | None = None) -> None:
    """Compare."""


COMMANDS = {fit: FitConfig(), study: StudyConfig()}


def places(tree: Any, path: Place = ()) -> Iterator[Place]:
    """Where in a tree of settings something stands."""
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
        DensifyConfig,
        StudyConfig,
        NetworkConfig,
    ],
)
def test_a_wrong_type_in_python_is_told_in_the_words_of_a_file(kind: Any):
    needed = {"name": "sparsenet40_12"} if kind is NetworkConfig else {}
    for name in (field.name for field in fields(kind)):
        wrong = {**needed, name: b"bytes"}
        problems = problems_of(partial(kind, **wrong))
        assert problems == problems_of(partial(build, kind, wrong)) != ()
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


def mistakes(function: Any, words: list[str]) -> tuple[str, ...]:
    """What a command says of its words; nothing if they fit. Any other error goes through."""
    return problems_of(lambda: call(function, words, "x"))


def problems_of(action: Callable[[], object]) -> tuple[str, ...]:
    try:
        action()
    except SkipweaveError as error:
        return error.problems
    return ()


def named_in(problems: tuple[str, ...], path: Place) -> bool:
    """Whether a problem names the field, or one that leads to it."""
    return any(part in problem for problem in problems for part in path if isinstance(part, str))


def check_wrong_values(function: Any, data: st.DataObject, file: Path) -> None:
    """What is wrong alone is also told among several mistakes, by the name of the field."""
    kind = type(COMMANDS[function])
    tree = as_plain(COMMANDS[function])
    chosen = data.draw(st.lists(st.sampled_from([p for p in places(tree) if len(p) < 4]), min_size=1, max_size=3))
    apart = [path for path in dict.fromkeys(chosen) if not any(path[:n] in chosen for n in range(1, len(path)))]
    if ("match",) in apart:
        apart = [path for path in apart if path != ("target",)]  # which null may be where match is null
    wrong, alone = tree, []
    for path in apart:
        value = data.draw(junk)
        wrong = changed(wrong, path, value)
        if problems := problems_of(partial(build, kind, changed(tree, path, value))):
            assert named_in(problems, path)
            alone.append(path)
    try:
        file.write_text(yaml.safe_dump(wrong, allow_unicode=True), encoding="utf-8")
    except ValueError:  # Python does not write out numbers of so many digits
        return
    together = mistakes(function, ["--config", str(file)])
    assert [path for path in alone if not named_in(together, path)] == []


@pytest.mark.parametrize("function", COMMANDS, ids=lambda function: function.__name__)
@settings(max_examples=12)
@given(data=st.data())
def test_wrong_values_in_a_file_are_all_named(function: Any, data: st.DataObject, tmp_path_factory: Any):
    check_wrong_values(function, data, tmp_path_factory.getbasetemp() / "wrong.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("function", COMMANDS, ids=lambda function: function.__name__)
@settings(max_examples=500)
@given(data=st.data())
def test_five_hundred_wrong_files(function: Any, data: st.DataObject, tmp_path_factory: Any):
    check_wrong_values(function, data, tmp_path_factory.getbasetemp() / "wrong.yaml")


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
    mistakes(fit, argv)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)  # as a process gets them
pairs = st.lists(st.tuples(options, words | texts, st.booleans()), max_size=4)


@settings(max_examples=20)
@given(pairs)
def test_any_words_are_taken_or_refused(pairs: list[tuple[str, str, bool]]):
    check_words(pairs)


@pytest.mark.slow
@settings(max_examples=1000)
@given(pairs)
def test_a_thousand_command_lines(pairs: list[tuple[str, str, bool]]):
    check_words(pairs)
