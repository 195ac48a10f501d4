"""Who makes and who reads which map, in networks of a few lines."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipweave.errors import SkipweaveError
from skipweave.tracing.dataflow import Flow, data_flows
from skipweave.tracing.running import trials_of

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


def test_every_value_has_a_maker_and_readers() -> None:
    flow, _ = flows(Net(), nn.Conv2d, nn.BatchNorm2d, nn.ReLU)
    (first,) = flow.runs("first")
    assert flow.maker(first.reads[0]) is None
    (norm,) = flow.readers(first.makes[0])
    (relu,) = flow.readers(norm.makes[0])
    assert (norm.name, relu.name) == ("block.0", "block.1")
    assert relu.in_place
    assert relu.reads != relu.makes  # the same tensor, changed in place, is another value
    assert not any(step.in_place for step in (first, norm))
    assert flow.readers(relu.makes[0]) == flow.runs("second")  # dropout does nothing in evaluation mode
    (add,) = flow.readers(flow.runs("second")[1].makes[0])
    assert (add.name, add.is_module) == ("aten.add.Tensor", False)
    assert flow.maker(add.makes[0]) is add
    assert flow.shown == set(add.makes)


def test_what_a_whole_module_does_inside_is_not_looked_at() -> None:
    flow, _ = flows(Net(), nn.Conv2d, nn.Sequential, nn.ReLU)
    (first,) = flow.runs("first")
    (block,) = flow.readers(first.makes[0])
    assert block.name == "block"
    assert flow.runs("block.1") == ()


def test_every_method_has_a_flow_of_its_own() -> None:
    _, anytime = flows(Net(), nn.Conv2d)
    one, other = anytime.runs("first")
    assert set(one.makes) < anytime.shown
    (relu,) = anytime.readers(other.makes[0])
    assert anytime.shown == {*one.makes, *relu.makes}


def test_the_network_is_not_touched() -> None:
    model = Net().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flows(model, nn.Conv2d)
    assert model.training
    assert all(part.training and not part._forward_hooks for part in model.modules())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_images_that_it_cannot_take_are_named() -> None:
    with pytest.raises(SkipweaveError, match=r"first \(Conv2d\) cannot run for images of size \(4, 8, 8\)"):
        trials_of(Net(), (4, 8, 8))
