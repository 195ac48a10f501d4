"""`skipweave bench`: interleaved timing of networks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from rich.progress import Progress, TaskID
from torch import nn

from skipweave.analysis.ledger_check import published_error
from skipweave.analysis.profile import profile
from skipweave.analysis.speed import Case, Speed, measure_speeds, timed_action
from skipweave.files.atomic_write import as_csv, write_text
from skipweave.models import create_model
from skipweave.plotting.error_vs_time import plot_errors
from skipweave.study.timing import machine
from skipweave_cli.options import BenchOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.tables import new_table, print_table, say
from skipweave_config.errors import SkipweaveError

Line = dict[str, Any]  # of the CSV file


def bench(options: BenchOptions) -> None:
    """Time inference and training steps of models in interleaved rounds, print the times, and save them.

    Raises:
        SkipweaveError: A name or the device is unknown, or a file exists already.
    """
    on, repeats = _device(options.device), options.repeats
    if options.save:
        make_room((options.save, options.save.with_suffix(".svg")))
    names = list(dict.fromkeys([*options.vs, *options.models]))
    networks = {name: partial(_make, name) for name in names}
    with torch.device("meta"):
        shape = options.input_size or _input_size(options.models[0], networks[options.models[0]]())
        costs = {name: profile(make(), shape) for name, make in networks.items()}
    groups = _groups(options, on)
    lines: list[Line] = []
    with Progress(transient=True) as progress:
        for cases in groups:
            task = progress.add_task(_title(cases[0]), total=repeats)

            def update(done: int, task: TaskID = task) -> None:
                progress.update(task, completed=done)

            keys = list(product(cases, networks))
            speeds = measure_speeds(
                {(case, name): timed_action(networks[name](), case, shape, on) for case, name in keys},
                {(case, name): costs[name] for case, name in keys},
                cases[0],
                repeats=repeats,
                device=on,
                progress=update,
            )
            for case in cases:
                lines += _lines({name: speeds[case, name] for name in networks}, case, shape, repeats, on)
            progress.remove_task(task)
    for cases in groups:
        say(_title(cases[0]))
        _print([line for line in lines if _is_of(line, cases[0])])
    if options.save:
        _write(options.save, lines)


def _groups(options: BenchOptions, on: torch.device) -> list[list[Case]]:
    """The cases; those of one mode, batch size and precision are measured in the same rounds.

    Raises:
        SkipweaveError: There are none.
    """
    torch_only = list(product(options.memory_formats, options.compiled))
    groups = []
    if on.type != "cpu" and set(options.engines) != {"torch"}:
        raise SkipweaveError(
            f"device is {on} and engines is {list(options.engines)}: expected torch, or the device cpu"
        )
    if "inference" not in options.modes and "torch" not in options.engines:
        raise SkipweaveError(f"engines is {list(options.engines)}: expected torch for training steps")
    for mode, batch, precision in product(options.modes, options.batches, options.precisions):
        if mode == "step" and batch == 1:
            continue
        cases = []
        for engine in options.engines if mode == "inference" else ("torch",):
            if engine == "torch":
                cases += [Case(mode, batch, precision, *execution) for execution in torch_only]
            elif engine == "openvino" or precision == "float32":
                cases.append(Case(mode, batch, precision, engine=engine))
        if cases:
            groups.append(cases)
    if not groups:
        raise SkipweaveError(
            f"batches is {list(options.batches)}, engines is {list(options.engines)}, precisions is "
            f"{list(options.precisions)}: expected 2 or more images for training steps, float32 for onnxruntime"
        )
    return groups


def _make(name: str) -> nn.Module:
    source, _, rest = name.rpartition(":")
    makers: dict[str, Callable[..., nn.Module]] = {
        "": create_model,
        "timm": timm.create_model,
        "torchvision": partial(torchvision.models.get_model, weights=None),
    }
    if source not in makers:
        raise SkipweaveError(
            f"unknown source {source!r} of {name}: expected timm:NAME, torchvision:NAME or a name of skipweave"
        )
    try:
        return makers[source](rest)
    except SkipweaveError:
        raise
    except Exception as error:
        raise SkipweaveError(f"cannot build {name}: {' '.join(str(error).split())}") from error


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")  # rejected below
    if device.type not in ("cpu", "cuda"):
        raise SkipweaveError(f"device is {name!r}: expected cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SkipweaveError(f"device is {name!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def _input_size(name: str, model: nn.Module) -> tuple[int, int, int]:
    cfg = getattr(model, "pretrained_cfg", None)
    if not cfg:
        raise SkipweaveError(f"{name} has no input size: expected input_size")
    return cfg["input_size"]


def _title(case: Case) -> str:
    return f"{case.mode}, batch {case.batch}, {case.precision}"


def _execution(line: Line) -> str:
    """How a network was run: an engine, or torch in a memory format."""
    if line["engine"] != "torch":
        return str(line["engine"])
    return f"torch, {line['memory_format']}{', compiled' if line['compiled'] else ''}"


def _lines(
    speeds: dict[str, Speed], case: Case, shape: tuple[int, int, int], repeats: int, device: torch.device
) -> Iterator[Line]:
    first = next(iter(speeds.values()))
    for name, speed in speeds.items():
        figures = {key: round(value, 3) for key, value in asdict(speed).items()}
        yield dict(
            date=date.today().isoformat(),
            machine=machine(device),
            torch=torch.__version__,
            threads=torch.get_num_threads(),
            model=name,
            side=shape[1],
            ratio=round(speed.ms / first.ms, 3),
            repeats=repeats,
            error=published_error(name),
            **asdict(case) | ({} if case.engine == "torch" else dict(memory_format="", compiled="")),
            **figures,
        )


def _is_of(line: Line, case: Case) -> bool:
    return (line["mode"], line["batch"], line["precision"]) == (case.mode, case.batch, case.precision)


def _print(lines: Sequence[Line]) -> None:
    columns = ("time, ms", "quartiles", "ratio", "images/s", "MACs bound, ms", "bytes bound, ms", "published error, %")
    table = new_table("network", "engine", *columns, right=columns)
    for line in lines:
        table.add_row(
            line["model"],
            _execution(line),
            f"{line['ms']:.2f}",
            f"{line['low_ms']:.2f} to {line['high_ms']:.2f}",
            f"{line['ratio']:.2f}",
            f"{line['images_per_second']:.1f}",
            f"{line['macs_ms']:.2f}",
            f"{line['bytes_ms']:.2f}",
            line["error"],
        )
    print_table(table)


def _write(save: Path, lines: Sequence[Line]) -> None:
    write_text(save, as_csv([lines[0], *(line.values() for line in lines)]))
    say(f"saved {save}")
    best: dict[str, tuple[float, float]] = {}
    for line in lines:
        if line["mode"] == "inference" and line["error"]:
            ms = min(line["ms"] / line["batch"], best.get(line["model"], (line["ms"], 0.0))[0])
            best[line["model"]] = (ms, float(line["error"]))
    if best:
        plot_errors(best, save.with_suffix(".svg"))
        say(f"saved {save.with_suffix('.svg')}")
    else:
        plot = save.with_suffix(".svg")
        say(f"no plot {plot} of published errors against inference times: {_missing(lines)}")


def _missing(lines: Sequence[Line]) -> str:
    """Reason for a missing plot of errors."""
    if any(line["mode"] == "inference" for line in lines):
        names = ", ".join(dict.fromkeys(line["model"] for line in lines))
        return f"no published error of {names}"
    return "inference was not timed"
