"""`skipweave bench`: interleaved timing of networks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from itertools import product
from pathlib import Path

import timm
import torch
import torchvision
from rich.progress import Progress, TaskID
from torch import nn

from skipweave.analysis.profile import profile
from skipweave.analysis.speed import Case, Mode, Precision, Speed, measure_speeds
from skipweave.cli.output_files import make_room
from skipweave.cli.tables import new_table, print_table, say
from skipweave.errors import SkipweaveError
from skipweave.files.atomic_write import as_csv, write_text
from skipweave.ledger import rows
from skipweave.models import create_model
from skipweave.plotting.error_vs_time import plot_errors
from skipweave.study.timing import machine
from skipweave.transforms.memory_format import MemoryFormat

_MODES: tuple[Mode, ...] = ("inference", "step")


@dataclass(frozen=True)
class _Line:
    """Line of the CSV file."""

    date: str
    machine: str
    torch: str
    threads: int
    model: str
    side: int
    mode: str
    batch: int
    precision: str
    memory_format: str
    compiled: bool
    repeats: int
    ms: float
    low_ms: float
    high_ms: float
    ratio: float
    images_per_second: float
    macs_ms: float
    bytes_ms: float
    error: str


def bench(
    *models: str,
    vs: Sequence[str] = (),
    input_size: tuple[int, int, int] | None = None,
    batches: Sequence[int] = (1, 8),
    precisions: Sequence[Precision] = ("float32",),
    memory_formats: Sequence[MemoryFormat] = ("contiguous", "channels_last"),
    compiled: Sequence[bool] = (False,),
    modes: Sequence[Mode] = _MODES,
    repeats: int = 10,
    device: str = "cpu",
    save: Path | None = None,
) -> None:
    """Time inference and training steps of networks in interleaved rounds, with lower bounds of the machine.

    Ratios are relative to the first network of `vs`, or else of the models. For inference, networks are optimized by
    `skipweave.optimize_for_inference`. Run it on an otherwise idle machine.

    Args:
        models: Names of `skipweave models`.
        vs: Baselines, such as [torchvision:densenet121]: names of skipweave, torchvision:NAME or timm:NAME.
        input_size: Channels, height and width of the images; by default those of the first model.
        batches: Batch sizes; training steps need 2 or more, so 1 is only timed in inference.
        precisions: Precisions: float32, bf16.
        memory_formats: Memory formats: contiguous, channels_last.
        compiled: Whether to use torch.compile: [false], [true] or [false, true].
        modes: Modes: inference, step.
        repeats: Rounds; the median is reported.
        device: Device: cpu or cuda.
        save: CSV file for all times; if the ledger has published errors of the networks, they are plotted against the
            inference times in an SVG file of the same name. Existing files are not overwritten.

    Raises:
        SkipweaveError: A name or value is invalid, or a file exists already.
    """
    on = _device(device)
    _check(repeats, batches)
    _check_save(save)
    names = list(dict.fromkeys([*vs, *models]))
    networks = {name: partial(_make, name) for name in names}
    with torch.device("meta"):
        shape = input_size or _input_size(models[0], networks[models[0]]())
        costs = {name: profile(make(), shape) for name, make in networks.items()}
    cases = [
        Case(*values) for values in product(modes, batches, precisions, memory_formats, compiled)
        if values[0] == "inference" or values[1] > 1
    ]  # fmt: skip
    if not cases:
        raise SkipweaveError(f"batches is {list(batches)}: expected 2 or more for training steps")
    lines: list[_Line] = []
    with Progress(transient=True) as progress:
        for case in cases:
            task = progress.add_task(_title(case), total=repeats)

            def update(done: int, task: TaskID = task) -> None:
                progress.update(task, completed=done)

            speeds = measure_speeds(
                networks, costs, case, input_size=shape, repeats=repeats, device=on, progress=update
            )
            lines += _lines(speeds, case, shape, repeats, on)
            progress.remove_task(task)
    for case in cases:
        say(_title(case))
        _print([line for line in lines if _is_of(line, case)])
    if save:
        _write(save, lines)


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


def _check(repeats: int, batches: Sequence[int]) -> None:
    problems = []
    if repeats < 1:
        problems.append(f"repeats is {repeats}: expected at least 1")
    if not batches or min(batches) < 1:
        problems.append(f"batches is {list(batches)}: expected batch sizes, each at least 1")
    if problems:
        raise SkipweaveError(*problems)


def _input_size(name: str, model: nn.Module) -> tuple[int, int, int]:
    cfg = getattr(model, "pretrained_cfg", None)
    if not cfg:
        raise SkipweaveError(f"{name} has no input size: expected input_size")
    return cfg["input_size"]


def _check_save(save: Path | None) -> None:
    if save is None:
        return
    if save.suffix != ".csv":
        raise SkipweaveError(f"save is {save}: expected a file that ends in .csv")
    make_room((save, save.with_suffix(".svg")))


def _title(case: Case) -> str:
    execution = "compiled" if case.compiled else "eager"
    return f"{case.mode}, batch {case.batch}, {case.precision}, {case.memory_format}, {execution}"


def _lines(
    speeds: dict[str, Speed], case: Case, shape: tuple[int, int, int], repeats: int, device: torch.device
) -> Iterator[_Line]:
    first = next(iter(speeds.values()))
    for name, speed in speeds.items():
        figures = {key: round(value, 3) for key, value in asdict(speed).items()}
        yield _Line(
            date=date.today().isoformat(),
            machine=machine(device),
            torch=torch.__version__,
            threads=torch.get_num_threads(),
            model=name,
            side=shape[1],
            ratio=round(speed.ms / first.ms, 3),
            repeats=repeats,
            error=_error(name),
            **asdict(case),
            **figures,
        )


def _error(name: str) -> str:
    """First published error of a network, in percent; empty if there is none."""
    found = (row.printed for row in rows() if row.quantity == "error" and row.model == name and row.printed)
    return next(found, "")


def _is_of(line: _Line, case: Case) -> bool:
    return all(getattr(line, key) == value for key, value in asdict(case).items())


def _print(lines: Sequence[_Line]) -> None:
    columns = ("time, ms", "quartiles", "ratio", "images/s", "MACs bound, ms", "bytes bound, ms", "published error, %")
    table = new_table("network", *columns, right=columns)
    for line in lines:
        table.add_row(
            line.model,
            f"{line.ms:.2f}",
            f"{line.low_ms:.2f} to {line.high_ms:.2f}",
            f"{line.ratio:.2f}",
            f"{line.images_per_second:.1f}",
            f"{line.macs_ms:.2f}",
            f"{line.bytes_ms:.2f}",
            line.error,
        )
    print_table(table)


def _write(save: Path, lines: Sequence[_Line]) -> None:
    rows = [asdict(line) for line in lines]
    write_text(save, as_csv([rows[0], *(row.values() for row in rows)]))
    say(f"saved {save}")
    best: dict[str, tuple[float, float]] = {}
    for line in lines:
        if line.mode == "inference" and line.error:
            ms = min(line.ms / line.batch, best.get(line.model, (line.ms, 0.0))[0])
            best[line.model] = (ms, float(line.error))
    if best:
        plot_errors(best, save.with_suffix(".svg"))
        say(f"saved {save.with_suffix('.svg')}")
    else:
        plot = save.with_suffix(".svg")
        say(f"no plot {plot} of published errors against inference times: {_missing(lines)}")


def _missing(lines: Sequence[_Line]) -> str:
    """Reason for a missing plot of errors."""
    if any(line.mode == "inference" for line in lines):
        names = ", ".join(dict.fromkeys(line.model for line in lines))
        return f"no published error of {names}"
    return "inference was not timed"
