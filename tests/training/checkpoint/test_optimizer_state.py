import pytest
import torch
from torch import nn

from skipweave.training.checkpoint.optimizer_state import pack, unpack


def trained(kind: type[torch.optim.Optimizer], **settings: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = kind(network.parameters(), **settings)
    for _ in range(2):
        optimizer.zero_grad()
        network(torch.randn(5, 3, 4, 4)).square().sum().backward()
        optimizer.step()
    return network, optimizer


@pytest.mark.parametrize(
    ("kind", "settings"), [(torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}), (torch.optim.AdamW, {"lr": 0.1})]
)
def test_state_comes_back_exactly(kind: type[torch.optim.Optimizer], settings: dict[str, float]):
    network, optimizer = trained(kind, **settings)
    names = [name for name, _ in network.named_parameters()]
    tensors, values, _ = pack(optimizer, names)
    assert all(name.partition("/")[0] in names for name in tensors)
    fresh = kind(network.parameters(), **settings)
    unpack(fresh, names, tensors, values)
    theirs, ours = optimizer.state_dict()["state"], fresh.state_dict()["state"]
    assert theirs.keys() == ours.keys()
    for index, state in theirs.items():
        assert all(torch.equal(torch.as_tensor(state[key]), torch.as_tensor(ours[index][key])) for key in state)


def test_moments_lie_in_memory_as_their_parameters_do():
    network, optimizer = trained(torch.optim.SGD, lr=0.1, momentum=0.9)
    names = [name for name, _ in network.named_parameters()]
    tensors, values, _ = pack(optimizer, names)
    unpack(optimizer, names, {name: tensor.contiguous() for name, tensor in tensors.items()}, values)
    for parameter, state in optimizer.state.items():
        assert state["momentum_buffer"].stride() == parameter.stride()


def test_a_fresh_optimizer_has_nothing_to_take_apart():
    network = nn.Linear(1, 1)
    assert pack(torch.optim.SGD(network.parameters(), lr=1), ["weight", "bias"]) == ({}, {}, [{}])
