"""Signals that ask a run to stop: recorded when they arrive, handled between two steps."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

#: Sent by schedulers and `kill`, by Ctrl-C, and by schedulers some time before they kill.
SIGNALS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGUSR1") if name in signal.Signals.__members__)


class StopRequest:
    """The signal that asked to stop, if any.

    Args:
        heard: Signals that ask to stop; the same in all processes of a run.

    Attributes:
        signal: The first that came, None before.
    """

    def __init__(self, heard: Sequence[signal.Signals] = SIGNALS) -> None:
        self.heard = tuple(heard)
        self.signal: signal.Signals | None = None


_watching: list[StopRequest] = []


@contextmanager
def stop_requests(*, pass_on: bool = False, also: Sequence[signal.Signals] = ()) -> Iterator[StopRequest]:
    """Record the signals that arrive while the block runs, instead of their default action.

    A second SIGINT interrupts at once, as Ctrl-C does elsewhere. Signals that the process ignores stay ignored. In a
    thread other than the main one, where Python hears no signals, nothing changes. Within another such block the outer
    one continues to record them.

    Args:
        pass_on: Pass a request on to the processes that this one started, as SIGTERM.
        also: Signals in addition to `SIGNALS`.
    """
    if _watching or threading.current_thread() is not threading.main_thread():
        yield _watching[-1] if _watching else StopRequest()
        return
    request = StopRequest((*SIGNALS, *also))

    def note(number: int, frame: FrameType | None) -> None:
        again = number == request.signal == signal.SIGINT and _started_by_the_user()
        request.signal = request.signal or signal.Signals(number)
        if pass_on:
            for child in multiprocessing.active_children():
                child.kill() if again else child.terminate()
        if again:
            raise KeyboardInterrupt

    heard = [number for number in request.heard if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    _watching.append(request)
    try:
        yield request
    finally:
        _watching.pop()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not Python's


def _started_by_the_user() -> bool:
    """Whether no other process passes signals on to this one, so that a second SIGINT is a second Ctrl-C."""
    return multiprocessing.parent_process() is None and "TORCHELASTIC_RUN_ID" not in os.environ
