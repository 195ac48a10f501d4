"""Networks of a study in inference engines."""

import pytest
import torch
from torch import nn

from skipweave import create_model
from skipweave.study import engine_timing
from skipweave.study.engine_timing import engine_names, engine_note, engine_runs
from tests.errors import assert_reports

CPU = torch.device("cpu")
IMAGE = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def small() -> nn.Module:
    return create_model("sparsenet40_24", units=1, growth=2, in_chans=1).eval()


def test_only_what_is_there_is_timed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_timing, "computes_bfloat16", lambda device: False)
    monkeypatch.setattr(engine_timing, "missing", lambda names: ["openvino"] if "openvino" in names else [])
    assert engine_names(CPU) == ("torch", "onnxruntime")
    monkeypatch.setattr(engine_timing, "computes_bfloat16", lambda device: device == CPU)
    monkeypatch.setattr(engine_timing, "missing", lambda names: [])
    assert engine_names(CPU) == ("torch", "torch_bf16", "onnxruntime", "openvino", "openvino_bf16")
    assert engine_names(torch.device("mps")) == ("torch",)


def test_the_note_has_the_versions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_timing, "engine_names", lambda device: ("torch", "torch_bf16"))
    assert_reports(engine_note(CPU), "torch", torch.__version__.partition("+")[0])


def test_an_engine_that_cannot_run_a_network_has_a_reason(monkeypatch: pytest.MonkeyPatch):
    class Broken(nn.Conv2d):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise TypeError("images are upside down")

    monkeypatch.setattr(engine_timing, "engine_names", lambda device: ("torch", "onnxruntime"))
    runs = engine_runs(Broken(1, 1, 1).eval(), IMAGE, CPU)
    assert runs.actions == {}
    assert list(runs.failures) == ["torch", "onnxruntime"]
    assert all("upside down" in reason for reason in runs.failures.values())


@pytest.mark.slow
def test_a_network_runs_in_every_engine():
    runs = engine_runs(small(), IMAGE, CPU)
    assert (tuple(runs.actions), runs.failures) == (engine_names(CPU), {})
    for action in runs.actions.values():
        action()
