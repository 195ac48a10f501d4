"""A process that has imported everything and forks a process for each command, with injected faults.

It reads one request per line from stdin and answers each with one line, both JSON. It never computes gradients or opens
process groups itself, so that the forked processes can.
"""

import hashlib
import io
import json
import os
import resource
import runpy
import signal
import sys
import tempfile
import time
import traceback
import warnings
from importlib import import_module
from pathlib import Path

import torch

from skipweave.data import DataConfig, load
from skipweave.study import runner
from skipweave.training import fit, loop
from skipweave.training.distributed.ports import reserved_port
from skipweave.training.run import records
from skipweave_cli import main

DISK_EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.chmod", "shutil.rmtree"}


class Fault:
    """Sends a signal to its own process when an event happens for the n-th time.

    SIGKILL goes to all processes of the command: a machine that dies takes all along.
    """

    def __init__(self, number, name):
        self.left = number
        self.signal = signal.Signals[name]

    def count(self, *_):
        self.left -= 1
        if self.left == 0 and self.signal == signal.SIGKILL:
            os.killpg(0, self.signal)
        elif self.left == 0:
            os.kill(os.getpid(), self.signal)


def inject(fault, at, folder, rank):
    """Count the events of a fault: steps, ends of epochs, batches of an evaluation, or accesses to the disk."""
    if at == "step":
        add_after(loop.RunState, "count_step", fault.count)
    elif at == "epoch":
        add_after(records.Records, "end_epoch", fault.count)
    elif at == "evaluation":
        whole = loop.Loop.stoppable

        def counted(*args):
            for batch in whole(*args):
                fault.count()
                yield batch

        loop.Loop.stoppable = counted
    elif at == "disk":
        sys.addaudithook(lambda name, args: name in DISK_EVENTS and folder in str(args[0]) and fault.count())
    elif at == "rename":  # in the middle of replacing a file
        sys.addaudithook(lambda name, args: name == "os.rename" and folder in str(args[0]) and fault.count())
    elif at == "byte":  # of the first file that is longer: the kernel kills in the middle of a write
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.left, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    elif at == "trace":
        trace(Path(folder) / f"trace_{rank}.txt")
    elif at == "full":  # as a full disk: the write fails
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.left, resource.RLIM_INFINITY))


def trace(path):
    """Write digests of every batch and, after its step, of the weights; no fault."""
    backward, optimizer_step = loop.Learner.backward, loop.Learner.optimizer_step

    def seen(self, images, *rest):
        write(images)
        return backward(self, images, *rest)

    def stepped(self, *rates):
        optimizer_step(self, *rates)
        write(torch.cat([parameter.detach().flatten() for parameter in self.network.parameters()]), "\n")

    def write(tensor, end=" "):
        with path.open("a") as file:
            file.write(hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest() + end)

    loop.Learner.backward, loop.Learner.optimizer_step = seen, stepped


def add_after(owner, name, do):
    before = getattr(owner, name)

    def both(*args, **options):
        result = before(*args, **options)
        do()
        return result

    setattr(owner, name, both)


def run_child(request, rank, output):
    """Run one command in this forked process, and end it."""
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (1, 2):
            os.dup2(output, number)
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(n, "w"), write_through=True) for n in (1, 2))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
        os.environ.update(request["environment"])
        if request["at"] and request["rank"] in (rank, None):
            inject(Fault(request["number"], request["signal"]), request["at"], request["folder"], rank)
        status = do(request["words"])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def do(words):
    """Run a command of skipweave, or a script in its own directory, where warnings are errors."""
    if not words[0].endswith(".py"):
        return main(words)
    os.chdir(Path(words[0]).parent)
    warnings.simplefilter("error")
    runpy.run_path(words[0], run_name="__main__")
    return 0


def torchrun_environment(processes, rank):
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "TORCHELASTIC_RUN_ID": "tests",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "MASTER_ADDR": "127.0.0.1",
    }


def answer(request):
    """Fork the processes of one command, fault them, and tell how they ended."""
    with reserved_port() as port:
        return together(request, request["processes"], str(port.getsockname()[1]))


def together(request, processes, port):
    outputs = [tempfile.TemporaryFile() for _ in range(processes)]  # noqa: SIM115
    children = []
    for rank in range(processes):
        environment = torchrun_environment(processes, rank) | {"MASTER_PORT": port} if processes > 1 else {}
        child = os.fork()
        leader = children[0] if children else child
        os.setpgid(child, leader)  # by parent and child: whichever runs first
        if not child:
            run_child(request | {"environment": environment | request["environment"]}, rank, outputs[rank].fileno())
        children.append(child)
    deadline = time.monotonic() + request["timeout"]
    due = time.monotonic() + request["delay"] if request["delay"] is not None else float("inf")
    ended = {}
    while len(ended) < processes:
        for child in set(children) - set(ended):
            pid, status, usage = os.wait4(child, os.WNOHANG)
            if pid:
                ended[child] = (os.waitstatus_to_exitcode(status), usage.ru_maxrss)
        late = time.monotonic() > deadline
        for child in set(children) - set(ended):
            if late:
                os.kill(child, signal.SIGKILL)
            elif time.monotonic() > due:
                os.kill(child, signal.Signals[request["signal"]])
        due = float("inf") if time.monotonic() > due else due
        time.sleep(0.002)
    texts = []
    for output in outputs:
        output.seek(0)
        texts.append(output.read().decode(errors="replace"))
        output.close()
    statuses, peaks = zip(*(ended[child] for child in children), strict=True)
    return {"statuses": statuses, "texts": texts, "peak_kb": max(peaks), "late": late}


def warm_up():
    """Import everything, and turn off the figures, which take longer than the tiny runs."""
    torch.set_num_threads(1)
    for command in ("study", "fit"):
        import_module(f"skipweave_cli.commands.{command}")
    fit.write_curves = lambda *_: None
    for name in ("write_plots", "draw_networks"):
        setattr(runner, name, lambda *_: {})
    load(DataConfig())


if __name__ == "__main__":
    warm_up()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
