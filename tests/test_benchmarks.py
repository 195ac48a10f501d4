"""The benchmarks run on small cases."""

import csv
import sys
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from PIL import Image

from benchmarks import (
    channel_sparse,
    channel_sparse_gpu,
    cluster,
    compiling,
    convolutions,
    data_path,
    delugenet,
    depth,
    engines,
    gpu,
    gpu_kernels,
    gpu_networks,
    keeping,
    others_reliability,
    published_times,
    recipe_hours,
    seqconv,
    timing,
    training_memory,
    training_precision,
    training_step,
    weight_gradient,
)
from skipweave import create_model
from skipweave.analysis.speed import Case, Mode
from skipweave.ops import dense_weight
from skipweave.ops.cpu import node_reading
from skipweave.ops.triton import launch, node_table
from tests.errors import assert_reports

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("form", seqconv.FORMS)
@pytest.mark.parametrize("shape", seqconv.SHAPES, ids=lambda shape: f"{shape.channels}@{shape.side}")
def test_both_sides_have_as_many_multiply_accumulates(shape: seqconv.Shape, form: str) -> None:
    with torch.device("meta"):
        ours, conv = seqconv.pair(shape, form)
    assert seqconv.macs(ours, shape) == pytest.approx(seqconv.macs(conv, shape), rel=0.02)
    if form == "windowed":
        assert seqconv.channels_of(conv) == shape.channels
        assert seqconv.macs(ours, shape) == seqconv.macs(conv, shape)


def test_seqconv_is_compared_with_convolutions(tmp_path: Path) -> None:
    shape = seqconv.Shape("a small one", 8, 4, 4)
    rows = seqconv.compare(shape, "windowed", batch=2, memory_format="channels_last", repeats=1)
    assert [row.what for row in rows] == ["forward", "step"]
    timing.write(tmp_path / "new" / "table.csv", rows)
    with (tmp_path / "new" / "table.csv").open() as file:
        assert [row["what"] for row in csv.DictReader(file)] == ["forward", "step"]


def test_channel_sparse_layers_are_compared_with_dense_ones_of_their_shape() -> None:
    shape = convolutions.Shape(3, 8, 4, 5)
    rows = list(channel_sparse.compare_layers(shape, "exact", density=0.5, batch=2, repeats=1))
    assert [row.what for row in rows] == ["forward", "step"]
    assert {row.fan_in for row in rows} == {4}
    for row in rows:
        assert row.ratio == pytest.approx(min(row.dense_cpu_ms, row.dense_channels_last_cpu_ms) / row.cpu_ms, abs=0.02)
    assert next(convolutions.mean_ratios(rows, channel_sparse.case)).startswith(
        "3x3, exact, density 0.5, batch 2, forward: "
    )


def test_networks_are_timed_beside_the_first() -> None:
    models = {name: create_model(name, units=1) for name in ("densenet40_12", "sparsenet40_12")}
    rows = published_times.compare(models, (3, 32, 32), repeats=1)
    assert [(row.model, row.ratio == 1) for row in rows] == [("densenet40_12", True), ("sparsenet40_12", False)]


def test_memory_is_proportional_to_the_batch_and_least_when_recomputed() -> None:
    case = training_memory.Case("a small one", "densenet40_12", {"units": 3}, 1.0, 0.5)
    one, two = (training_memory.measure(case, batch) for batch in (512, 1024))
    assert one.plain > 2 * one.default >= 2 * one.recomputed > 0
    assert two.plain == pytest.approx(2 * one.plain, rel=0.01)
    assert two.inference == pytest.approx(2 * one.inference, abs=0.002)


@pytest.mark.slow
def test_the_order_of_the_delugenets_paper_reverses_by_default() -> None:
    _, deluge, dense, *_ = (training_memory.measure(case, 32) for case in training_memory.CASES[:3])
    assert deluge.paper_training < dense.paper_training
    assert deluge.plain < dense.plain
    assert deluge.default > dense.default


def test_delugenet_is_compared_with_its_baseline() -> None:
    rows = delugenet.compare(batch=2, repeats=1, memory_format="channels_last", units=(1, 1, 1))
    assert [(row.network, row.ratio == 1) for row in rows] == [("3x3 baseline", True), ("delugenet146", False)]


def test_networks_are_timed_in_engines() -> None:
    networks = {"resnet": engines.network("timm:test_resnet"), "exact": engines.network("timm:test_resnet")}
    rows = list(engines.compare(networks, 32, "float32", 1, 1, engines.ENGINES, False))
    assert [(row.network, row.engine) for row in rows] == [
        *(("resnet", engine) for engine in ("torch", "onnxruntime", "openvino")),
        ("exact", "torch"),
    ]
    assert [row.ratio for row in rows[:3]] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork")
def test_faults_are_injected_into_other_libraries(tmp_path: Path) -> None:
    task = others_reliability.Task(tmp_path / "killed", signal_at=10)
    assert others_reliability.in_child(others_reliability.plain, task) == -9
    assert list(others_reliability.batches(task.folder)) == list(range(10))
    whole = others_reliability.Task(tmp_path / "whole")
    assert others_reliability.in_child(others_reliability.plain, whole) == 0
    cut = others_reliability.kill_while_saving(others_reliability.plain, tmp_path / "cut", trials=1, width=4)
    assert cut.endswith("of 1 last checkpoints can be loaded")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiling_counts_the_graphs_of_each_form() -> None:
    rows = compiling.measure(("sparsenet_bc100_12",), backend="eager")
    assert [(row.compiled, row.units, row.graphs) for row in rows] == [("by units", 48, 24), ("whole", 48, 1)]


def test_all_forms_of_a_training_step_have_equal_parameters() -> None:
    made = training_step.networks(units=2, growth=4)
    assert len({sum(part.numel() for part in model.parameters()) for model in made.values()}) == 1
    rows = training_step.compare(1, 4, batch=2, side=8, memory_format="channels_last", repeats=1)
    assert [(row.form, row.against) for row in rows[1:]] == [
        ("plain", "paper"),
        ("default", "paper"),
        ("default", "plain"),
        ("lean", "default"),
    ]


def test_training_and_inference_are_timed() -> None:
    rows = list(channel_sparse.compare_networks("vgg16n", "exact", 0.1, 2, repeats=1, side=32))
    assert [row.what for row in rows] == ["step", "forward"]


def test_time_per_unit_is_compared_over_depths(tmp_path: Path) -> None:
    rows = depth.steps(2, 1, ("sparsenet40_24", "densenet40_12"))
    assert [(row.units, row.ratio) for row in rows] == [
        (36, 1.0),
        (36, pytest.approx(rows[1].cpu_ms / rows[0].cpu_ms, abs=0.01)),
    ]
    assert [row.what for row in depth.handling("sparsenet40_24")] == ["build", "state_dict", "profile"]


def test_short_functions_are_repeated_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    pauses: list[float] = []
    clock = SimpleNamespace(
        perf_counter=count(step=0.5).__next__, process_time=count(step=0.25).__next__, sleep=pauses.append
    )
    monkeypatch.setattr(timing, "time", clock)
    times = timing.in_turns({"a": lambda: done.append("a")}, repeats=2, at_least=2.0, pause=0.1)
    assert len(done) == 1 + 2 * 4
    assert pauses == [0.1] * 3  # one per round
    assert times["a"] == timing.Times(cpu=250 / 4, wall=500 / 4)


def test_rounds_are_interleaved() -> None:
    done: list[str] = []
    times = timing.in_turns({name: lambda name=name: done.append(name) for name in "ab"}, repeats=3)
    assert done == ["a", "b"] * (timing.WARM_UP + 3)
    assert set(times) == {"a", "b"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("script", [channel_sparse_gpu, gpu, gpu_kernels, gpu_networks])
def test_without_a_gpu_nothing_is_measured(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["a script"])
    with pytest.raises(SystemExit, match="GPU"):
        script.main()


@pytest.mark.parametrize("what", channel_sparse_gpu.DIRECTIONS)
def test_one_convolution_is_timed_on_a_gpu(what: str) -> None:
    pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = convolutions.Shape(1, 16, 32, 4)
    x = torch.randn(2, 16, 4, 4, device=device)
    side = channel_sparse_gpu.sparse_side(shape, 16, 0.2, torch.float32, device)
    dense = channel_sparse_gpu.Side(shape, dense_weight(side.weight, side.index, 16))
    made = channel_sparse_gpu.actions(x, dense, [side], what)
    assert list(made) == ["dense", "dense channels last", "ours 16 0.2", "shared 16 0.2"]
    maps = [action() if what == "forward" else action()[0] for action in made.values()]  # or their gradients
    for other in maps[1:]:
        torch.testing.assert_close(other, maps[0], rtol=0, atol=0.05 if device == "cuda" else 1e-5)  # TF32
    assert channel_sparse_gpu.error(side, x, what) < (2e-3 if device == "cuda" else 1e-6)


def test_results_are_saved_after_failures_and_at_the_time_limit(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    row = timing.Times(1.0, 2.0)

    def failing():
        yield row
        raise RuntimeError("a kernel is wrong\nand more")

    cases = [("first", lambda: [row]), ("second", failing), ("third", lambda: [row])]
    output = tmp_path / "table.csv"
    rows, failed = keeping.run(cases, minutes=600, output=output, device=timing.CPU)
    assert rows == [row] * 3
    (problem,) = failed
    assert_reports(problem, "second", "RuntimeError", "a kernel is wrong")
    assert len(output.read_text().splitlines()) == 4
    with pytest.raises(SystemExit, match="second: RuntimeError"):
        keeping.end(output, failed)
    assert keeping.run(cases, minutes=0, output=tmp_path / "none.csv", device=timing.CPU) == ([], [])
    assert "third" in capsys.readouterr().out
    assert not (tmp_path / "none.csv").exists()


def test_a_failed_part_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {"kernels": "import os; os.abort()", "networks": "import sys; sys.exit(1)", "channel_sparse": "pass"}
    given: list[float] = []

    def command(part: str, minutes: float, output: Path) -> list[str]:
        assert output == tmp_path / f"gpu_{part}.csv"
        given.append(minutes)
        return [sys.executable, "-c", codes[part]]

    real = gpu.command("networks", 1.5, tmp_path)
    assert real == [sys.executable, "-m", "benchmarks.gpu_networks", "--minutes", "1.50", "--output", str(tmp_path)]
    monkeypatch.setattr(gpu, "command", command)
    monkeypatch.setattr(gpu, "GRACE", 60.0)
    assert gpu.run(list(gpu.PARTS), 0.01, tmp_path) == ["kernels", "networks"]
    assert [minutes < 0.01 for minutes in given] == [True] * 3
    assert not gpu.ran([sys.executable, "-c", "import time; time.sleep(3600)"], minutes=0)


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Run the Triton kernels on the device of the tests."""
    pytest.importorskip("triton")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(node_table, "_DEVICE", device.type)
    monkeypatch.setattr(node_reading, "layout", lambda *_: None)
    return device


@pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning")
def test_kernels_are_compared_with_the_definition_and_bounds(
    interpreted: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = gpu_kernels.Rates(macs_per_second=1e9, bytes_per_second=1e9)
    monkeypatch.setattr(gpu_kernels, "rates_of", lambda *_: rates)
    nodes, options = gpu_kernels.Nodes((4, 4), 3, outputs=5), (2, torch.float32, interpreted)
    made = {
        "read and convolve": gpu_kernels.product_of(nodes, *options),
        "read": gpu_kernels.read_of(nodes, *options),
        "sum across layers": gpu_kernels.cross_of(nodes, *options),
        "channel-sparse": gpu_kernels.sparse_of(convolutions.Shape(1, 12, 4, 3), 1, *options),
    }
    rows: dict[str, list[gpu_kernels.Row]] = {}
    for name, operation in made.items():
        rows[name] = list(gpu_kernels.measure(lambda operation=operation: operation, 2, "float32", 1, interpreted))
        assert [(row.operation, row.what, row.right) for row in rows[name]] == [
            (name, what, True) for what in ("forward", "step")
        ]
    forward, step = rows["read and convolve"]
    assert (forward.macs_ms, step.macs_ms) == (round(2 * 9 * 5 * 8 / 1e6, 4), round(3 * 2 * 9 * 5 * 8 / 1e6, 4))
    read, written = 4 * (8 + 8 + 5 * 8 + 2 * 9 * 8), 4 * 2 * 9 * 5
    assert forward.bytes_ms == round((read + written) / 1e6, 4)
    assert step.bytes_ms == round((3 * read + 2 * written) / 1e6, 4)
    right = made["read"].definition
    wrong = replace(made["read"], ours=dict.fromkeys(gpu_kernels.WHATS, lambda *given: 1.1 * right(*given)))
    assert [row.right for row in gpu_kernels.measure(lambda: wrong, 2, "float32", 1, interpreted)] == [False, False]


def test_every_operation_is_measured_in_every_precision() -> None:
    for precision in gpu_kernels.PRECISIONS:
        names = [name.split(",")[0] for name, _ in gpu_kernels.operations(2, precision, timing.CPU)]
        assert set(names) == {"read and convolve", "read", "sum across layers", "channel-sparse"}


@pytest.mark.parametrize("what", ["step", pytest.param("inference", marks=pytest.mark.slow)])
def test_a_failed_network_does_not_stop_the_others(what: Mode) -> None:
    seen: list[str] = []

    def ours() -> torch.nn.Module:
        seen.append(launch.PROBLEM)
        return create_model("sparsenet40_24", units=1, growth=4)

    def fails() -> torch.nn.Module:
        raise ValueError("no such network")

    networks = {"ours": ours, "missing": fails, "segments": partial(torch.nn.Conv2d, 3, 4, 1)}
    made = gpu_networks.Turns(networks, Case(what, 2, "float32", "channels_last"), side=32, kernels=False)
    rows: list[gpu_networks.Row] = []
    with pytest.raises(RuntimeError, match=r"missing \(ValueError: no such network\)"):
        rows.extend(gpu_networks.measure(made, repeats=1, device=timing.CPU))
    assert [(row.network, row.kernels) for row in rows] == [("ours", "plain torch"), ("segments", "plain torch")]
    assert rows[0].ratio == 1.0
    assert rows[0].share == pytest.approx(max(rows[0].macs_ms, rows[0].bytes_ms) / rows[0].ms, abs=2e-3)
    assert set(seen) == {"it is disabled"}
    assert launch.PROBLEM != "it is disabled"


def test_networks_of_every_family_are_compared_with_timm() -> None:
    made = list(gpu_networks.turns())
    assert {turns.case.mode for turns in made} == {"step", "inference"}
    assert {turns.case.batch for turns in made if "timm:resnet50" in turns.networks} == {64, 128}
    for turns in made:
        if not turns.kernels:
            assert {*gpu_networks.OURS, gpu_networks.FIRST} == set(turns.networks)


def test_the_data_path_of_training_is_timed(tmp_path: Path) -> None:
    folder = tmp_path / "CamVid" / "train"
    folder.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (48, 36)).save(folder / f"{number}.png")
    config = data_path.photographs(tmp_path, tmp_path / "photographs", count=2)
    made = list(data_path.measure("photographs", data_path.parts(config, 2), 2, repeats=1))
    assert [row.what for row in made] == ["decode", "augment", "loader"]


def test_precisions_are_compared_with_float32() -> None:
    forms = training_precision.FORMS[:2]
    rows = training_precision.compare("delugenet146", forms, batch=2, repeats=1, units=1, widths=(2, 4, 6))
    names = ["delugenet146", training_precision.BASELINE]
    assert [(row.network, row.form) for row in rows] == [(name, form) for name in names for form in forms]
    assert [row.ratio for row in rows if row.form == "float32"] == [1.0, 1.0]


def test_weight_gradients_are_compared_with_those_of_onednn() -> None:
    conv = weight_gradient.convolution_gradient(weight_gradient.CONVOLUTIONS[0], batch=2, repeats=1)
    network = weight_gradient.network("airbench94", side=16, batch=2, repeats=1)
    assert [conv.subject, network.subject] == ["3x3 64 to 64 at 3x3", "airbench94 at 16x16"]
    for row in (conv, network):
        assert row.ratio == pytest.approx(row.product_ms / row.onednn_ms, abs=0.001)


@pytest.mark.parametrize(
    ("name", "images"),
    [("sparsenet_cifar10", 50_000), pytest.param("fclogdensenet_camvid", 367, marks=pytest.mark.slow)],
)
def test_the_hours_of_a_recipe_follow_from_a_step(name, images):
    (row,) = recipe_hours.measure([ROOT / "recipes" / f"{name}.yaml"], most=1, repeats=1)
    assert (row.recipe, row.images) == (name, images)
    assert row.core_hours == pytest.approx(row.cpu_ms_per_image * images * row.epochs / 3_600_000, rel=0.05)


def test_a_study_is_timed_to_its_report():
    config = cluster.study_of(1, 1)
    assert len(config.networks) * len(config.seeds) == 1
    assert len(cluster.study_of(20, 1).networks) * len(cluster.study_of(20, 1).seeds) == 20
    assert cluster.seconds(config) > 0
