"""The form and batch that fit a given memory, against what training really holds."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from torch import nn

from skipweave import create_model
from skipweave.analysis.memory import peak_bytes
from skipweave.training import FitConfig, OptimConfig, fit
from skipweave.training.freezing import freeze
from skipweave.training.memory_plan import MemoryPlan, plan_memory
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.tasks.task import Classification
from tests.errors import raises

SIDE, BATCH = 16, 12
make = partial(create_model, "sparsenet_bc100_24", units=3, growth=8)


@cache
def plan(limit: int, batch_size: int = BATCH) -> MemoryPlan:
    return plan_memory(make, Classification(10), OptimConfig(), (3, SIDE, SIDE), batch_size=batch_size, limit=limit)


def really(recompute: bool, batch: int) -> int:
    """What two steps hold on the CPU."""
    network = make().train()
    if recompute:
        network.set_grad_checkpointing()
    return held_in_two_steps(network, batch)


def held_in_two_steps(network: nn.Module, batch: int) -> int:
    """What two steps of a network hold on the CPU, in the mode that it is in."""
    images, labels = torch.randn(batch, 3, SIDE, SIDE), torch.randint(10, (batch,))
    optimizer = torch.optim.SGD([each for each in network.parameters() if each.requires_grad], lr=0.1, momentum=0.9)

    def steps() -> None:
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()

    given = [*network.parameters(), *network.buffers(), images, labels]
    return peak_bytes(steps, given) + sum(tensor.nbytes for tensor in given)


def test_the_usual_form_is_taken_where_it_fits() -> None:
    roomy = plan(2**40)
    assert (roomy.grad_checkpointing, roomy.batch_size) == (False, BATCH)
    assert 0.95 < roomy.bytes / really(False, BATCH) < 1.25  # the C library takes less than torch would
    assert plan(roomy.bytes) == roomy


def test_activation_checkpointing_is_used_to_fit_the_limit() -> None:
    tight = plan(plan(2**40).bytes - 1)
    assert (tight.grad_checkpointing, tight.batch_size) == (True, BATCH)
    assert 0.95 < tight.bytes / really(True, BATCH) < 1.25


def test_the_batch_is_the_largest_that_fits() -> None:
    limit = plan(plan(2**40).bytes - 1).bytes - 1
    small = plan(limit)
    assert small.grad_checkpointing
    assert 2 <= small.batch_size < BATCH
    assert small.bytes <= limit < plan(2**40, small.batch_size + 1).bytes
    assert plan(limit, small.batch_size) == small  # what was chosen is chosen again


def test_too_little_memory_raises() -> None:
    with raises("max_memory", "0.5 MiB", "0.8 MiB"):
        plan(2**19)


def test_without_batch_norms_one_image_is_enough() -> None:
    def chosen(limit: int, norm_layer: str) -> MemoryPlan:
        build = partial(make, norm_layer=norm_layer)
        return plan_memory(build, Classification(10), OptimConfig(), (3, SIDE, SIDE), batch_size=BATCH, limit=limit)

    one = plan_memory(
        lambda: checkpointed(make(norm_layer="group")),
        Classification(10),
        OptimConfig(),
        (3, SIDE, SIDE),
        batch_size=1,
        limit=2**40,
    ).bytes
    assert chosen(one, "group") == MemoryPlan(True, 1, one)
    with raises("max_memory"):
        chosen(one - 1, "group")
    with raises("max_memory"):
        chosen(one, "batch")


def checkpointed(network: nn.Module) -> nn.Module:
    network.set_grad_checkpointing()
    return network


def test_without_activation_checkpointing_the_batch_is_reduced() -> None:
    def chosen(limit: int) -> MemoryPlan:
        return plan_memory(
            lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * (SIDE - 2) ** 2, 10)),
            Classification(10),
            OptimConfig(),
            (3, SIDE, SIDE),
            batch_size=BATCH,
            limit=limit,
        )

    small = chosen(chosen(2**40).bytes - 1)
    assert not small.grad_checkpointing
    assert 2 <= small.batch_size < BATCH
    with raises("max_memory"):
        chosen(2**16)


def test_the_run_s_config_has_the_chosen_values(tiny: Callable[..., FitConfig]) -> None:
    config = tiny(epochs=1, max_memory="1MB")
    settled = RunDirectory(fit(config).run_dir).read_config()
    assert settled.grad_checkpointing
    assert 2 <= settled.batch_size < config.batch_size
    assert settled == replace(config, grad_checkpointing=True, batch_size=settled.batch_size, compile="none")


def test_averaged_weights_take_memory_of_their_own():
    plain, averaged = (
        plan_memory(
            make,
            Classification(10),
            OptimConfig(),
            (3, SIDE, SIDE),
            batch_size=4,
            limit=10**12,
            averaged=averaged,
        )
        for averaged in (False, True)
    )
    assert averaged.bytes - plain.bytes == pytest.approx(sum(t.nbytes for t in make().state_dict().values()), rel=0.01)


def test_an_optimizer_that_reads_values_cannot_be_planned():
    with raises("max_memory", "adamp"):
        plan_memory(make, Classification(10), OptimConfig("adamp", lr=0.1), (3, SIDE, SIDE), batch_size=4, limit=10**12)


def frozen_plan(parts: str | int, *, norms: bool = False, batch_size: int = 4, limit: int = 10**12) -> MemoryPlan:
    freezing = partial(freeze, "sparsenet_bc100_24", parts=parts, norms=norms)
    task = Classification(10)
    shape = (3, SIDE, SIDE)
    return plan_memory(make, task, OptimConfig(), shape, batch_size=batch_size, limit=limit, freeze=freezing)


def test_frozen_stages_need_less_memory() -> None:
    needed = [frozen_plan(parts).bytes for parts in ("none", 1, 2, "stages")]
    assert needed[0] == plan(10**12, 4).bytes
    assert needed == sorted(set(needed), reverse=True)


def test_frozen_stages_are_planned_as_they_train() -> None:
    network = make()
    for module in freeze("sparsenet_bc100_24", network.train(), 2, norms=False):
        module.eval()
    held = held_in_two_steps(network, BATCH)
    assert 0.95 < frozen_plan(2, batch_size=BATCH).bytes / held < 1.25


def test_a_single_image_is_enough_with_frozen_norms() -> None:
    one = frozen_plan("none", norms=True, batch_size=1).bytes
    assert frozen_plan("none", norms=True, limit=one).batch_size >= 1
    with raises("max_memory"):
        frozen_plan("none", limit=one)


def test_a_run_with_frozen_stages_has_a_larger_batch(tiny: Callable[..., FitConfig]) -> None:
    settled = [
        RunDirectory(fit(tiny(epochs=1, max_memory="1MB", freeze=parts)).run_dir).read_config()
        for parts in ("none", "stages")
    ]
    plain, frozen = ((not each.grad_checkpointing, each.batch_size) for each in settled)
    assert plain < frozen


def test_networks_that_do_not_support_activation_checkpointing_are_planned_without() -> None:
    build = partial(create_model, "vgg11", num_classes=10)
    with raises("max_memory"):
        plan_memory(build, Classification(10), OptimConfig(), (3, 32, 32), batch_size=4, limit=2**20)
