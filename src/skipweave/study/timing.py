"""Measured time of every network's inference and training step, interleaved, under the same machine load."""

import os
from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch import Tensor

from skipweave.analysis.speed import seconds_of
from skipweave.ops.cpu.processor import processor
from skipweave.study.engine_timing import EngineRuns
from skipweave.study.results import Timing
from skipweave.training.learner import Learner

WARM_UP = 2


def measure(
    learners: Mapping[str, Learner],
    images: Tensor,
    labels: Tensor,
    repeats: int,
    on_round_end: Callable[[int], None],
    engines: Mapping[str, EngineRuns] | None = None,
) -> dict[str, Timing]:
    """Measure all networks interleaved: one inference, one training step, and one image in each engine per round.

    Weights do not change: the learning rate is 0, which costs the same.

    Args:
        learners: Networks with their optimizers, by label, all on the same device.
        images: One batch, NCHW.
        labels: Labels of the batch.
        repeats: Rounds of which the medians are taken, after two that are not counted.
        on_round_end: Called with the number of rounds done.
        engines: The networks in engines, by label.
    """
    engines = engines or {}
    seconds: dict[str, list[list[float]]] = {label: [] for label in learners}
    for done in range(1 - WARM_UP, repeats + 1):
        for label, learner in learners.items():
            times = [_inference(learner, images), _step(learner, images, labels)]
            if label in engines:
                times += [_second_call(action, learner.fabric.device) for action in engines[label].actions.values()]
            if done > 0:
                seconds[label].append(times)
        on_round_end(max(0, done))
    return {label: _timing(rounds, engines.get(label)) for label, rounds in seconds.items()}


def _timing(rounds: list[list[float]], engine: EngineRuns | None) -> Timing:
    inference, step, *in_engines = (1000 * median(column) for column in zip(*rounds, strict=True))
    if engine is None:
        return Timing(inference, step)
    return Timing(inference, step, dict(zip(engine.actions, in_engines, strict=True)), dict(engine.failures))


def _second_call(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call right after another: single images are short, and others' data fill the caches before."""
    action()
    return seconds_of(action, device)


def _inference(learner: Learner, images: Tensor) -> float:
    """Seconds of a forward pass, evaluation mode, of the last head alone."""
    learner.start_evaluation()
    images = learner.fabric.to_device(images)
    precision = learner.fabric.strategy.precision
    images = precision.convert_input(images)
    with torch.inference_mode(), precision.forward_context():
        return seconds_of(lambda: learner.network(images), learner.fabric.device)


def _step(learner: Learner, images: Tensor, labels: Tensor) -> float:
    """Seconds of a training step as in the first epoch: forward, backward, optimizer."""
    learner.start_epoch()
    head_weights = learner.loss_weights(0)
    images, labels = learner.fabric.to_device((images, labels))

    def step() -> None:
        learner.backward(images, labels, head_weights)
        learner.optimizer_step(lr=0.0)

    return seconds_of(step, learner.fabric.device)


def machine(device: torch.device) -> str:
    """The name of the device's hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {os.cpu_count()} cores" + ("" if device.type == "cpu" else f", {device.type}")
