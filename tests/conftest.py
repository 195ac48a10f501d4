"""Settings of all tests, and fixtures that run commands and make small datasets with segmentation masks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

# Without a GPU, Triton's kernels are interpreted. Triton looks at this once, when it is first imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# The same examples in every run, and no limit on how long one may take: a busy machine fails no test.
settings.register_profile("skipweave", derandomize=True, deadline=None)
settings.load_profile("skipweave")


# Scripts that tests start, or `make soak` does.
collect_ignore = ["command_server.py", "soak.py"]


@dataclass(frozen=True)
class Ended:
    """How the processes of a command ended."""

    statuses: list[int]
    texts: list[str]
    peak_kb: int

    @property
    def status(self) -> int:
        (status,) = set(self.statuses)
        return status


class CommandRunner:
    """Runs commands in processes forked from a warm one (command_server.py), with injected faults."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process

    def __call__(
        self,
        words: Sequence[object],
        *,
        at: str = "",
        number: int = 1,
        signal: str = "SIGKILL",
        rank: int | None = 0,
        delay: float | None = None,
        processes: int = 1,
        folder: object = "",
        environment: dict[str, str] | None = None,
        timeout: float = 3600,
    ) -> Ended:
        """Run `skipweave WORDS`, or a script, in one process or in several as torchrun starts them.

        Args:
            words: Words of the command, or the path of a script.
            at: Event to count in the process `rank`, or in all if that is None: `step`, `epoch`, `evaluation` (a
                batch of one), `disk` (an access within `folder`) or `rename` (of a file within `folder`).
                `trace` only writes digests of batches and weights into `folder`.
                Or a limit on the length of a file: at `byte` the kernel kills the process, at `full` the write fails.
            number: Event at which the signal is sent, or the limit in bytes.
            delay: Seconds after which all processes get the signal.
        """
        request = dict(
            words=[str(word) for word in words],
            at=at,
            number=number,
            signal=signal,
            rank=rank,
            delay=delay,
            processes=processes,
            folder=str(folder),
            environment=environment or {},
            timeout=timeout,
        )
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert not answer.pop("late"), answer
        return Ended(**answer)


@pytest.fixture(scope="session")
def run_command() -> Iterator[CommandRunner]:
    script = Path(__file__).with_name("command_server.py")
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen([sys.executable, script], **pipes) as process:
        assert json.loads(process.stdout.readline()) == "ready"
        yield CommandRunner(process)
        process.kill()


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real MNIST and CIFAR-10, in the layouts of torchvision."""
    if "SKIPWEAVE_DATA" not in os.environ:
        pytest.skip("needs real data: set SKIPWEAVE_DATA to a folder with MNIST/ and cifar-10-batches-py/")
    return Path(os.environ["SKIPWEAVE_DATA"])


@pytest.fixture(scope="session")
def make_pairs():
    """Write random images and masks of the values 0, 1 and 2 to two folders."""

    def make(root, names, size=(12, 10)):
        rng = np.random.default_rng([*root.name.encode()])
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / "images" / f"{name}.png")
            Image.fromarray(rng.integers(0, 3, size, dtype=np.uint8)).save(root / "masks" / f"{name}.png")

    return make


@pytest.fixture(scope="session")
def class_list():
    """Write the class list that `make_pairs` needs: two classes and void."""

    def write(root, text="name\nground\nroad\nvoid\n"):
        root.mkdir(parents=True, exist_ok=True)
        (root / "classes.csv").write_text(text)
        return root / "classes.csv"

    return write


@pytest.fixture
def make_images():
    """Write small random images of different sizes into one folder per class."""

    def make(root, counts):
        rng = np.random.default_rng([*root.name.encode()])
        for name, count in counts.items():
            (root / name).mkdir(parents=True)
            for number in range(count):
                size = (*rng.integers(10, 30, 2), 3)
                Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(root / name / f"{number}.png")

    return make
