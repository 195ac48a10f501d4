"""Run the jobs of a study as tasks of a Ray cluster, one per run."""

import logging
import os
import platform
import shlex
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

from skipweave.ops.cpu.processor import cores
from skipweave.study.executors.events import Event, Work, attempt, never, one_line
from skipweave.study.executors.run_transfer import Copy, pack, sees, shared_mark, unpack
from skipweave.study.jobs import Job
from skipweave.training.run.run_directory import newest_run
from skipweave_config.cluster_config import RayConfig, ResourcesConfig
from skipweave_config.errors import SkipweaveError, Stopped

_PATIENCE = 0.2  # seconds between two looks at the tasks
_STEPS_EVERY = 0.5  # seconds between two reports of steps
_ANSWER_WITHIN = 10.0  # seconds
_COPY_EVERY = 60.0  # seconds between two copies of a run directory that only its worker sees


def run_on_ray(
    jobs: Sequence[Job],
    work: Work,
    on_event: Callable[[Event], None],
    config: RayConfig,
    resources: ResourcesConfig,
    folder: Path,
    most: int | None = None,
    stopping: Callable[[], bool] = never,
) -> None:
    """Run the jobs as tasks of a Ray cluster, those that are lost with their node again.

    Args:
        jobs: What to do; they and `work` travel between processes.
        work: Called in a worker with a job and a function that passes on progress.
        on_event: Called here with every event.
        config: The cluster.
        resources: What each task takes.
        folder: Directory of the study. Workers that do not see it send their run directories here.
        most: How many tasks at a time; by default as many as the cluster has room for.
        stopping: Whether to begin no more jobs, and to interrupt those that are being done, so that they save.

    Raises:
        SkipweaveError: Ray is not installed, the cluster does not answer or is lost, or has no node with the resources.
    """
    with _cluster(config) as ray, shared_mark(folder) as mark:
        _check_resources(ray, resources, max(job.config.devices for job in jobs))
        try:
            tasks = _Tasks(ray, jobs, work, on_event, config.retries, resources, mark)
            tasks.run(most or len(jobs), stopping)
        except ray.exceptions.RayError as error:
            raise SkipweaveError(
                f"the Ray cluster is lost ({one_line(error)}); runs are saved as of their last checkpoint: resume with "
                f"skipweave study --resume {shlex.quote(str(folder))}"
            ) from error


class _Tasks:
    """The tasks of a study, from the side that started them."""

    def __init__(
        self,
        ray: Any,
        jobs: Sequence[Job],
        work: Work,
        on_event: Callable[[Event], None],
        retries: int,
        resources: ResourcesConfig,
        mark: Path,
    ) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._ray, self._jobs, self._work, self._on_event = ray, jobs, work, on_event
        self._mailbox = ray.remote(_Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        self._task = ray.remote(_do)
        self._retries, self._resources, self._mark = retries, resources, mark
        self._lost: Counter[int] = Counter()
        self._running: dict[Any, int] = {}

    def run(self, most: int, stopping: Callable[[], bool]) -> None:
        """Follow all jobs until each is done, has failed, or has stopped."""
        waiting = list(range(len(self._jobs)))
        interrupted = False
        while self._running or (waiting and not stopping()):
            if stopping() and not interrupted:
                interrupted = True
                for task in self._running:
                    self._ray.cancel(task)
            while waiting and len(self._running) < most and not interrupted:
                self._submit(waiting.pop(0))
            ready, _ = self._ray.wait(list(self._running), timeout=_PATIENCE)
            self._pass_on()  # first: events of a task that ended by itself have arrived
            for task in ready:
                self._end(task, interrupted)

    def _submit(self, index: int, copy: Copy | None = None) -> None:
        job = self._jobs[index]
        options = _options(self._resources, job.config.devices)
        begun = copy is None and newest_run(job.config.output) is not None
        given = _Given(index, job, self._work, Path.cwd(), _versions(), self._mark, begun, copy)
        self._running[self._task.options(**options).remote(given, self._mailbox)] = index

    def _pass_on(self) -> None:
        for event, copy in self._ray.get(self._mailbox.take.remote()):
            self._keep(event.index, copy)
            self._on_event(event)

    def _keep(self, index: int, copy: Copy | None) -> None:
        if copy:
            unpack(copy, self._jobs[index].config.output)

    def _end(self, task: Any, interrupted: bool) -> None:
        """Handle a task that is done, failed, lost, or needs the run directory of its run."""
        index = self._running.pop(task)
        try:
            event, copy = self._ray.get(task)
            self._keep(index, copy)
            if event.kind == "lost":
                event = self._lost_event(index, event.value)
        except self._ray.exceptions.TaskCancelledError:
            return
        except self._ray.exceptions.RayTaskError as error:
            event = Event(index, "failed", one_line(error.cause if isinstance(error.cause, Exception) else error))
        except self._ray.exceptions.RayError as error:
            event = self._lost_event(index, f"{type(error).__name__}: {str(error).partition('.')[0]}")
        if event.kind == "started":
            self._submit(index, pack(self._jobs[index].config.output))
        elif not interrupted or event.kind == "done":
            self._on_event(event)
            if event.kind == "lost":
                self._submit(index)

    def _lost_event(self, index: int, reason: str) -> Event:
        self._lost[index] += 1
        if self._lost[index] > self._retries:
            return Event(index, "failed", f"lost {self._lost[index]} times with its worker ({reason})")
        try:
            _check_resources(self._ray, self._resources, self._jobs[index].config.devices)
        except SkipweaveError as error:
            return Event(index, "failed", f"its worker is lost ({reason}), and now {error}")
        return Event(index, "lost", reason)


class _Mailbox:
    """Actor that holds the events of all tasks until the study takes them."""

    def __init__(self) -> None:
        self._events: list[tuple[Event, Copy | None]] = []

    def put(self, event: Event, copy: Copy | None) -> None:
        """Add an event, with a copy of a run directory that only its worker sees."""
        self._events.append((event, copy))

    def take(self) -> list[tuple[Event, Copy | None]]:
        """Remove and return all events."""
        taken, self._events = self._events, []
        return taken


@dataclass(frozen=True)
class _Given:
    """What a task is given.

    Attributes:
        index: Index of the job.
        job: The job.
        work: What to do with it.
        directory: Directory that relative paths are in.
        versions: Of the packages that results depend on.
        mark: File by which the task knows whether it shares the study directory.
        begun: Whether the driver has a run directory of the job, which it sends if the task does not share it.
        copy: That run directory.
    """

    index: int
    job: Job
    work: Work
    directory: Path
    versions: dict[str, str]
    mark: Path
    begun: bool
    copy: Copy | None


def _do(given: _Given, mailbox: Any) -> tuple[Event, Copy | None]:
    """Do one job in a worker.

    Returns:
        Its last event, or `started` to be given the run directory; and its run directory, if only this worker sees it.
    """
    try:
        _be_in(given.directory)
        _check_versions(given.versions)
    except SkipweaveError as error:
        return Event(given.index, "failed", str(error)), None
    place, shared = given.job.config.output, sees(given.mark)
    if not shared and given.begun:
        return Event(given.index, "started"), None
    if not shared:
        shutil.rmtree(place, ignore_errors=True)  # of an earlier study
        unpack(given.copy or {}, place)
    sender = _Sender(mailbox, None if shared else place)
    sender.send(Event(given.index, "started"))
    try:
        event = attempt(given.index, given.job, given.work, sender.send)
    except Stopped as stop:  # the study interrupts by SIGINT; others send SIGTERM to take the node away
        kind: Literal["failed", "lost"] = "failed" if stop.signal == signal.SIGINT else "lost"
        event = Event(given.index, kind, f"stopped by {stop.signal.name}")
    sender.wait()
    return event, None if shared else pack(place)


class _Sender:
    """Sends the events of a job: of its steps some only, and copies of its run directory where only it sees that.

    It does not wait for an answer: Ray gives the CPUs of a task that waits to another.
    """

    def __init__(self, mailbox: Any, place: Path | None) -> None:
        self._mailbox, self._place = mailbox, place
        self._last: Any = None
        self._step_sent, self._copied = -_STEPS_EVERY, time.monotonic()

    def send(self, event: Event) -> None:
        """Send an event."""
        now, copy = time.monotonic(), None
        method = event.value[0] if isinstance(event.value, tuple) else ""
        if method == "on_step_end":
            if now < self._step_sent + _STEPS_EVERY:
                return
            self._step_sent = now
        if method == "on_epoch_end" and self._place and now > self._copied + _COPY_EVERY:
            with suppress(OSError):  # of several processes another may be writing: the next epoch is copied
                copy, self._copied = pack(self._place), now
        self._last = self._mailbox.put.remote(event, copy)

    def wait(self) -> None:
        """Wait until all events have arrived, which arrive in their order; the job is done even if they do not."""
        import ray

        with suppress(ray.exceptions.RayError):
            ray.get(self._last)


def _be_in(directory: Path) -> None:
    """Resolve relative paths as the process that started the study does."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        os.chdir(directory)
    except OSError as error:
        raise SkipweaveError(
            f"node {platform.node()} cannot make {directory} ({error.strerror}): start the study in a directory that "
            f"every node has or can make"
        ) from error


def _versions() -> dict[str, str]:
    return {package: version(package).partition("+")[0] for package in ("skipweave", "torch", "torchvision", "timm")}


def _check_versions(expected: dict[str, str]) -> None:
    """Check that this worker computes what the study's other workers do."""
    if other := {name: own for name, own in _versions().items() if own != expected[name]}:
        differ = ", ".join(f"{name} {own}, not {expected[name]}" for name, own in other.items())
        raise SkipweaveError(f"node {platform.node()} has {differ}: install what the study was started with")


def _options(resources: ResourcesConfig, devices: int) -> dict[str, Any]:
    """What a task asks Ray for. Ray does not repeat it by itself: a lost run is given its newest checkpoint first."""
    cpus, gpus = devices * (resources.cpus or 1), devices * resources.gpus
    options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "resources": dict(resources.custom)}
    if resources.memory is not None:
        options["memory"] = resources.memory
    if resources.accelerator_type:
        options["accelerator_type"] = resources.accelerator_type
    return {**options, "max_retries": 0}


def _check_resources(ray: Any, resources: ResourcesConfig, devices: int) -> None:
    """Check that a node has what a task takes, as Ray would wait for one without end.

    Raises:
        SkipweaveError: No node has.
    """
    kind = {f"accelerator_type:{resources.accelerator_type}": 0.001} if resources.accelerator_type else {}
    each = {"CPU": devices * (resources.cpus or 1), "GPU": devices * resources.gpus}
    asked = {**each, "memory": resources.memory or 0, **kind}
    asked |= resources.custom
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes):
        most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in asked}
        wanted = ", ".join(f"{name} {amount:g} (most on a node: {most[name]:g})" for name, amount in asked.items())
        raise SkipweaveError(f"resources: no node of the Ray cluster has {wanted}: ask for less, or add nodes")


@contextmanager
def _cluster(config: RayConfig) -> Iterator[Any]:
    """Connect to the cluster of the config, or start one on this machine."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {}
    if config.address is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", token_hex())
        own = {"num_cpus": cores(), "include_dashboard": False}
    try:
        import ray
    except ImportError as error:
        raise SkipweaveError("on is 'ray', which is not installed: pip install 'skipweave[cluster]'") from error
    _check_address(config.address)
    handler = signal.getsignal(signal.SIGTERM)  # which Ray would replace by an exit
    try:
        ray.init(config.address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray raises various types
        raise SkipweaveError(f"ray.address is {config.address!r}: {one_line(error)}") from error
    finally:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_address(address: str | None) -> None:
    """Check that a cluster answers, for which Ray would wait for minutes.

    Raises:
        SkipweaveError: It does not, or the address is none.
    """
    if address in (None, "auto"):
        return
    host, _, port = str(address).rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_WITHIN).close()
    except (OSError, ValueError, OverflowError) as error:
        raise SkipweaveError(
            f"ray.address is {address!r}: no cluster answers there ({error}); expected the HOST:PORT that `ray start "
            f"--head` printed, or auto on one of its nodes"
        ) from error
