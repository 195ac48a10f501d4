"""Fixture for commands that end with an error."""

from collections.abc import Callable, Sequence

import pytest

from skipweave_cli import main
from tests.errors import assert_reports


@pytest.fixture
def rejects(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Assert that a command has exit status 2, and prints one line to stderr with all of the values."""

    def run(words: Sequence[object], *values: object) -> None:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        message = capsys.readouterr().err
        assert message.startswith("skipweave: error: ")
        assert_reports(message, *values)

    return run
