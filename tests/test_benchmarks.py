"""The benchmarks compare what they say, and their tables are those that the scripts write."""

import csv
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from benchmarks import seqconv, timing

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
