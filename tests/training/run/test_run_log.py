import json
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from skipweave.training import Callback, FitConfig, fit
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.run.run_log import RunLog
from tests.errors import assert_reports


class Warns(Callback):
    def on_step_end(self, epoch: int, step: int) -> None:
        with warnings.catch_warnings():  # what makes Python forget which warnings it has shown
            pass
        warnings.warn("the same at every step", UserWarning, stacklevel=1)


def test_each_event_and_warning_is_logged_once(tiny: Callable[..., FitConfig]):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        folder = RunDirectory(fit(tiny(), callbacks=[Warns()]).run_dir)
    assert [str(warning.message) for warning in shown] == ["the same at every step"]
    lines = [json.loads(line) for line in folder.log_lines.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["started", "note", "warning", "epoch", "epoch", "finished"]
    assert all(line["time"] <= following["time"] for line, following in pairwise(lines))
    assert [text[21:] for text in folder.log.read_text().splitlines()] == [line["text"] for line in lines]
    assert_reports(lines[0]["text"], "sparsenet40_24", "digits", "epoch 1")
    assert lines[2]["text"] == "UserWarning: the same at every step"
    assert [line["epoch"] for line in lines[3:5]] == [1, 2]


@pytest.mark.parametrize("left", ['{"time": "20', ""])
def test_an_incomplete_last_line_is_removed(tmp_path: Path, left: str):
    text, lines = tmp_path / "log.txt", tmp_path / "log.jsonl"
    RunLog(text, lines).add("first", "one", {})
    for path in (text, lines):
        path.write_text(path.read_text() + left)
    RunLog(text, lines).add("second", "two", {"value": Path("x")})
    assert [json.loads(line)["event"] for line in lines.read_text().splitlines()] == ["first", "second"]
    assert [line[21:] for line in text.read_text().splitlines()] == ["one", "two"]


def test_an_unwritable_log_raises_nothing(tmp_path: Path):
    RunLog(tmp_path / "none" / "log.txt", tmp_path / "none" / "log.jsonl").add("first", "one", {})
    assert not (tmp_path / "none").exists()


def test_log_lines_have_no_control_characters(tmp_path: Path):
    log = RunLog(tmp_path / "log.txt", tmp_path / "log.jsonl")
    log.add("failed", "cannot read c\x1b[31m/b\udcff.png", {})
    assert (tmp_path / "log.txt").read_text().endswith("  cannot read c?[31m/b?.png\n")
    assert json.loads((tmp_path / "log.jsonl").read_text())["text"] == "cannot read c\x1b[31m/b\udcff.png"
