"""Segmentation networks."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import skipweave
from skipweave import topology
from tests.errors import raises

SMALL = dict(units=(1, 2, 1, 2, 1), growth=4)


def counts(name: str, **overrides: object) -> tuple[int, float]:
    """Parameters, and operations in G at 224x224 with all heads."""
    with torch.device("meta"):
        model = skipweave.create_model(name, **overrides).eval()
        image = torch.empty(1, 3, 224, 224)
    with FlopCounterMode(display=False) as counter:
        list(model.forward_anytime(image)) if hasattr(model, "forward_anytime") else model(image)
    return sum(p.numel() for p in model.parameters()), round(counter.get_total_flops() / 1e9, 4)


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("fc_densenet67", {}, (3_463_243, 41.8033)),
        ("fc_densenet103", {}, (9_322_091, 40.1451)),
        ("fc_logdensenet103", {}, (4_060_825, 42.4058)),
        ("fc_logdensenet103", dict(stem_width=48), (4_011_217, 40.2014)),
        ("fc_logdensenet103", dict(prune="none"), (4_718_665, 52.0130)),
        ("fc_logdensenet103_paper", {}, (4_608_097, 41.9117)),
        ("fc_logdensenet33", {}, (374_461, 10.2608)),
        ("fc_logdensenet103", dict(stem_width=48, reuse_down=False), (4_409_665, 40.4872)),
    ],
)
def test_counts(name: str, overrides: dict[str, object], expected: tuple[int, float]) -> None:
    assert counts(name, **overrides) == expected


@pytest.mark.parametrize("name", ["fc_densenet103", "fc_logdensenet103"])
@pytest.mark.parametrize("size", [(16, 16), (37, 51), (5, 8)])
def test_output_has_the_size_of_the_image(name: str, size: tuple[int, int]) -> None:
    model = skipweave.create_model(name, **SMALL, in_chans=2, num_classes=3)
    assert model(torch.randn(2, 2, *size)).shape == (2, 3, *size)


def test_patterns_of_fc_log_densenet_also_read_the_last_node_of_the_first_stage() -> None:
    sources = {
        name: skipweave.create_model("fc_logdensenet103", **SMALL, topology=name).stages.plan.topology.sources
        for name in ("exponential", "nearest")
    }
    assert [sources["exponential"](node) for node in (1, 2, 6)] == [(0,), (1, 0), (5, 4, 2, 1)]
    assert [sources["nearest"](node) for node in (1, 2, 6)] == [(0,), (1, 0), (5, 4, 3, 1)]


def test_fc_log_densenet_takes_a_topology_of_its_own_as_it_is() -> None:
    graph = topology.plain(7)
    assert skipweave.create_model("fc_logdensenet103", **SMALL, topology=graph).stages.plan.topology == graph


def test_blocks_of_fc_densenet_read_by_their_topology() -> None:
    model = skipweave.create_model("fc_densenet103", units=(3, 3, 3), growth=4, stem_width=5, topology="exponential")
    entries = [(5,), (17,), (12, 4, 4, 4, 5)]
    for block, entry in zip(model.blocks, entries, strict=True):
        assert [unit.read.widths for unit in block.units] == [entry, (4, *entry), (4, 4)]
    assert model.head.in_channels == 3 * 4 + sum(entries[2])
    assert model(torch.randn(1, 3, 12, 12)).shape == (1, 11, 12, 12)


def test_dropout_follows_units_and_transitions_down() -> None:
    model = skipweave.create_model("fc_logdensenet103", **SMALL, proj_drop_rate=0.2)
    dropped = {name.removesuffix(".body.drop") for name, part in model.named_modules() if isinstance(part, nn.Dropout)}
    downs = {f"stages.carries.{node}_to_{stage}" for stage in (1, 2) for node in model.stages.plan.carried(stage)}
    assert dropped == downs | {f"stages.units.{unit}" for unit in range(7)}


def test_heads_of_all_stages() -> None:
    model = skipweave.create_model("fc_logdensenet103", **SMALL).eval()
    x = torch.randn(1, 3, 37, 50)
    maps = list(model.forward_anytime(x))
    assert [tuple(m.shape[-2:]) for m in maps] == [(37, 50), (19, 25), (10, 13), (19, 25), (37, 50)]
    torch.testing.assert_close(maps[-1], model(x), rtol=0, atol=0)
    assert len(list(skipweave.create_model("fc_logdensenet103", **SMALL, heads="last").forward_anytime(x))) == 1


def test_nothing_after_a_head_is_computed() -> None:
    model = skipweave.create_model("fc_logdensenet103", **SMALL).eval()
    ran: list[nn.Module] = []
    for unit in model.stages.units:
        unit.register_forward_hook(lambda module, *_: ran.append(module))
    next(model.forward_anytime(torch.randn(1, 3, 16, 16)))
    assert len(ran) == 1


@pytest.mark.parametrize("overrides", [{}, dict(reuse_down=False, prune="birth")])
def test_checkpointing_changes_nothing(overrides: dict[str, object]) -> None:
    states = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = skipweave.create_model("fc_logdensenet103", **SMALL, **overrides, proj_drop_rate=0.2)
        model.set_grad_checkpointing(recompute)
        torch.manual_seed(1)
        loss = sum(scores.square().mean() for scores in model.forward_anytime(torch.ones(2, 3, 13, 17)))
        loss.backward()  # type: ignore[union-attr]
        states.append((loss, dict(model.named_buffers()), {n: p.grad for n, p in model.named_parameters()}))
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (dict(units=(1, 2)), ("units", (1, 2))),
        (dict(prune="some"), ("prune", "'some'")),
        (dict(topology="every", growth=0), ("'every'", "growth", 0)),
        (dict(topology="fractal", units=(1, 1, 1)), ("fractal", [2])),
    ],
)
def test_invalid_arguments_are_named(overrides: dict[str, object], named: tuple[object, ...]) -> None:
    with raises(*named):
        skipweave.create_model("fc_logdensenet103", **overrides)
