"""The benchmarks compare what they say, and their tables are those that the scripts write."""

import csv
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import (
    bf16,
    channel_sparse,
    channel_sparse_gpu,
    compiling,
    data_path,
    delugenet,
    depth,
    others_reliability,
    seqconv,
    timing,
    training_step,
)
from skipweave.ops import dense_weight

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


def test_the_table_can_be_written_and_has_the_columns_of_the_one_that_is_kept(tmp_path: Path) -> None:
    shape = seqconv.Shape("a small one", 8, 4, 4)
    rows = seqconv.compare(shape, "windowed", batch=2, memory_format="channels_last", repeats=1)
    assert [row.what for row in rows] == ["forward", "step"]
    timing.write(tmp_path / "new" / "table.csv", rows)
    with (tmp_path / "new" / "table.csv").open() as new, (ROOT / "benchmarks/results/seqconv.csv").open() as kept:
        written, told = csv.DictReader(new), csv.DictReader(kept)
        assert written.fieldnames == told.fieldnames
        assert {field.name for field in fields(seqconv.Row)} < set(told.fieldnames or ())
        assert {(row["form"], row["channels"]) for row in told} == {
            (form, str(shape.channels)) for form in seqconv.FORMS for shape in seqconv.SHAPES
        }


def test_channel_sparse_layers_are_compared_with_dense_ones_of_their_shape(tmp_path: Path) -> None:
    shape = channel_sparse.Shape(3, 8, 4, 5)
    rows = list(channel_sparse.compare_layers(shape, "exact", density=0.5, batch=2, repeats=1))
    assert [row.what for row in rows] == ["forward", "step"]
    assert {row.fan_in for row in rows} == {4}
    for row in rows:
        assert row.ratio == pytest.approx(min(row.dense_cpu_ms, row.dense_channels_last_cpu_ms) / row.cpu_ms, abs=0.02)
    assert next(channel_sparse.mean_ratios(rows)).startswith("3x3, exact, density 0.5, batch 2, forward: ")
    timing.write(tmp_path / "table.csv", rows)
    kept = ROOT / "benchmarks/results/channel_sparse_operations.csv"
    with (tmp_path / "table.csv").open() as new, kept.open() as old:
        told = csv.DictReader(old)
        assert csv.DictReader(new).fieldnames == told.fieldnames
        assert {row["subject"] for row in told} == set(map(str, channel_sparse.SHAPES))


def test_delugenet_is_compared_with_its_baseline(tmp_path: Path) -> None:
    rows = delugenet.compare(batch=2, repeats=1, memory_format="channels_last", units=(1, 1, 1))
    assert [(row.network, row.ratio == 1) for row in rows] == [("3x3 baseline", True), ("delugenet146", False)]
    timing.write(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open() as new, (ROOT / "benchmarks/results/delugenet.csv").open() as kept:
        assert csv.DictReader(new).fieldnames == csv.DictReader(kept).fieldnames


def test_sparse_networks_are_compared_with_dense_ones_in_bfloat16(tmp_path: Path) -> None:
    rows = list(bf16.compare("vgg16n", batch=1, repeats=1, side=32))
    forms = ["dense, bfloat16", "dense, float32", "sparse 0.1, float32", "sparse 0.01, float32"]
    assert [row.form for row in rows] == forms
    assert rows[0].ratio == 1
    timing.write(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open() as new, (ROOT / "benchmarks/results/bf16.csv").open() as kept:
        assert csv.DictReader(new).fieldnames == csv.DictReader(kept).fieldnames


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork")
def test_harm_comes_to_runs_of_others(tmp_path: Path) -> None:
    task = others_reliability.Task(tmp_path / "killed", signal_at=10)
    assert others_reliability.in_child(others_reliability.plain, task) == -9
    assert list(others_reliability.batches(task.folder)) == list(range(10))
    whole = others_reliability.Task(tmp_path / "whole")
    assert others_reliability.in_child(others_reliability.plain, whole) == 0
    cut = others_reliability.kill_while_saving(others_reliability.plain, tmp_path / "cut", trials=1, width=4)
    assert cut.endswith("of 1 last checkpoints can be loaded")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiling_tells_the_graphs_of_each_form(tmp_path: Path) -> None:
    rows = compiling.measure(("sparsenet_bc100_12",), backend="eager")
    assert [(row.compiled, row.units, row.graphs) for row in rows] == [("by units", 48, 24), ("whole", 48, 1)]
    timing.write(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open() as new, (ROOT / "benchmarks/results/compiling.csv").open() as kept:
        assert csv.DictReader(new).fieldnames == csv.DictReader(kept).fieldnames


def test_all_forms_of_a_training_step_have_one_number_of_parameters(tmp_path: Path) -> None:
    made = training_step.networks(units=2, growth=4)
    assert len({sum(part.numel() for part in model.parameters()) for model in made.values()}) == 1
    rows = training_step.compare(1, 4, batch=2, side=8, memory_format="channels_last", repeats=1)
    assert [(row.form, row.against) for row in rows[1:]] == [
        ("plain", "paper"),
        ("default", "paper"),
        ("default", "plain"),
        ("lean", "default"),
    ]
    timing.write(tmp_path / "table.csv", rows)
    kept = ROOT / "benchmarks/results/training_step.csv"
    with (tmp_path / "table.csv").open() as new, kept.open() as old:
        assert csv.DictReader(new).fieldnames == csv.DictReader(old).fieldnames


def test_networks_are_compared_as_they_train_and_as_they_are_run() -> None:
    rows = list(channel_sparse.compare_networks("vgg16n", "exact", 0.1, 2, repeats=1, side=32))
    assert [row.what for row in rows] == ["step", "forward"]


def test_time_a_unit_is_compared_over_depths(tmp_path: Path) -> None:
    rows = depth.steps(2, 1, ("sparsenet40_24", "densenet40_12"))
    assert [(row.units, row.ratio) for row in rows] == [
        (36, 1.0),
        (36, pytest.approx(rows[1].cpu_ms / rows[0].cpu_ms, abs=0.01)),
    ]
    assert [row.what for row in depth.handling("sparsenet40_24")] == ["build", "state_dict", "profile"]


def test_short_actions_are_repeated_within_a_turn() -> None:
    done: list[str] = []
    timing.in_turns({"a": lambda: done.append("a")}, repeats=2, at_least=0.02)
    assert len(done) > 3


def test_actions_are_timed_in_turns() -> None:
    done: list[str] = []
    times = timing.in_turns({name: lambda name=name: done.append(name) for name in "ab"}, repeats=3)
    assert done == ["a", "b"] * (timing.WARM_UP + 3)
    assert set(times) == {"a", "b"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["channel_sparse_gpu"])
    with pytest.raises(SystemExit, match="There is no GPU here that torch can use: nothing was measured"):
        channel_sparse_gpu.main()


@pytest.mark.parametrize("what", channel_sparse_gpu.DIRECTIONS)
def test_what_is_timed_on_a_gpu_is_one_convolution(what: str) -> None:
    pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = channel_sparse_gpu.Shape(1, 16, 32, 4)
    x = torch.randn(2, 16, 4, 4, device=device)
    side = channel_sparse_gpu.sparse_side(shape, 16, 0.2, torch.float32, device)
    dense = channel_sparse_gpu.Side(shape, dense_weight(side.weight, side.index, 16))
    made = channel_sparse_gpu.actions(x, dense, [side], what)
    assert list(made) == ["dense", "dense channels last", "ours 16 0.2", "shared 16 0.2"]
    maps = [action() if what == "forward" else action()[0] for action in made.values()]  # or their gradients
    for other in maps[1:]:
        torch.testing.assert_close(other, maps[0], rtol=0, atol=0.05 if device == "cuda" else 1e-5)  # TF32
    assert channel_sparse_gpu.error(side, x, what) < (2e-3 if device == "cuda" else 1e-6)


def test_a_batch_is_augmented_as_its_images_are_one_by_one() -> None:
    images = torch.randint(0, 256, (40, 3, 12, 10), dtype=torch.uint8)
    tops, lefts, mirrored = data_path.draw(torch.arange(40), seed=0, epoch=1, shift=2)
    assert set(tops.tolist()) == set(lefts.tolist()) == set(range(5))
    assert set(mirrored.tolist()) == {False, True}
    found = data_path.augment_batch(images, tops, lefts, mirrored, shift=2)
    for image, top, left, mirror, ours in zip(images, tops, lefts, mirrored, found, strict=True):
        shifted = torch.nn.functional.pad(image, [2] * 4)[:, top : top + 12, left : left + 10]
        assert torch.equal(ours, shifted.flip(-1) if mirror else shifted)


def test_the_data_path_is_that_of_training_and_its_table_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "CamVid" / "train"
    folder.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (48, 36)).save(folder / f"{number}.png")
    config = data_path.photographs(tmp_path, tmp_path / "photographs", count=2)
    made = list(data_path.measure("photographs", data_path.parts(config, 2), 2, repeats=1))
    assert [row.what for row in made] == ["decode", "augment", "loader"]
    timing.write(tmp_path / "table.csv", made)
    with (tmp_path / "table.csv").open() as new, (ROOT / "benchmarks/results/data_path.csv").open() as old:
        told = csv.DictReader(old)
        assert csv.DictReader(new).fieldnames == told.fieldnames
        assert {row["subject"] for row in told} >= {"photographs", "label maps", "CIFAR"}
