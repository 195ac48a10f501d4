"""Break-even densities: defaults, measurements, and cache files that cannot be read or written."""

import json

import pytest
import torch

from skipweave.ops.cpu import break_even, c_library


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    break_even.measured.cache_clear()
    yield tmp_path
    break_even.measured.cache_clear()


def test_defaults_apply_without_measurement() -> None:
    assert (break_even.break_even((1, 1)), break_even.break_even((3, 3))) == (0.35, 0.6)


def test_measurement_applies_and_is_written(monkeypatch: pytest.MonkeyPatch, home) -> None:
    times = iter([[1, 2], [3, 2], [1, 2], [1, 2], [3, 2]])
    monkeypatch.setattr(break_even, "_times", lambda *calls: next(times))
    assert break_even.measure() == {"1x1": 0.2, "larger": 0.3}
    assert (break_even.break_even((1, 1)), break_even.break_even((1, 7))) == (0.2, 0.3)
    (cached,) = json.loads((home / "skipweave" / "break_even.json").read_text()).items()
    assert torch.__version__ in cached[0]


def test_measurements_of_another_machine_do_not_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(break_even, "_times", lambda *calls: [3, 2])
    assert break_even.measure() == {"1x1": 0.0, "larger": 0.0}
    monkeypatch.setattr(break_even, "_machine", lambda: "another")
    break_even.measured.cache_clear()
    assert break_even.measured() is None
    break_even.measure()
    assert len(json.loads(break_even.cache_file().read_text())) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"x": 3}', "\x00"])
def test_invalid_cache_file_is_ignored(home, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(break_even, "_machine", lambda: "x")
    (home / "skipweave").mkdir()
    break_even.cache_file().write_text(text)
    assert break_even.measured() is None


def test_unwritable_cache_is_ignored(monkeypatch: pytest.MonkeyPatch, home) -> None:
    (home / "skipweave").write_text("a file where the folder should be")
    monkeypatch.setattr(break_even, "_times", lambda *calls: [3, 2])
    assert break_even.measure() == {"1x1": 0.0, "larger": 0.0}


@pytest.mark.skipif(bool(c_library.library().problem), reason="there is no C library")
def test_a_density_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(break_even, "_SECONDS", 0)
    monkeypatch.setattr(break_even, "_DENSITIES", (0.25,))
    assert break_even._crossing(3, channel_count=8) in (0.0, 0.25)
