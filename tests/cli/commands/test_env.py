import pytest
import torch

import skipweave_cli as cli
from skipweave.ops.cpu import break_even, c_library
from skipweave.training.distributed import devices

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    break_even.measured.cache_clear()
    yield
    break_even.measured.cache_clear()


def test_implementations_and_reasons_are_printed(capsys: Capture):
    assert cli.main(["env"]) == 0
    shown = capsys.readouterr().out
    assert torch.__version__ in shown
    assert str(c_library.library().path) in shown
    assert "0.35 (1x1 kernels), 0.6 (larger kernels)" in shown
    expected = "dense" if c_library.library().problem else "library"
    assert any(line.split()[:5] == ["3x3,", "density", "0.1", expected, "few"] for line in shown.splitlines()) or (
        c_library.library().problem in shown
    )


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_the_precision_for_training_is_printed(
    has: bool, precision: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: has)
    assert cli.main(["env"]) == 0
    (row,) = (line.split() for line in capsys.readouterr().out.splitlines() if "auto" in line)
    assert row[-1] == precision


def test_the_reason_for_a_missing_library_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path):
    missing = c_library.Library(tmp_path / "library.so", "it was not built")
    monkeypatch.setattr(c_library, "library", lambda: missing)
    assert cli.main(["env"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("it was not built") >= 2


def test_break_even_densities_are_measured(monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    monkeypatch.setattr(break_even, "_times", lambda *calls: [3, 2])
    assert cli.main(["env", "--measure", "true"]) == 0
    assert "0 (1x1 kernels), 0 (larger kernels)" in capsys.readouterr().out
