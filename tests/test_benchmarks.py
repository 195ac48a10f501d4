"""The benchmarks compare what they say, and their tables are those that the scripts write."""

import csv
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from benchmarks import channel_sparse_gpu, seqconv, timing
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
