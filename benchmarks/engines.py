"""Inference of networks in torch, ONNX Runtime and OpenVINO, precision by precision.

`networks` times networks of this library, torchvision and timm; `families` one network of each family; `cifar` networks
of 32x32 images, those with weights in the package first; `sparse` times
dense networks, their channel-sparse versions in blocks, and in torch those of the exact pattern, which run in the
package's C library. All forms of one precision and batch size run in interleaved rounds.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from benchmarks.timing import RESULTS, Times, in_turns, write
from skipweave import create_model, optimize_for_inference, profile, sparsify
from skipweave.engines import load_onnx, load_openvino, onnx_model

Action = Callable[[], object]

NETWORKS = ("torchvision:densenet121", "densenet121_32", "sparsenet121_32", "torchvision:resnet50", "timm:rdnet_tiny")
FAMILIES = (
    "torchvision:resnet50",
    "densenet169_32",
    "sparsenet201_48",
    "logdensenet169",
    "delugenet92",
    "seqresnet_b22",
    "seqresnext24",
    "vgg16n",
)
CIFAR = (
    "resnet9_fast",
    "airbench94",
    "sparsenet_fast_64",
    "sparsenet_fast_96",
    "sparsenet40_12",
    "densenet40_12",
    "preact_resnet56",
)
DENSE = {"networks": (224, NETWORKS), "families": (224, FAMILIES), "cifar": (32, CIFAR)}
SPARSE = {"vgg16n": 224, "timm:inception_v3": 299, "timm:resnet50": 224}
DENSITIES = (0.1, 0.03, 0.01)
COMPILED = ("densenet121_32", "sparsenet121_32", "torchvision:densenet121")  # others compile for minutes
ENGINES = ("torch", "onnxruntime", "openvino")
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Row:
    """Time of a network in an engine.

    `ratio` is its time divided by that of the first network in the same engine; `rate` is in billions of
    multiply-accumulates per second, for dense networks those of the network. Both are of processor time with one
    thread, which hardly depends on other processes, and of wall time with several.
    """

    network: str
    form: str
    engine: str
    precision: str
    batch: int
    cpu_ms: float
    wall_ms: float
    ratio: float
    rate: float
    repeats: int


def network(name: str) -> nn.Module:
    """Create a network of skipweave, torchvision or timm with random weights."""
    torch.manual_seed(0)
    source, _, rest = name.rpartition(":")
    if source == "torchvision":
        return torchvision.models.get_model(rest, weights=None).eval()
    return (timm.create_model(rest) if source == "timm" else create_model(rest)).eval()


def in_engines(
    model: nn.Module, images: Tensor, precision: str, engines: Sequence[str], *, compiled: bool = False
) -> dict[str, Action]:
    """Functions that run a network in each of the engines that has the precision."""
    size = tuple(images.shape[1:])
    actions: dict[str, Action] = {}
    torch_forms = {"torch": False, "torch.compile": True} if compiled else {"torch": False}
    for name, compile in torch_forms.items() if "torch" in engines else ():
        fast = optimize_for_inference(model, weights=DTYPES[precision], compile=compile, input_size=size)
        actions[name] = partial(_run, fast, images)
    if compiled and "torch" in engines:
        actions["AOTInductor"] = ahead_of_time(model, images, precision)
    if not set(engines) - {"torch"}:
        return actions
    content = onnx_model(model, size, batch=len(images)).content
    if precision == "float32" and "onnxruntime" in engines:
        actions["onnxruntime"] = partial(load_onnx(content), images)
    if "openvino" in engines:
        actions["openvino"] = partial(load_openvino(content, precision=precision), images)  # type: ignore[arg-type]
    return actions


def ahead_of_time(model: nn.Module, images: Tensor, precision: str) -> Action:
    """Compile the optimized network ahead of time, by AOTInductor."""
    fast = optimize_for_inference(model, memory_format="channels_last", input_size=tuple(images.shape[1:])).network
    cast = fast.to(DTYPES[precision])
    x = images.to(DTYPES[precision], memory_format=torch.channels_last)
    with TemporaryDirectory() as folder, torch.no_grad():
        path = torch._inductor.aoti_compile_and_package(
            torch.export.export(cast, (x,)), package_path=str(Path(folder, "network.pt2"))
        )
        loaded = torch._inductor.aoti_load_package(path)
    return partial(_run, loaded, x)


def _run(model: Callable[[Tensor], Any], images: Tensor) -> None:
    with torch.inference_mode():
        model(images)


def forms(name: str, side: int, densities: tuple[float, ...] = DENSITIES) -> dict[str, nn.Module]:
    """The dense network, and channel-sparse ones by pattern and density."""
    dense, size = network(name), (3, side, side)
    made = {"dense": dense}
    for density in densities:
        for pattern in ("block", "exact"):
            made[f"{pattern} {density}"] = sparsify(dense, density, pattern=pattern, seed=0, input_size=size).model
    return made


def compare(
    networks: Mapping[str, nn.Module],
    side: int,
    precision: str,
    batch: int,
    repeats: int,
    engines: Sequence[str],
    compiled: bool,
) -> Iterator[Row]:
    """Time networks in interleaved rounds; the exact channel-sparse pattern in torch only."""
    images = torch.randn(batch, 3, side, side)
    actions: dict[tuple[str, str], Action] = {}
    for name, model in networks.items():
        chosen = [engine for engine in engines if engine == "torch" or "exact" not in name]
        made = in_engines(model, images, precision, chosen, compiled=compiled and name in COMPILED)
        actions |= {(name, engine): action for engine, action in made.items()}
    pause = 0.05 if torch.get_num_threads() > 1 else 0.0  # ONNX Runtime's threads busy-wait after each call
    times = in_turns({"\0".join(key): action for key, action in actions.items()}, repeats, pause=pause)
    first = next(iter(networks))
    macs = {name: profile(model, (3, side, side)).macs for name, model in networks.items()}
    for name, engine in actions:
        time = times[f"{name}\0{engine}"]
        base = times.get(f"{first}\0{engine}")
        ratio = round(_spent(time) / _spent(base), 3) if base else float("nan")
        rate = round(batch * macs[name] / _spent(time) / 1e6, 1)
        yield Row(name, "", engine, precision, batch, time.cpu, time.wall, ratio, rate, repeats)


def _spent(time: Times) -> float:
    return time.cpu if torch.get_num_threads() == 1 else time.wall


def measured(
    part: str, precisions: Sequence[str], batches: Sequence[int], repeats: int, engines: Sequence[str]
) -> Iterator[Row]:
    """All rows of a part."""
    if part == "sparse":
        groups = [(name, side, cache(partial(forms, name, side))) for name, side in SPARSE.items()]
    else:
        side, names = DENSE[part]
        groups = [("", side, lambda: {name: network(name) for name in names})]
    for name, side, make in groups:
        for precision in precisions:
            for batch in batches:
                compiled = part == "networks" and batch == 1
                for row in compare(make(), side, precision, batch, repeats, engines, compiled):
                    yield _named(row, name)


def _named(row: Row, name: str) -> Row:
    """The row of a form of a network, under the network's name."""
    return replace(row, network=name, form=row.network) if name else row


def main() -> None:
    """Time a part, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.engines", description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=[*DENSE, "sparse"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bf16"], choices=list(DTYPES))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES, help="torch compiled too, if batch 1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = []
    for row in measured(given.part, given.precisions, given.batches, given.repeats, given.engines):
        print(
            f"{row.network} {row.form} {row.engine} {row.precision}, batch {row.batch}: {row.cpu_ms:.1f} ms, "
            f"{row.wall_ms:.1f} ms wall, "
            f"{row.ratio:.2f} of the first, {row.rate:.0f} billion/s",
            flush=True,
        )
        rows.append(row)
    output = given.output or RESULTS / f"engines_{given.part}.csv"
    write(output, rows)
    print(f"Written to {output}")


if __name__ == "__main__":
    main()
