"""A process pool in which a job that fails, or whose process dies, does not affect the others."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from skipweave.study.executors.events import Event, Work, attempt, never

_PATIENCE = 0.2  # seconds between two looks whether to stop


def run_serially(
    jobs: Sequence[Any], work: Work, on_event: Callable[[Event], None], stopping: Callable[[], bool] = never
) -> None:
    """Run the jobs one after another in this process."""
    for index, job in enumerate(jobs):
        if stopping():
            return
        on_event(Event(index, "started"))
        on_event(attempt(index, job, work, on_event))


def run_in_processes(
    jobs: Sequence[Any],
    work: Work,
    on_event: Callable[[Event], None],
    processes: int,
    stopping: Callable[[], bool] = never,
) -> None:
    """Run the jobs in several spawned processes, each kept for several jobs.

    The processes end with this one, however it ends: the first message without a receiver ends the work.

    Args:
        jobs: What to do; they, the results and `work` travel between processes, so they must be picklable.
        work: Called in a process with a job and a function that passes on progress.
        on_event: Called here with every event.
        processes: How many at most.
        stopping: Whether to begin no more jobs, and to end those that are being done by SIGTERM; such are no failures.
    """
    pending = list(enumerate(jobs))
    workers: dict[Connection, _Worker] = {}
    try:
        while (pending and not stopping()) or workers:
            if stopping():
                for worker in workers.values():
                    worker.process.terminate()
            while not stopping() and pending and len(workers) < processes:
                worker = _Worker(work)
                workers[worker.connection] = worker
                _give_next(worker, pending, on_event)
            for connection in wait(list(workers), _PATIENCE):
                worker = workers[connection]  # type: ignore[index]
                event = worker.next_event()
                if event.kind != "failed" or not stopping():
                    on_event(event)
                if event.kind in ("done", "failed"):
                    if pending and worker.process.is_alive() and not stopping():
                        _give_next(worker, pending, on_event)
                    else:
                        workers.pop(worker.connection).stop()
    finally:
        for worker in workers.values():
            worker.stop()


def _give_next(worker: "_Worker", pending: list[tuple[int, Any]], on_event: Callable[[Event], None]) -> None:
    index, job = pending.pop(0)
    worker.give(index, job)
    on_event(Event(index, "started"))


class _Worker:
    """A process that runs one job after another."""

    def __init__(self, work: Work) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work))
        self.index = -1
        with _interrupts_ignored():
            self.process.start()
        theirs.close()

    def give(self, index: int, job: Any) -> None:
        self.index = index
        with suppress(BrokenPipeError):  # it died: `next_event` will report it
            self.connection.send((index, job))

    def next_event(self) -> Event:
        """Return the next event; if the process has died, a `failed` event."""
        try:
            event: Event = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return Event(self.index, "failed", f"its process died (exit code {self.process.exitcode})")
        return event

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _serve(connection: Connection, work: Work) -> None:
    """Run jobs until the connection is closed."""
    with suppress(EOFError, ConnectionError):
        while True:
            index, job = connection.recv()
            connection.send(attempt(index, job, work, connection.send))


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C, which a terminal sends to all: only the parent answers it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
