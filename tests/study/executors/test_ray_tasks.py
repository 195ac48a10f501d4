"""Studies on Ray: here two nodes are two raylets of this machine."""

import os
import re
import signal
import sys
import threading
import time
from collections import defaultdict
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from skipweave.study.executors import ray_tasks
from skipweave.study.executors.events import Event
from skipweave.study.executors.ray_tasks import run_on_ray
from skipweave.study.jobs import Job
from skipweave.study.runner import run_study
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.signals import stop_requests
from skipweave_config.cluster_config import RayConfig, ResourcesConfig
from skipweave_config.errors import SkipweaveError, Stopped
from tests.study.finished_studies import assert_nothing_was_done_twice, jobs_of, results_of, study_config, weights_of

# Ray reads these when it is imported. The last binds it to the loopback interface, on every system.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token_hex(), "RAY_USAGE_STATS_ENABLED": "0"}
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """A node of one CPU, on the loopback interface."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
    started = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    started.node = node
    try:
        yield started
    finally:
        started.shutdown()


def work(job: Job, send: Any) -> str:
    """What the jobs of these tests do."""
    send(f"working on {job.label}")
    place = job.config.output / "run"
    place.mkdir(parents=True, exist_ok=True)
    times = len(list(place.iterdir()))
    (place / f"{times}").touch()
    if job.label == "err":
        raise SkipweaveError("growth is\n-1")
    if job.label == "receives SIGTERM once" and not times:
        with stop_requests() as request:
            os.kill(os.getpid(), signal.SIGTERM)
            raise Stopped(request.signal, "saved")
    if job.label == "dies" or (job.label == "dies once" and not times):
        time.sleep(0.5)  # until the event is sent
        os._exit(7)
    return f"{job.label} done"


@pytest.mark.slow
def test_lost_jobs_are_done_again_and_failures_stop_nothing(cluster, tmp_path: Path):
    """A worker that dies each time is given up after as many retries as asked for."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    labels = ["a", "err", "receives SIGTERM once", "dies once", "dies"]
    events = defaultdict(list)
    config = RayConfig(cluster.address, retries=1)
    run_on_ray(
        jobs_of(labels, tmp_path),
        work,
        lambda e: events[labels[e.index]].append(e),
        config,
        ResourcesConfig(),
        tmp_path,
    )
    kinds = {label: [event.kind for event in heard] for label, heard in events.items()}
    assert kinds == {
        "a": ["started", "progress", "done"],
        "err": ["started", "progress", "failed"],
        "dies once": [*["started", "progress", "lost"], *["started", "progress", "done"]],
        "dies": [*["started", "progress", "lost"], *["started", "progress", "failed"]],
        "receives SIGTERM once": [*["started", "progress", "lost"], *["started", "progress", "done"]],
    }
    assert events["a"][1:] == [Event(0, "progress", "working on a"), Event(0, "done", "a done")]
    assert events["err"][-1].value == "growth is -1"
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def send_often(job: Job, send: Any) -> tuple[float, float]:
    """A job that sends 40 events, with its times."""
    begun = time.time()
    for _ in range(40):
        send(f"working on {job.label}")
        time.sleep(0.01)
    return begun, time.time()


def test_a_node_of_one_cpu_does_one_job_at_a_time(cluster, tmp_path: Path):
    """Ray would give the CPU of a task that waits for its event to arrive to another task."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    events: list[Event] = []
    config = RayConfig(cluster.address)
    run_on_ray(jobs_of(["a", "b", "c"], tmp_path), send_often, events.append, config, ResourcesConfig(), tmp_path)
    times = sorted(event.value for event in events if event.kind == "done")
    assert len(times) == 3
    assert all(ended <= begun for (_, ended), (begun, _) in pairwise(times))
    assert sum(event.kind == "progress" for event in events) == 3 * 40


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        (ResourcesConfig(cpus=3), "CPU 3 (most on a node: 1)"),
        (ResourcesConfig(gpus=0.5), "GPU 0.5 (most on a node: 0)"),
        (ResourcesConfig(custom={"tpu": 1}), "tpu 1 (most on a node: 0)"),
        (ResourcesConfig(accelerator_type="A100"), "accelerator_type:A100"),
    ],
)
def test_resources_that_no_node_has_are_an_error(cluster, tmp_path: Path, resources: ResourcesConfig, named: str):
    """Ray itself would wait for such a node."""
    with pytest.raises(SkipweaveError) as error:
        run_on_ray(jobs_of(["a"], tmp_path), work, print, RayConfig(cluster.address), resources, tmp_path)
    assert named in str(error.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "ray://127.0.0.1:10001", "host:70000", ":"])
def test_a_cluster_that_does_not_answer_is_an_error(tmp_path: Path, address: str):
    with pytest.raises(SkipweaveError, match=re.escape(f"ray.address is {address!r}")):
        run_on_ray(jobs_of(["a"], tmp_path), work, print, RayConfig(address), ResourcesConfig(), tmp_path)


def kill_when_runs_have_begun(cluster: Any, node: Any, folder: Path, begun: int) -> None:
    """Kill a node as soon as so many runs have finished an epoch."""
    while sum(path.stat().st_size > 0 for path in folder.rglob("metrics.csv")) < begun:
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)


@pytest.mark.slow
def test_run_directories_that_only_workers_see_are_fetched(cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Leftovers of an earlier study on a worker are not taken for results; a begun run is sent to it."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    jobs = jobs_of(["a", "b"], tmp_path)
    run = RunDirectory.create(jobs[0].config)
    monkeypatch.setattr(ray_tasks, "shared_mark", lambda folder: nullcontext(folder / "unseen"))
    events = []
    run_on_ray(jobs, files_of, events.append, RayConfig(cluster.address), ResourcesConfig(), tmp_path)
    found = {event.index: event.value for event in events if event.kind == "done"}
    assert f"{run.path.name}/config.yaml" in found[0]
    assert found[1] == []
    assert (tmp_path / "b" / "run" / "made").read_text() == "there"


def files_of(job: Job, send: Any) -> list[str]:
    """The files that a job finds, to which it adds one."""
    place = job.config.output
    found = [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()]
    (place / "run").mkdir(parents=True)
    (place / "run" / "made").write_text("there")
    return found


@pytest.mark.parametrize(("seeds", "epochs"), [(1, 12), pytest.param(10, 10, marks=pytest.mark.slow)])
def test_a_study_that_loses_a_node_equals_the_local_one(cluster, tmp_path: Path, seeds: int, epochs: int):
    node = cluster.add_node(**cluster.node)
    folder = tmp_path / "on ray"
    killer = threading.Thread(target=kill_when_runs_have_begun, args=(cluster, node, folder, 2))
    killer.start()
    run_study(study_config(folder, seeds=seeds, epochs=epochs, on="ray", ray=RayConfig(cluster.address)))
    killer.join()
    run_study(study_config(tmp_path / "local", seeds=seeds, epochs=epochs, processes=1))
    assert len(results_of(folder)) == 2 * seeds
    assert results_of(folder) == results_of(tmp_path / "local")
    assert weights_of(folder) == weights_of(tmp_path / "local")
    assert_nothing_was_done_twice(folder, 2 * seeds)
    logs = [path.read_text() for path in folder.rglob("log.txt")]
    assert sum("resuming" in log for log in logs) == 1
