"""Sessions: outputs of engines for images that fit, and errors for others."""

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import openvino
import pytest
import torch
from torch import Tensor, nn

from skipweave.engines import Session, load_onnx, load_openvino, onnx_model, sessions
from tests.errors import raises

Load = Callable[[bytes], Session]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AvgPool2d(2), nn.Conv2d(8, 2, 3)).eval()


@pytest.fixture(scope="module")
def any_size(network: nn.Module) -> bytes:
    return onnx_model(network, (3, 32, 32), dynamic_size=True).content


@pytest.fixture(scope="module")
def fixed_size(network: nn.Module) -> bytes:
    return onnx_model(network, (3, 32, 32)).content


@pytest.fixture(scope="module")
def three_images(network: nn.Module) -> bytes:
    return onnx_model(network, (3, 32, 32), batch=3, dynamic_size=True).content


def assert_computes(session: Session, network: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        expected = network(images)
    (output,) = session(images)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


@pytest.fixture(
    params=[(load, threads) for load in (load_onnx, load_openvino) for threads in (1, 2)],
    ids=lambda pair: f"{pair[0].__name__}-{pair[1]}",
)
def load(request: pytest.FixtureRequest) -> Load:
    load, threads = request.param
    return partial(load, threads=threads)


@pytest.mark.parametrize("size", [(3, 3, 33, 33), (3, 1, 32, 32), (0, 3, 32, 32), (3, 32, 32), (1, 3, 32, 31)])
def test_images_of_another_size_raise(size: tuple[int, ...], load: Load, network: nn.Module, fixed_size: bytes):
    session = load(fixed_size)
    session(torch.randn(3, 3, 32, 32))
    with raises(size, "(N, 3, 32, 32)"):
        session(torch.randn(size))
    assert_computes(session, network, torch.randn(3, 3, 32, 32))


@pytest.mark.parametrize("sides", [(4, 4), (32, 5)])
def test_a_failure_in_the_engine_raises_and_leaves_no_trace(
    sides: tuple[int, int], load: Load, network: nn.Module, any_size: bytes
):
    session = load(any_size)
    for side in (32, 32, 20):
        assert_computes(session, network, torch.randn(2, 3, side, side))
        with raises((2, 3, *sides), "(N, 3, H, W)"):
            session(torch.randn(2, 3, *sides))


def test_a_failed_run_never_returns_old_outputs(load: Load, network: nn.Module, any_size: bytes):
    """Whatever the checks before it let through."""
    session = load(any_size)
    session.shape = (None, None, None, None)
    for wrong in ((2, 1, 32, 32), (2, 3, 4, 4)):
        assert_computes(session, network, torch.randn(2, 3, 32, 32))
        with raises(wrong):
            session(torch.randn(wrong))
    assert_computes(session, network, torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize("batch", [1, 3, 4, 7])
@pytest.mark.parametrize("side", [32, 21])
@pytest.mark.parametrize("load", [load_onnx, load_openvino])
def test_a_fixed_batch_runs_any_number_of_images(
    batch: int, side: int, load: Load, network: nn.Module, three_images: bytes
):
    session = load(three_images)
    assert session.shape == (3, 3, None, None)
    assert_computes(session, network, torch.randn(batch, 3, side, side))


def test_outputs_of_another_batch_raise():
    session = Session(lambda images: [images[:1]], "an engine", {}, (None, 3, 8, 8))
    session(torch.zeros(1, 3, 8, 8))
    with raises("an engine", (1, 3, 8, 8), 2):
        session(torch.zeros(2, 3, 8, 8))


def test_a_session_runs_in_several_threads(any_size: bytes):
    session = load_openvino(any_size, threads=1)
    batches = [torch.randn(2, 3, 32, 32) for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda images: session(images)[0], batches))
    for images, output in zip(batches, found, strict=True):
        torch.testing.assert_close(output, session(images)[0], rtol=0, atol=0)


@pytest.mark.parametrize(("package", "extra"), [("openvino", "openvino"), ("onnxruntime", "export")])
def test_missing_engines_are_reported(package: str, extra: str, monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with raises(package, f"skipweave[{extra}]"):
        (load_openvino if package == "openvino" else load_onnx)(b"")


def test_threads_share_one_core(fixed_size: bytes, monkeypatch: pytest.MonkeyPatch):
    made, core = [], openvino.Core
    monkeypatch.setattr(openvino, "Core", lambda: made.append(core()) or made[-1])
    sessions._make_core.cache_clear()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(load_openvino, [fixed_size] * 8))
    assert len(made) == 1


# A signal handler runs after sessions were dropped in the order in which they were loaded.
DROPPED = """
import signal, sys
from pathlib import Path
from skipweave.engines import load_openvino
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
sessions = [load_openvino(Path(sys.argv[1])) for _ in range(2)]
while sessions:
    del sessions[0]
signal.raise_signal(signal.SIGUSR1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows")
def test_signals_are_handled_after_sessions_were_dropped(fixed_size: bytes, tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(fixed_size)
    ended = subprocess.run([sys.executable, "-c", DROPPED, tmp_path / "model.onnx"], stdout=subprocess.PIPE)
    assert (ended.returncode, ended.stdout) == (0, b"handled\n")
