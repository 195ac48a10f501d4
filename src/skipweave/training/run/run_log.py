"""The log of a run over all sessions, as text and as JSON lines."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from skipweave_config.printable import printable


class RunLog:
    """Appends to two files. Lines that cannot be written are dropped: a log must not end a run, nor hide why it ended.

    Args:
        text: For people. A line that a killed process or a full disk left unfinished is taken away.
        lines: One JSON object a line.
    """

    def __init__(self, text: Path, lines: Path) -> None:
        self._text = text
        self._lines = lines
        for path in (text, lines):
            _end_with_a_whole_line(path)

    def add(self, event: str, sentence: str, values: Mapping[str, Any]) -> None:
        """Add an entry.

        Args:
            event: Its kind, one word.
            sentence: What happened.
            values: The same as JSON holds it; what that cannot hold, as it prints.
        """
        now = datetime.now().astimezone()
        _append(self._text, f"{now:%Y-%m-%d %H:%M:%S}  {printable(sentence)}")
        told = {"time": now.isoformat(timespec="milliseconds"), "event": event, "text": sentence, **values}
        _append(self._lines, json.dumps(told, default=str))


@contextmanager
def warnings_once(tell: Callable[[str], None], *, shown: bool) -> Iterator[None]:
    """Log each of Python's warnings once while the block runs."""
    show, seen = warnings.showwarning, set()

    def once(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = f"{category.__name__}: {message}"
        if text in seen:
            return
        seen.add(text)
        tell(text)
        if shown:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = once
    try:
        yield
    finally:
        warnings.showwarning = show


def _append(path: Path, line: str) -> None:
    with suppress(OSError), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(line + "\n")


def _end_with_a_whole_line(path: Path) -> None:
    with suppress(OSError):
        text = path.read_bytes()
        if not text.endswith(b"\n"):
            path.write_bytes(text[: text.rfind(b"\n") + 1])
