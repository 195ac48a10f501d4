"""Train for some minutes with kills, stops, full disks and damaged files mixed at random; every run ends as it should.

    python tests/soak.py --minutes 5 --seed 0

Beside it one process trains, stops and resumes for all that time, whose memory must not grow. Prints one line a
finished run, and what was done at the end; exits with status 1 at the first thing that is not as promised.
"""

import argparse
import gc
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import command_server
import yaml

from skipweave.data import DataConfig
from skipweave.training import Callback, FitConfig, ModelConfig, fit
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory, runs_in
from skipweave_config.config_files import as_plain
from skipweave_config.errors import Stopped

STATUS = {"SIGTERM": 143, "SIGINT": 130, "SIGUSR1": 128 + signal.SIGUSR1, "SIGKILL": -9}
GROWTH_MB = 16  # more than that, from the first to the last third, is a leak


def configuration(output: Path) -> FitConfig:
    """30 steps with augmentation and dropout, a checkpoint after every other, 3 evaluations."""
    model = ModelConfig("sparsenet40_24", {"units": 1, "growth": 4, "drop_rate": 0.2})
    data = DataConfig(validation=700)
    return FitConfig(model, data, epochs=3, batch_size=73, output=output, accelerator="cpu", checkpoint_every=2)


def command(words: list[object], **changes: object) -> dict[str, object]:
    """Run a command in a forked process, as command_server.py does."""
    usual = dict(at="", number=1, signal="SIGKILL", rank=0, delay=None, processes=1, folder="", environment={})
    answer = command_server.answer({**usual, "timeout": 600, "words": [str(word) for word in words], **changes})
    assert not answer["late"], answer
    return answer


class Soak:
    """Runs with random faults, each resumed until it has finished.

    Args:
        place: an empty folder; a small disk of its own, where one may be mounted.
        seed: Seed of the faults.
    """

    def __init__(self, place: Path, seed: int) -> None:
        self.place = place
        self.rng = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.expected = self.digests(self.run(place / "uninterrupted", faults=False))

    def digests(self, folder: RunDirectory) -> list[str]:
        return [open_saved(path).info["sha256"] for path in (folder.last, folder.best, folder.weights)]

    def run(self, output: Path, *, faults: bool = True) -> RunDirectory:
        """Train one run to its end."""
        settings = output.with_suffix(".yaml")
        settings.write_text(yaml.safe_dump(as_plain(configuration(output))))
        while True:
            begun = [RunDirectory(path) for path in runs_in(output)]
            words = ["fit", "--resume", begun[0].path] if begun else ["fit", "--config", settings]
            name = self.rng.choice(list(FAULTS)) if faults and self.rng.random() < 0.85 else "none"
            ended = command(words) if name == "none" else FAULTS[name](self, words, *begun)
            self.done[name] += 1
            if ended and ended["statuses"][0] == 0:
                return RunDirectory(runs_in(output)[0])
            if begun:
                self.check(begun[0])

    def check(self, folder: RunDirectory) -> None:
        """What there is of checkpoints can be gone on from."""
        if folder.last.exists():
            saved, _ = folder.newest()
            assert saved is not None

    def killed(self, words: list[object], folder: RunDirectory | None = None) -> dict[str, object]:
        """At a random moment, at something asked of the disk, or in the middle of writing a file."""
        place = str(self.place)
        way = self.rng.choice(
            [
                {"delay": self.rng.uniform(0, 1)},
                {"at": "disk", "number": self.rng.randrange(1, 200), "folder": place},
                {"at": "byte", "number": self.rng.randrange(1, 40_000)},
            ]
        )
        ended = command(words, **way)
        assert ended["statuses"][0] in (0, -signal.SIGKILL, -signal.SIGXFSZ), ended
        return ended

    def stopped(self, words: list[object], folder: RunDirectory | None = None) -> dict[str, object]:
        """By a signal that can be answered."""
        name = self.rng.choice(["SIGTERM", "SIGINT", "SIGUSR1"])
        ended = command(
            words, at=self.rng.choice(["step", "evaluation"]), number=self.rng.randrange(1, 15), signal=name
        )
        assert ended["statuses"][0] in (0, STATUS[name]), ended
        return ended

    def disk_full(self, words: list[object], folder: RunDirectory | None = None) -> dict[str, object]:
        """With random room left; on a disk that is not our own, by a limit on the length of files."""
        limit = {"at": "full", "number": self.rng.randrange(4_000, 40_000)}
        filler = self.place / "filler"
        if os.path.ismount(self.place):
            limit = {}
            filler.touch()
            room = self.rng.randrange(0, 100_000)
            filler.write_bytes(bytes(max(shutil.disk_usage(self.place).free - room, 0)))
        ended = command(words, **limit)
        filler.unlink(missing_ok=True)
        assert ended["statuses"][0] in (0, 2), ended
        assert "Traceback" not in ended["texts"][0], ended
        return ended

    def damaged(self, words: list[object], folder: RunDirectory | None = None) -> dict[str, object] | None:
        """The last checkpoint, by a bit or at its end, where there is one before it; and some rubbish beside it."""
        if not folder or not folder.previous.exists():
            return None
        content = bytearray(folder.last.read_bytes())
        if self.rng.random() < 0.5:
            content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
        else:
            del content[self.rng.randrange(len(content)) :]
        folder.last.unlink()  # it may be the same file as the one before
        folder.last.write_bytes(content)
        (folder.checkpoints / "last.safetensors.partial").write_bytes(self.rng.randbytes(1000))
        return None

    def go_on_until(self, deadline: float) -> None:
        """Fault run after run, and compare how they end."""
        runs = 0
        while time.monotonic() < deadline:
            runs += 1
            folder = self.run(self.place / str(runs))
            assert self.digests(folder) == self.expected, f"{folder.path} did not end with the right weights"
            stale = [path for path in folder.path.rglob("*") if path.suffix == ".partial" or path.name.startswith(".")]
            assert not stale, stale
            print(f"run {runs} ended with the right weights; so far {dict(self.done)}", flush=True)
            shutil.rmtree(folder.path.parent)


FAULTS = {"kill": Soak.killed, "stop": Soak.stopped, "full disk": Soak.disk_full, "damage": Soak.damaged}


class StopsNow(Callback):
    """Stops the run after some steps, as a scheduler does."""

    def __init__(self, left: int) -> None:
        self.left = left

    def on_step_end(self, epoch: int, step: int) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def stay(deadline: float, place: Path, report: Path, rng: random.Random) -> None:
    """Train, stop and resume in one process, and write down its memory, in MB, after every run."""
    page = os.sysconf("SC_PAGE_SIZE") / 2**20
    while time.monotonic() < deadline:
        config, resume = configuration(Path(tempfile.mkdtemp(dir=place))), None
        finished = False
        while not finished:
            with suppress(Stopped):
                fit(config, resume=resume, callbacks=[StopsNow(rng.randrange(1, 20))])
                finished = True
            (resume,) = config.output.iterdir()
        shutil.rmtree(config.output)
        gc.collect()
        with report.open("a") as file:
            file.write(f"{int(Path('/proc/self/statm').read_text().split()[1]) * page:.1f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    command_server.warm_up()
    with tempfile.TemporaryDirectory() as folder:
        disk, other, report = Path(folder) / "disk", Path(folder) / "other", Path(folder) / "memory"
        disk.mkdir()
        other.mkdir()
        report.touch()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
        child = os.fork()
        if not child:
            status = 1
            try:
                stay(deadline, other, report, random.Random(options.seed))
                status = 0
            finally:
                os._exit(status)
        try:
            soak = Soak(disk, options.seed)
            soak.go_on_until(deadline)
        finally:
            if mounted:
                subprocess.run(["umount", str(disk)], check=True)
        assert os.waitpid(child, 0)[1] == 0, "the process that stays has failed"
        memory = [float(line) for line in report.read_text().split()]
    third = max(len(memory) // 3, 1)
    grown = statistics.median(memory[-third:]) - statistics.median(memory[:third])
    print(f"{dict(soak.done)}; memory over {len(memory)} runs in one process: {grown:+.1f} MB of {memory[-1]:.0f}")
    if grown > GROWTH_MB:
        sys.exit(f"memory grew by {grown:.1f} MB: expected at most {GROWTH_MB}")


if __name__ == "__main__":
    main()
