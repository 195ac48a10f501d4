"""Assertions on the values that an error message has: fields, offending values and paths, not its wording."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from skipweave_config.errors import SkipweaveError


@contextmanager
def raises(*values: object, error: type[Exception] = SkipweaveError) -> Iterator[pytest.ExceptionInfo]:
    """`pytest.raises` for an error whose message is one line with all of `values`."""
    with pytest.raises(error) as caught:
        yield caught
    assert_reports(str(caught.value), *values)


def assert_reports(message: str, *values: object) -> None:
    """Assert that a message is one line and has all of `values`, each as a whole word."""
    missing = [str(value) for value in values if not re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", message)]
    assert not missing, f"{missing} not in: {message}"
    assert "\n" not in message.strip(), message


def assert_each_reports(messages: Sequence[str], *values: tuple[object, ...]) -> None:
    """Assert that there are as many messages as tuples of values, and that each has its values, in order."""
    for message, named in zip(messages, values, strict=True):
        assert_reports(message, *named)
