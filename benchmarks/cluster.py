"""Wall-clock time of a study on Ray, on one node and on two, and in the pool of processes of one machine.

Two nodes are two Ray nodes of one CPU each on this machine, so that the ratio to one node shows what the executor
costs, not the network. A study is a dense and an exponential network of 40 layers on digits with ten seeds: 20 runs of
about 10 s. `start-up` is a study of one run of one epoch. Both sides of a ratio take turns; medians.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from statistics import median
from typing import Any

from benchmarks.timing import RESULTS, printed, write
from skipweave.study.runner import run_study
from skipweave_config.cluster_config import RayConfig
from skipweave_config.data_config import DataConfig
from skipweave_config.study_config import NetworkConfig, StudyConfig


@dataclass(frozen=True)
class Row:
    """Seconds of a study, as medians."""

    study: str
    executor: str
    seconds: float
    ratio: float


def study_of(runs: int, epochs: int) -> StudyConfig:
    """A study of this machine's CPU, of two networks or one."""
    size: dict[str, Any] = {"units": 12, "growth": [4, 8, 16]}
    topologies = ("exponential", "dense")
    networks = [NetworkConfig("sparsenet40_24", {**size, "topology": kind}, kind) for kind in topologies]
    return StudyConfig(
        networks=networks[:runs],
        seeds=list(range(max(1, runs // 2))),
        data=DataConfig(augment=False, validation=0),
        match=None,
        timing_repeats=0,
        epochs=epochs,
        batch_size=64,
        accelerator="cpu",
    )


@contextmanager
def cluster(nodes: int) -> Iterator[RayConfig]:
    """Ray nodes of one CPU each on the loopback interface."""
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
    # Room for the actor of events: else Ray, which keeps one process per CPU, starts another for each run of this node.
    room = {"_system_config": {"num_workers_soft_limit": 2}}
    started = Cluster(initialize_head=True, head_node_args={**node, **room, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            started.add_node(**node)
        yield RayConfig(started.address)
    finally:
        started.shutdown()


def seconds(config: StudyConfig) -> float:
    """Wall-clock seconds of a study, from the command to the report."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        results = run_study(replace(config, output=Path(folder)))
        assert not results.failures
        return time.perf_counter() - start


def on_nodes(config: StudyConfig, nodes: int) -> float:
    """Seconds of a study on a running cluster."""
    with cluster(nodes) as address:
        return seconds(replace(config, on="ray", ray=address))


def measure(epochs: int, repeats: int) -> Iterator[Row]:
    """Time both studies."""
    whole, one = study_of(20, epochs), study_of(1, 1)
    sides = {
        "one node": lambda: on_nodes(whole, 1),
        "two nodes": lambda: on_nodes(whole, 2),
        "two processes": lambda: seconds(replace(whole, processes=2)),
    }
    times = [{name: side() for name, side in sides.items()} for _ in range(repeats)]
    yield from _rows("20 runs", times, "one node")
    starts = {"this process": lambda: seconds(one), "own Ray": lambda: seconds(replace(one, on="ray"))}
    times = [{name: side() for name, side in starts.items()} for _ in range(repeats)]
    yield from _rows("start-up", times, "this process")


def _rows(study: str, times: list[dict[str, float]], reference: str) -> Iterator[Row]:
    medians = {name: median(one[name] for one in times) for name in times[0]}
    for name, value in medians.items():
        yield Row(study, name, round(value, 1), round(value / medians[reference], 2))


def _line(row: Row) -> str:
    return f"{row.study}, {row.executor}: {row.seconds} s ({row.ratio})"


def main() -> None:
    """Measure, print and write a table."""
    parser = argparse.ArgumentParser("python -m benchmarks.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS / "cluster.csv")
    options = parser.parse_args()
    # Ray reads these when it is imported.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token_hex(), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    write(options.output, printed(measure(options.epochs, options.repeats), _line))


if __name__ == "__main__":
    main()
