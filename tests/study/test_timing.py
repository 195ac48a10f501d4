from pathlib import Path

import torch
from lightning_fabric import Fabric

from skipweave.study.engine_timing import EngineRuns
from skipweave.study.timing import machine, measure
from skipweave.training import FitConfig, ModelConfig
from skipweave.training.learner import Learner
from skipweave.training.tasks.task import Classification


def test_networks_are_timed_in_turns_and_do_not_change():
    fabric = Fabric(accelerator="cpu", devices=1)
    args = {"units": 1, "growth": 2, "in_chans": 1, "num_classes": 10}
    config = FitConfig(model=ModelConfig("sparsenet40_24", args), output=Path("unused"))
    learners = {name: Learner(fabric, config, args, Classification(10)) for name in "ab"}
    turns, rounds = [], []
    for name, learner in learners.items():
        learner.network.register_forward_hook(lambda *_, name=name: turns.append(name))
    before = {name: learner.network.head.fc.weight.clone() for name, learner in learners.items()}
    timings = measure(learners, torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.long), 3, rounds.append)
    assert turns == ["a", "a", "b", "b"] * 5
    assert rounds == [0, 0, 1, 2, 3]
    assert all(timing.inference_ms > 0 and timing.step_ms > 0 for timing in timings.values())
    assert all((timing.engine_ms, timing.engine_failures) == ({}, {}) for timing in timings.values())
    assert all(torch.equal(learner.network.head.fc.weight, before[name]) for name, learner in learners.items())


def test_engines_are_timed_in_the_same_rounds_at_their_second_call():
    fabric = Fabric(accelerator="cpu", devices=1)
    args = {"units": 1, "growth": 2, "in_chans": 1, "num_classes": 10}
    learner = Learner(fabric, FitConfig(model=ModelConfig("sparsenet40_24", args)), args, Classification(10))
    turns: list[str] = []
    learner.network.register_forward_hook(lambda *_: turns.append("network"))
    engines = EngineRuns({"torch": lambda: turns.append("torch")}, {"openvino": "no such operator"})
    images, labels = torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)
    timing = measure({"a": learner}, images, labels, 1, lambda done: None, {"a": engines})["a"]
    assert turns == ["network", "network", "torch", "torch"] * 3
    assert list(timing.engine_ms) == ["torch"]
    assert timing.engine_failures == {"openvino": "no such operator"}


def test_the_machine_has_a_name():
    assert "cores" in machine(torch.device("cpu"))
