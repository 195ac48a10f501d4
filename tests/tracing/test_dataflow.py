"""Producers and readers of each value in small networks."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipweave.tracing.dataflow import Flow, data_flows, sizes_follow_values
from skipweave.tracing.replicas import trials_of
from tests.errors import raises

SIZE = (3, 8, 8)


class Net(nn.Module):
    """Two convolutions, the second one run twice, a ReLU in place and something inside something."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(3, 3, 1)
        self.block = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(inplace=True))
        self.asleep = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.block(x)
        return self.second(self.asleep(x)) + self.second(x)

    def forward_anytime(self, x: Tensor):
        yield self.first(x)
        yield F.relu(self.first(x))


def flows(model: nn.Module, *kinds: type[nn.Module]) -> tuple[Flow, ...]:
    return data_flows(model, trials_of(model, SIZE), lambda part: isinstance(part, kinds), variants=False)


def test_every_value_has_a_producer_and_readers() -> None:
    flow, _ = flows(Net(), nn.Conv2d, nn.BatchNorm2d, nn.ReLU)
    (first,) = flow.runs("first")
    assert flow.producer(first.reads[0]).name == "aten.clone.default"
    assert flow.producer(0) is None
    (norm,) = flow.readers(first.makes[0])
    (relu,) = flow.readers(norm.makes[0])
    assert (norm.name, relu.name) == ("block.0", "block.1")
    assert relu.in_place
    assert relu.reads != relu.makes  # the same tensor, changed in place, is another value
    assert not any(step.in_place for step in (first, norm))
    assert flow.readers(relu.makes[0]) == flow.runs("second")  # dropout does nothing in evaluation mode
    (add,) = flow.readers(flow.runs("second")[1].makes[0])
    assert (add.name, add.is_module) == ("aten.add.Tensor", False)
    assert flow.producer(add.makes[0]) is add
    assert flow.shown == set(add.makes)


def test_leaf_modules_are_single_operations() -> None:
    flow, _ = flows(Net(), nn.Conv2d, nn.Sequential, nn.ReLU)
    (first,) = flow.runs("first")
    (block,) = flow.readers(first.makes[0])
    assert block.name == "block"
    assert flow.runs("block.1") == ()


def test_every_method_has_its_own_flow() -> None:
    _, anytime = flows(Net(), nn.Conv2d)
    one, other = anytime.runs("first")
    assert set(one.makes) < anytime.shown
    (relu,) = anytime.readers(other.makes[0])
    assert anytime.shown == {*one.makes, *relu.makes}


def test_the_network_is_unchanged() -> None:
    model = Net().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flows(model, nn.Conv2d)
    assert model.training
    assert all(part.training and not part._forward_hooks for part in model.modules())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_unsupported_image_sizes() -> None:
    with raises("first", "Conv2d", (4, 8, 8)):
        trials_of(Net(), (4, 8, 8))


class Leaving(nn.Module):
    """Lets a map leave as `leave` says."""

    def __init__(self, leave: Any) -> None:
        super().__init__()
        self.leave = leave
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.register_buffer("buffer", torch.zeros(3))

    def forward(self, x: Tensor) -> Any:
        raw = self.first(x)
        return self.leave(self, raw, self.second(raw))


class Holder:
    def __init__(self, held: Tensor) -> None:
        self.held = held


def _set(net: Leaving, name: str, value: Any, returned: Any) -> Any:
    setattr(net, name, value)
    return returned


def _cyclic(x: Tensor) -> list[Any]:
    ring: list[Any] = [x]
    ring.append(ring)
    return ring


HELD: list[Tensor] = []
WAYS: dict[str, tuple[Any, bool]] = {  # and whether the raw map leaves
    "not": (lambda net, raw, made: made, False),
    "tuple": (lambda net, raw, made: (made, raw), True),
    "object": (lambda net, raw, made: [made, Holder(raw)], True),
    "attribute of an object": (lambda net, raw, made: _set(net, "holder", Holder(raw), made), True),
    "attribute": (lambda net, raw, made: _set(net, "kept", raw, made), True),
    "view": (lambda net, raw, made: (made, raw[:, :1]), True),  # a view holds what it is a view of
    "closure": (lambda net, raw, made: (made, lambda: raw), True),
    "global": (lambda net, raw, made: (HELD.append(raw), made)[1], True),
    "cycle": (lambda net, raw, made: (made, _cyclic(raw)), True),
    "garbage": (lambda net, raw, made: (_cyclic(raw), made)[1], False),
}


@pytest.mark.parametrize("name", WAYS)
def test_outputs_in_every_container(name: str) -> None:
    HELD.clear()
    leave, leaves = WAYS[name]
    for model in (Leaving(leave), Leaving(leave).requires_grad_(False)):
        (flow,) = flows(model, nn.Conv2d)
        (raw,), (made,) = flow.runs("first")[0].makes, flow.runs("second")[0].makes
        assert made in flow.shown
        assert (raw in flow.shown) == leaves
        assert len(flow.shown) == 1 + leaves + (name == "view")


def test_written_buffers_are_outputs() -> None:
    (flow,) = flows(Leaving(lambda net, raw, made: (net.buffer.copy_(raw.mean((0, 2, 3))), made)[1]), nn.Conv2d)
    written = [flow.producer(value).name for value in flow.shown]
    assert sorted(written) == ["aten.copy_.default", "second"]


def test_hooked_tensors_are_outputs_and_hooks_do_not_run() -> None:
    fired: list[str] = []
    for name, register in (("first", "register_forward_hook"), ("second", "register_forward_pre_hook")):
        model = Leaving(WAYS["not"][0])
        getattr(model.get_submodule(name), register)(lambda *_: fired.append("hook"))
        (flow,) = flows(model, nn.Conv2d)
        assert set(flow.runs("first")[0].makes) <= flow.shown
    assert fired == []


def test_in_place_changes_through_views_create_new_values() -> None:
    class Through(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            out = torch.empty_like(x)
            whole = self.first(x)
            whole[:, :1].relu_()
            out[:, 1:] = whole[:, 1:]
            return self.second(whole) + out

    (flow,) = flows(Through(), nn.Conv2d)
    (first,), (second,) = flow.runs("first"), flow.runs("second")
    relu = flow.producer(second.reads[0])
    assert (relu.name, relu.in_place) == ("aten.relu_.default", True)
    assert first.makes[0] in relu.reads
    (total,) = flow.shown
    (copy,) = {flow.producer(value) for value in flow.producer(total).reads} - {second}
    assert (copy.name, copy.in_place) == ("aten.copy_.default", True)


def test_parameters_used_outside_their_module() -> None:
    class Borrowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own, self.lent = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(self.lent(self.own(x)), self.lent.weight)

    (flow,) = flows(Borrowing(), nn.Conv2d)
    assert flow.shared == {"lent"}


def test_data_dependent_sizes() -> None:
    class Chosen(nn.Module):
        def __init__(self, choose: bool) -> None:
            super().__init__()
            self.conv, self.choose = nn.Conv2d(3, 3, 1), choose
            self.table = torch.ones(3, 1, 1)  # on the CPU: where sizes alone are followed, it is not

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x) * float(self.table.sum())
            return y[y > 0] if self.choose else y * (y > 0)

    for choose in (False, True):
        model = Chosen(choose)
        trials = trials_of(model, SIZE)
        assert trials.device is None
        assert sizes_follow_values(model, trials) == choose
    assert trials_of(Net(), SIZE).device == "meta"
    assert not sizes_follow_values(Net(), trials_of(Net(), SIZE))


def test_every_accepted_size_has_a_flow() -> None:
    class Choosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.small, self.large = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] % 2:
                raise ValueError("odd")
            return self.small(x) if x.shape[-1] < 16 else self.large(x)

    model = Choosy()
    found = data_flows(model, trials_of(model, SIZE), lambda part: isinstance(part, nn.Conv2d))
    assert [[step.name for step in flow.steps if step.is_module] for flow in found] == [["small"], ["small"], ["large"]]
