"""The benchmarks compare what they say, and their tables are those that the scripts write."""

import csv
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import channel_sparse, seqconv, timing, training_step
from skipweave import create_model
from skipweave.compress import sparsify

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


def test_folding_batch_norms_leaves_a_network_s_function(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = sparsify(create_model("vgg16n", widths=[4, 4, 4, 4, 4], hidden=[8]), 0.5, seed=0).model
    x = torch.randn(2, 3, 64, 64)
    model(x)
    expected = model.eval()(x)
    folded = channel_sparse.fold_batch_norms(model)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-4)


def test_short_actions_are_repeated_within_a_turn() -> None:
    done: list[str] = []
    timing.in_turns({"a": lambda: done.append("a")}, repeats=2, at_least=0.001)
    assert len(done) > 3


def test_actions_are_timed_in_turns() -> None:
    done: list[str] = []
    times = timing.in_turns({name: lambda name=name: done.append(name) for name in "ab"}, repeats=3)
    assert done == ["a", "b"] * (timing.WARM_UP + 3)
    assert set(times) == {"a", "b"}
