"""Run the jobs of a study as an array of SLURM jobs, one per run, by submitit."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from skipweave.files.atomic_write import write_text
from skipweave.study.executors.events import Event, Work, attempt, never, one_line
from skipweave.study.jobs import Job
from skipweave.training.run.run_directory import RunDirectory, newest_run
from skipweave.training.signals import stop_requests
from skipweave_config.cluster_config import ResourcesConfig, SlurmConfig
from skipweave_config.errors import SkipweaveError, Stopped
from skipweave_config.plain_files import read_text

_PATIENCE = 1.0  # seconds between two looks at the jobs' files
_QUEUE_PATIENCE = 15.0  # seconds between two questions to the scheduler
_ANSWER_WITHIN = 60.0  # seconds, of the scheduler
_MOST_JOBS = 1000
_REQUEUE = "SIGUSR2"  # sent before the time limit and at preemption; submitit queues the job again


def run_on_slurm(
    jobs: Sequence[Job],
    work: Work,
    on_event: Callable[[Event], None],
    config: SlurmConfig,
    resources: ResourcesConfig,
    folder: Path,
    most: int | None = None,
    stopping: Callable[[], bool] = never,
    *,
    cluster: str = "slurm",
) -> None:
    """Submit the jobs as an array, and follow it to the end.

    A job that is preempted or reaches its time limit saves its run and is queued again.

    Args:
        jobs: What to do; they and `work` travel between processes.
        work: Called in a job with one of them and a function that passes on progress, which is not followed.
        on_event: Called here with every event.
        config: Limits and names of the cluster.
        resources: What each job takes.
        folder: Directory of the study, on storage that all nodes share.
        most: How many jobs at a time; by default as many as the cluster has room for.
        stopping: Whether to cancel waiting jobs, and to interrupt running ones, so that they save.
        cluster: submitit's name of the executor: slurm, or local for processes of this machine.

    Raises:
        SkipweaveError: submitit or SLURM is not installed, or SLURM rejects the jobs.
    """
    submitted: dict[int, Any] = {}
    record = folder.resolve() / "slurm" / "jobs.txt"
    _check_none_left(record)
    for devices in sorted({job.config.devices for job in jobs}):  # an array of equal jobs for each number of devices
        executor = _executor(folder, config, resources, devices, most, cluster)
        indices = [index for index, job in enumerate(jobs) if job.config.devices == devices]
        try:
            array = executor.map_array(_Saving(work), indices, [jobs[index] for index in indices])
        except Exception as error:  # submitit raises various types
            _cancel(submitted.values())
            raise SkipweaveError(f"sbatch rejects the study's jobs: {one_line(error)}") from error
        submitted |= dict(zip(indices, array, strict=True))
        write_text(record, "".join(f"{job.job_id}\n" for job in submitted.values()))
    try:
        _Array(submitted, jobs, on_event).follow(stopping)
    except BaseException:
        _cancel(submitted.values())
        raise


class _Saving:
    """What a job of the array runs: a training that answers the signals of SLURM between two steps."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, index: int, job: Job) -> Event:
        """Do a job; after a notice of SLURM, have it queued again.

        SIGTERM ends the process without a result: SLURM itself queues the job again if it was preempted.
        """
        number = signal.Signals[_REQUEUE]
        requeue = signal.getsignal(number)  # submitit's
        try:
            with stop_requests(pass_on=True, also=(number,)):
                return attempt(index, job, self._work, lambda event: None)
        except Stopped as stop:
            if stop.signal == number and callable(requeue):
                requeue(number, None)  # ends the process
            if stop.signal != signal.SIGINT:
                raise
            return Event(index, "failed", f"stopped by {stop.signal.name}")

    def checkpoint(self, index: int, job: Job) -> Any:
        """What a queued job does when it begins again: the same, as the run directory knows how far it came."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, index, job)


class _Array:
    """The jobs of the array, from the side that submitted them."""

    def __init__(self, submitted: dict[int, Any], jobs: Sequence[Job], on_event: Callable[[Event], None]) -> None:
        self._left = submitted
        self._jobs = jobs
        self._on_event = on_event
        self._epochs: dict[int, int] = {}  # of those that have started
        self._gone: set[str] = set()

    def follow(self, stopping: Callable[[], bool]) -> None:
        """Look at the jobs until all have ended."""
        interrupted, asked = False, 0.0
        while self._left:
            if stopping() and not interrupted:
                interrupted = True
                self._interrupt()
            queued = None
            if time.monotonic() > asked + _QUEUE_PATIENCE:
                queued, asked = _queued(self._left.values()), time.monotonic()
            for index, job in list(self._left.items()):
                self._look_at(index, job, queued, interrupted)
            time.sleep(_PATIENCE)

    def _look_at(self, index: int, job: Any, queued: set[str] | None, interrupted: bool) -> None:
        if job.paths.stdout.exists():
            self._report_epochs(index)
        if not (job.paths.result_pickle.exists() or self._has_gone(job, queued)):
            return
        del self._left[index]
        event = _result(index, job)
        if not interrupted or event.kind == "done":
            self._on_event(event)

    def _has_gone(self, job: Any, queued: set[str] | None) -> bool:
        """Whether a job has left the queue: twice in a row, as its result may take seconds to be seen from here."""
        if queued is None:
            return False
        if job.job_id in queued:
            self._gone.discard(job.job_id)
            return False
        again = job.job_id in self._gone
        self._gone.add(job.job_id)
        return again

    def _report_epochs(self, index: int) -> None:
        if index not in self._epochs:
            self._epochs[index] = 0
            self._on_event(Event(index, "started"))
        run = newest_run(self._jobs[index].config.output)
        rows = RunDirectory(run).read_metrics() if run else []
        if len(rows) > self._epochs[index]:
            self._epochs[index] = len(rows)
            self._on_event(Event(index, "progress", ("on_epoch_end", (rows[-1],))))

    def _interrupt(self) -> None:
        """Let running jobs save and end, and waiting ones end."""
        jobs = list(self._left.values())
        if not _on_slurm(jobs):
            _cancel(jobs)
            return
        begun = [job for job in jobs if job.paths.stdout.exists()]
        _cancel(job for job in jobs if job not in begun)
        _cancel((job for job in begun), "--state=PENDING")
        _cancel((job for job in begun), "--signal=INT")


def _cancel(jobs: Iterable[Any], *options: str) -> None:
    jobs = list(jobs)
    if jobs and _on_slurm(jobs):
        with suppress(OSError, subprocess.TimeoutExpired):
            ids = [job.job_id for job in jobs]
            subprocess.run(["scancel", *options, *ids], capture_output=True, timeout=_ANSWER_WITHIN)
    else:
        for job in jobs:
            job.cancel(check=False)


def _check_none_left(record: Path) -> None:
    """Check that no job of an earlier call is left, which may train the same runs.

    Raises:
        SkipweaveError: One is.
    """
    if not record.is_file() or not shutil.which("squeue"):
        return
    ids = read_text(record).split()
    if left := sorted(_listed({name.partition("_")[0] for name in ids}) & set(ids)):
        raise SkipweaveError(
            f"jobs of this study are still queued or running ({', '.join(left[:5])}, {len(left)} in all): wait for "
            f"them, or cancel them with scancel"
        )


def _queued(jobs: Iterable[Any]) -> set[str]:
    """The jobs that wait or run."""
    jobs = list(jobs)
    if not _on_slurm(jobs):
        return {job.job_id for job in jobs if not job.done()}
    try:
        return _listed({job.job_id.partition("_")[0] for job in jobs})
    except SkipweaveError:  # the scheduler may answer later
        return {job.job_id for job in jobs}


def _listed(arrays: set[str]) -> set[str]:
    """The jobs of arrays that wait or run.

    Raises:
        SkipweaveError: The scheduler does not answer.
    """
    command = ["squeue", "--noheader", "--array", "--format=%i %F_%K", f"--jobs={','.join(sorted(arrays))}"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_WITHIN)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SkipweaveError(f"squeue does not answer: {one_line(error)}") from error
    if listed.returncode and "Invalid job id" not in listed.stderr:  # of arrays that have ended long ago
        raise SkipweaveError(f"squeue does not answer: {listed.stderr.strip()}")
    return set(listed.stdout.split())


def _on_slurm(jobs: Sequence[Any]) -> bool:
    return any(type(job).__name__ == "SlurmJob" for job in jobs)


def _result(index: int, job: Any) -> Event:
    """The last event of a job that has ended."""
    reason = "it is no longer queued"
    if job.paths.result_pickle.exists():
        try:
            outcome: Event = job.result()
            return outcome
        except Exception as error:  # submitit raises various types
            reason = one_line(error).partition(" ---")[0][:200]
    return Event(index, "failed", f"job {job.job_id} ended without a result ({reason}): see {job.paths.stderr}")


def _executor(
    folder: Path, config: SlurmConfig, resources: ResourcesConfig, devices: int, most: int | None, cluster: str
) -> Any:
    """The executor of submitit."""
    try:
        import submitit
    except ImportError as error:
        raise SkipweaveError("on is 'slurm', which needs submitit: pip install 'skipweave[cluster]'") from error
    logs = folder.resolve() / "slurm"
    try:
        executor = submitit.AutoExecutor(logs, cluster=cluster, slurm_max_num_timeout=config.timeouts)
    except RuntimeError as error:
        raise SkipweaveError("on is 'slurm', but there is no `sbatch` here: run it on a login node") from error
    named = {name: text for name in ("partition", "account", "qos") if (text := getattr(config, name))}
    cpus = devices * (resources.cpus or 1)
    executor.update_parameters(
        name="skipweave",
        timeout_min=config.minutes,
        cpus_per_task=cpus,
        slurm_srun_args=[f"--cpus-per-task={cpus}"],  # since SLURM 22.05 srun does not take it from sbatch
        **({"gpus_per_node": devices * int(resources.gpus)} if resources.gpus else {}),
        **({"mem_gb": resources.memory / 2**30} if resources.memory else {}),
        slurm_setup=list(config.setup),
        slurm_signal_delay_s=config.notice_seconds,
        slurm_array_parallelism=most or _MOST_JOBS,
        slurm_additional_parameters=named | config.options,
    )
    return executor
