"""What executors report of the jobs they run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Send = Callable[[Any], None]
Work = Callable[[Any, Send], Any]


@dataclass(frozen=True)
class Event:
    """An event of one job.

    Attributes:
        index: Index of the job.
        kind: `started`; `progress`; `lost`, when the machine or process that ran it is gone and it will be started
            again; then `done` or `failed`.
        value: Nothing, what the work reported, why it was lost, its result, or the one-line reason of a failure.
    """

    index: int
    kind: Literal["started", "progress", "lost", "done", "failed"]
    value: Any = None


def never() -> bool:
    """The default of `stopping`."""
    return False


def attempt(index: int, job: Any, work: Work, send: Callable[[Event], None]) -> Event:
    """Do one job; a failure becomes an event, so that it does not stop other jobs.

    Raises:
        Stopped: A signal stopped it.
        ConnectionError: There is no receiver of its events any more.
    """
    try:
        return Event(index, "done", work(job, lambda value: send(Event(index, "progress", value))))
    except ConnectionError:
        raise
    except Exception as error:  # a failing network must not stop the others
        return Event(index, "failed", one_line(error))


def one_line(error: Exception) -> str:
    """The reason of a failure in one line, with the type of the exception unless it is an error of the user."""
    text = " ".join(str(error).split())
    return text if text and isinstance(error, ValueError) else f"{type(error).__name__}: {text}".rstrip(": ")
