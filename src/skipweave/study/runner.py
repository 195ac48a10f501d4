"""Run or resume a study: plan, train, measure time, and write the results."""

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial

import torch
from lightning_fabric import Fabric
from torch import Tensor

from skipweave.data import epoch_loader
from skipweave.files.folder_lock import held
from skipweave.ops.cpu.processor import cores
from skipweave.study.class_results import class_counts_of, class_metric_for
from skipweave.study.comparisons import write_comparisons
from skipweave.study.engine_timing import EngineRuns, engine_note, engine_runs
from skipweave.study.executors.events import Event, Work
from skipweave.study.executors.process_pool import run_in_processes, run_serially
from skipweave.study.executors.ray_tasks import run_on_ray
from skipweave.study.executors.slurm_array import run_on_slurm
from skipweave.study.halving import train_to_rungs, write_rungs
from skipweave.study.jobs import Job, Trainer, finished_and_left, finished_run, train
from skipweave.study.plan import draw_networks, plan_networks
from skipweave.study.preparation import Prepared, prepare
from skipweave.study.progress_display import Display, RunName
from skipweave.study.report.facts import facts
from skipweave.study.report.html_report import write_report
from skipweave.study.report.result_plots import write_plots
from skipweave.study.results import Network, Results, Run, Rung, Timing
from skipweave.study.study_directory import StudyDirectory
from skipweave.study.tables import write_classes, write_results, write_summary
from skipweave.study.timing import machine, measure
from skipweave.training import Callback, ModelConfig, fit
from skipweave.training.learner import Learner
from skipweave.training.model_building import arguments_for, build_network
from skipweave.training.signals import StopRequest, stop_requests
from skipweave.training.tasks.metrics import TOP1_ACCURACY, TOP1_ERROR, Metric
from skipweave.training.tasks.task import Data, Task, metric_for, task_for
from skipweave_config.errors import SkipweaveError, Stopped
from skipweave_config.study_config import StudyConfig

_MOST_PROCESSES = 4


def run_study(config: StudyConfig, *, trainer: Trainer = fit, display: Display | None = None) -> Results:
    """Train every network from every seed, as far as not done yet, and write tables, plots and the report.

    A network or a run that fails is part of the results and does not end the study.

    Args:
        config: The study. What its folder `config.output` holds of it already is not done again.
        trainer: Trains one network; with several processes it must be picklable.
        display: Follows the study.

    Raises:
        SkipweaveError: No network can be built, the data cannot be read or has no test split, the folder holds runs of
            another recipe, or it cannot be written.
        Stopped: SIGTERM, SIGINT or SIGUSR1 asked for it; every run is saved as it stands.
    """
    display = display or Display()
    folder = StudyDirectory(config.output)
    prepared = prepare(config)
    config, data = prepared.config, prepared.data
    for note in prepared.notes:
        display.on_note(note)
    with held(folder.path), _stoppable(config) as request:
        study = _Study(prepared, folder, plan_networks(config, data), display, request)
        with _threads(study.threads):
            runs, rungs = study.train(trainer)
            results = study.results(runs, rungs, study.time(runs))
        _write(folder, results, data)
    return results


@contextmanager
def _stoppable(config: StudyConfig) -> Iterator[StopRequest]:
    """Report how to resume when a signal stops the study, or its directory cannot be written."""
    command = f"skipweave study --resume {shlex.quote(str(config.output))}"
    with stop_requests(pass_on=True) as request:  # the processes of a run on several devices
        try:
            yield request
        except Stopped as stop:
            raise Stopped(stop.signal, f"stopped by {stop.signal.name}; to resume: {command}") from None
        except OSError as error:
            raise SkipweaveError(
                f"cannot write {error.filename or config.output} ({error.strerror or error}); finished runs are kept; "
                f"when this is fixed, resume with: {command}"
            ) from error


@dataclass(frozen=True)
class _Study:
    """The objects that all steps of a study share."""

    prepared: Prepared
    folder: StudyDirectory
    networks: tuple[Network, ...]
    display: Display
    request: StopRequest
    _callbacks: dict[RunName, Callback] = field(default_factory=dict)

    @property
    def config(self) -> StudyConfig:
        """The study's config."""
        return self.prepared.config

    @property
    def data(self) -> Data:
        """Its data."""
        return self.prepared.data

    @property
    def fabric(self) -> Fabric:
        """The Fabric of this process."""
        return self.prepared.fabric

    @property
    def metric(self) -> Metric:
        """What the networks are compared by."""
        return metric_for(self.data, self.config.monitor)

    @property
    def processes(self) -> int:
        """Networks trained at the same time: on the CPU, small networks profit more from it than from threads."""
        on_cpu = self.fabric.device.type == "cpu"
        return self.config.processes or (min(cores(), _MOST_PROCESSES) if on_cpu else 1)

    @cached_property
    def threads(self) -> int:
        """Threads of each process, also of the timing."""
        shared = max(1, torch.get_num_threads() // self.processes) if self.config.on == "local" else 1
        return self.config.resources.cpus or shared

    def train(self, trainer: Trainer) -> tuple[tuple[Run, ...], tuple[Rung, ...]]:
        """Train the remaining runs; results.csv is rewritten whenever a run ends."""
        finished, left = finished_and_left(self.config, self.networks, self.folder, self.data)
        self.folder.write_config(self.config)
        self.display.on_study_start(self.networks, len(finished) + len(left), len(finished))
        runs = {(run.label, run.seed): run for run in finished}

        def train_jobs(jobs: Sequence[Job]) -> None:
            def on_event(event: Event) -> None:
                if run := self._follow(jobs[event.index], event):
                    runs[run.label, run.seed] = run
                    self.display.on_run_end(run, self.metric)
                    write_results(self.folder.results, self._bare_results(self._ordered(runs)))

            work = partial(train, trainer, self.threads, self.prepared.skipped_images)
            self._execute(jobs, work, on_event)
            self._stop_if_asked()

        on_rung = partial(self.display.on_rung_end, metric=self.metric)
        left, rungs = train_to_rungs(
            self.config, left, runs, train_jobs, on_rung, folder=self.folder, metric=self.metric
        )
        train_jobs(left)
        return self._ordered(runs), rungs

    def _execute(self, jobs: Sequence[Job], work: Work, on_event: Callable[[Event], None]) -> None:
        """Run the jobs in processes of this machine, on Ray or on SLURM, as configured."""
        config, stopping = self.config, self._stopping
        if not jobs:
            return
        if config.on == "ray":
            run_on_ray(jobs, work, on_event, config.ray, config.resources, self.folder.path, config.processes, stopping)
        elif config.on == "slurm":
            run_on_slurm(
                jobs, work, on_event, config.slurm, config.resources, self.folder.path, config.processes, stopping
            )
        elif self.processes > 1 and len(jobs) > 1:
            run_in_processes(jobs, work, on_event, self.processes, stopping)
        else:
            run_serially(jobs, work, on_event, stopping)

    def _stopping(self) -> bool:
        return self.request.signal is not None

    def _stop_if_asked(self) -> None:
        if self.request.signal:
            raise Stopped(self.request.signal, "")

    def _follow(self, job: Job, event: Event) -> Run | None:
        """Handle an event; return the run if it has ended."""
        name = (job.label, job.seed)
        match event.kind, event.value:
            case "done", summary:
                return finished_run(*name, summary, self.folder, self.data)
            case "failed", reason:
                return Run(*name, self.folder.relative(job.config.output), failure=reason)
            case "lost", reason:
                self.display.on_run_lost(name, reason)
            case "started", _:
                self._callbacks[name] = self.display.on_run_start(name)
            case "progress", (method, arguments):
                getattr(self._callbacks[name], method)(*arguments)
        return None

    def _ordered(self, runs: dict[tuple[str, int], Run]) -> tuple[Run, ...]:
        """The runs by network, then by seed, in the order of the config."""
        names = [(network.label, seed) for network in self.networks for seed in self.config.seeds]
        return tuple(runs[name] for name in names if name in runs)

    def time(self, runs: Sequence[Run]) -> dict[str, Timing]:
        """Measure the time of all networks that were not stopped, interleaved, unless done before."""
        stopped = {run.label for run in runs if run.stopped_after}
        built = [network for network in self.networks if self._is_timed(network) and network.label not in stopped]
        how = [self.timing_note, self.engine_note, asdict(self.config.loss)]
        key = json.dumps([*how, [[n.label, n.model, dict(n.args), n.grad_checkpointing] for n in built]])
        if not self.config.timing_repeats:
            return {}
        if (before := self.folder.read_timing(key)) is not None:
            return before
        repeats, size, data = self.config.timing_repeats, self.config.batch_size, self.data
        images, labels = next(
            epoch_loader(data.train, data.train_transform, batch_size=size, seed=0, epoch=0, shuffle=True)
        )
        task = task_for(data, self.config.loss)
        learners = {network.label: self._learner(network, task) for network in built}
        engines = {n.label: self._engine_runs(n, images[:1]) for n in built} if self.config.time_engines else {}

        def on_round_end(done: int) -> None:
            self.display.on_timing_round_end(done, repeats)
            self._stop_if_asked()

        timings = measure(learners, images, labels, repeats, on_round_end, engines)
        self.folder.write_timing(key, timings)
        return timings

    def _is_timed(self, network: Network) -> bool:
        """Whether a network takes the study's batches on one device, as in the timing."""
        return network.cost is not None and network.devices == 1 and network.batch_size == self.config.batch_size

    def _learner(self, network: Network, task: Task) -> Learner:
        model = ModelConfig(network.model, dict(network.args))
        args = arguments_for(network.model, network.args, self.data)
        config = self.config.fit_config(model, 0, self.folder.runs)
        return Learner(self.fabric, replace(config, grad_checkpointing=network.grad_checkpointing), args, task)

    def _engine_runs(self, network: Network, image: Tensor) -> EngineRuns:
        self._stop_if_asked()
        self.display.on_engines(network)
        args = arguments_for(network.model, network.args, self.data)
        return engine_runs(build_network(network.model, args).eval(), image, self.fabric.device)

    @property
    def engine_note(self) -> str:
        """How times in engines were measured."""
        timed = self.config.timing_repeats and self.config.time_engines
        return engine_note(self.fabric.device) if timed else ""

    @property
    def timing_note(self) -> str:
        """How the times were measured."""
        if not self.config.timing_repeats:
            return ""
        threads = f", {self.threads} thread{'s' * (self.threads > 1)}" if self.fabric.device.type == "cpu" else ""
        return (
            f"medians of {self.config.timing_repeats} interleaved rounds, batch {self.config.batch_size}, "
            f"{self.fabric.strategy.precision.precision}, on {machine(self.fabric.device)}{threads}"
        )

    def _bare_results(self, runs: tuple[Run, ...]) -> Results:
        """What the tables contain, times aside."""
        return Results(
            title=self.config.headline,
            networks=self.networks,
            runs=runs,
            metric=self.metric,
            classes=self.data.classes,
            class_metric=class_metric_for(self.data),
        )

    @property
    def _machine(self) -> str:
        """The device of the report."""
        here = machine(self.fabric.device)
        return here if self.config.on == "local" else f"{here}, where times were measured; the runs on {self.config.on}"

    def results(self, runs: tuple[Run, ...], rungs: tuple[Rung, ...], timings: dict[str, Timing]) -> Results:
        """Everything that the report contains."""
        run_dirs = [self.folder.path / run.run_dir for run in runs if not run.failure]
        return replace(
            self._bare_results(runs),
            timings=timings,
            weights=f"the weights with the best validation {self.metric.label}"
            if self.data.val
            else "the last epoch's weights",
            test_images=len(self.data.test or ()) if self.metric in (TOP1_ERROR, TOP1_ACCURACY) else 0,
            rungs=rungs,
            facts=facts(self.config, self.data, self.networks, run_dirs, self._machine, rungs),
            timing_note=self.timing_note,
            engine_note=self.engine_note,
            class_counts=class_counts_of(self.data, (run.confusion for run in runs)),
            commands=_commands(self.folder),
        )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Set the number of threads of PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _commands(folder: StudyDirectory) -> tuple[str, ...]:
    """The commands that repeat the study, and its config."""
    yaml = folder.config.read_text(encoding="utf-8")
    return (
        f"skipweave study --config {folder.config} --output ANOTHER_FOLDER",
        f"# {folder.config}\n{yaml}",
    )


def _write(folder: StudyDirectory, results: Results, data: Data) -> None:
    """Write tables, plots, connection pictures and the report."""
    write_results(folder.results, results)
    write_summary(folder.summary, results)
    write_classes(folder.classes, results)
    write_comparisons(folder.comparisons, results)
    if results.rungs:
        write_rungs(folder.halving, results)
    plots = write_plots(folder.plots, results)
    pictures = draw_networks(folder.plots, results.networks, data)
    write_report(folder.report, results, plots, pictures, data)
