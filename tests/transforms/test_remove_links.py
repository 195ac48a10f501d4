"""`remove_links`: the smaller network computes what the larger one does with zero weights on the removed links."""

import pytest
import torch
from torch import nn

from skipweave.models import create_model
from skipweave.topology import Link
from skipweave.transforms import remove_links, sparsify
from skipweave.transforms.node_readers import readers
from tests.errors import raises

NETWORKS = {
    "densenet": ("densenet40_12", dict(units=4, growth=3)),
    "densenet-bc": ("densenet_bc100_12", dict(units=3, growth=2, heads=[2, 4])),
    "sparsenet": ("sparsenet40_12", dict(units=(5, 4, 4), growth=(2, 3, 4))),
    "sparsenet-imagenet": ("sparsenet121_32", dict(units=(4, 4, 4, 3), growth=2, stem_width=4, head_grid=1)),
    "log-densenet-v1": ("logdensenet_v1_12_16", dict(units=(4, 5, 4), growth=3)),
    "log-densenet-v1, exits, all carried": (
        "logdensenet_v1_12_16",
        dict(units=3, growth=2, heads="stages", prune="none", bottleneck=True),
    ),
    "loglog": ("loglogdensenet_12_32", dict(units=3, growth=2)),
    "log-densenet-v2": ("logdensenet_v2_12_16", dict(units=(5, 4, 4), growth=2)),
    "fc-log-densenet": ("fc_logdensenet103", dict(units=(2, 4, 2), growth=2)),
    "delugenet": ("delugenet146", dict(units=4, widths=(2, 3, 4))),
    "delugenet-plain": ("delugenet146", dict(units=(3, 4, 4), widths=2, cross="plain")),
    "delugenet-sparse": ("delugenet146", dict(units=(6, 5, 5), widths=2, topology="exponential")),
}


def builder(name, arguments):
    return lambda topology: create_model(name, **{**arguments, "topology": topology})


def trained(name, arguments) -> nn.Module:
    """A network in float64 whose norm scales, norm shifts and running statistics differ from their initial values."""
    torch.manual_seed(0)
    model = create_model(name, **arguments).double()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim <= 2:
            tensor += 0.3 * torch.rand_like(tensor)
    return model


def every_other_link(model) -> list[Link]:
    """Every other removable source of each reader, without the newest sources it requires."""
    return [
        Link(reader.stage, reader.node, source)
        for reader in readers(model)
        if not reader.shared
        for source in reader.sources[reader.min_sources :: 2]
    ]


def zero_links(model, links) -> None:
    """Set the weights of links to exactly 0."""
    zeroed = set(links)
    for reader in readers(model):
        places = [place for place, s in enumerate(reader.sources) if (reader.stage, reader.node, s) in zeroed]
        if reader.cross:
            reader.cross[1].weight.data[places] = 0.0
            continue
        parts = reader.convolution[1].weight.data.split(reader.concat.widths, dim=1)
        for place in places:
            parts[place].zero_()


def outputs_and_gradients(model, images):
    images = images.clone().requires_grad_()
    logits = torch.cat([head.flatten() for head in model.forward_anytime(images)])
    (logits * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype)).sum().backward()
    return logits.detach(), images.grad


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(("name", "arguments"), NETWORKS.values(), ids=NETWORKS)
def test_removing_links_of_zero_weight_keeps_outputs_and_gradients(name, arguments, train):
    model = trained(name, arguments).train(train)
    links = every_other_link(model)
    assert links
    zero_links(model, links)
    result = remove_links(model, links, builder(name, arguments))
    assert result.removed == tuple(sorted(links))
    smaller = result.model
    assert smaller.training == train
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())
    images = torch.randn(3, 3, 64 if "121" in name else 16, 64 if "121" in name else 16, dtype=torch.float64)
    expected, actual = outputs_and_gradients(model, images), outputs_and_gradients(smaller, images)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    full = dict(model.named_parameters())
    for weight, parameter in smaller.named_parameters():
        if parameter.shape == full[weight].shape and parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, full[weight].grad, rtol=1e-8, atol=1e-8)
    buffers = dict(model.named_buffers())
    for statistic, value in smaller.named_buffers():
        torch.testing.assert_close(value, buffers[statistic], rtol=1e-9, atol=1e-9)


def test_remaining_parameters_keep_their_bits():
    name, arguments = "densenet40_12", dict(units=2, growth=2, stem_width=3)
    model = trained(name, arguments)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    result = remove_links(model, [Link(0, 2, 0)], builder(name, arguments))
    assert result.topology == [[[0], [1], [2, 1, 0]], *[[[0], [1, 0], [2, 1, 0]]] * 2]
    assert result.unread == ()
    after = result.model.state_dict()
    unit = "stages.0.units.1"
    torch.testing.assert_close(after.pop(f"{unit}.read.weight"), before[f"{unit}.read.weight"][:2], rtol=0, atol=0)
    torch.testing.assert_close(after.pop(f"{unit}.read.bias"), before[f"{unit}.read.bias"][:2], rtol=0, atol=0)
    torch.testing.assert_close(after.pop(f"{unit}.body.conv.weight"), before[f"{unit}.body.conv.weight"][:, :2])
    for key, tensor in after.items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0)
    result.model.stem.conv.weight.data.zero_()
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)  # nothing is shared


def test_carries_without_readers_are_removed():
    name, arguments = "logdensenet_v1_12_16", dict(units=(2, 3, 2), growth=1)
    model = create_model(name, **arguments)
    assert "0_to_1" in model.stages.carries
    smaller = remove_links(model, [Link(0, 4, 0)], builder(name, arguments)).model
    assert set(model.stages.carries) - set(smaller.stages.carries) == {"0_to_1"}


def test_nodes_without_readers_are_reported():
    name, arguments = "sparsenet40_12", dict(units=3, growth=1, topology=[[0], [0, 1], [0, 2], [3]])
    model = create_model(name, **arguments)
    result = remove_links(model, [Link(1, 2, 1)], builder(name, arguments))
    assert result.unread == ((1, 1),)
    assert len(result.model.stages[1].units) == 3


@pytest.mark.parametrize(
    ("name", "link", "value"),
    [
        ("densenet", Link(0, 2, 2), "node 2"),
        ("densenet", Link(0, 1, 0), "node 1"),
        ("densenet", Link(3, 1, 0), "3"),
        ("densenet", Link(0, 5, 0), "node 5"),
        ("log-densenet-v1", Link(0, 4, 2), "node 4"),
        ("delugenet", Link(1, 2, 0), "node 2"),
    ],
)
def test_links_that_cannot_be_removed(name, link, value):
    model = create_model(NETWORKS[name][0], **NETWORKS[name][1])
    with raises(value):
        remove_links(model, [link], builder(*NETWORKS[name]))


@pytest.mark.parametrize(("keep", "removable"), [(["stem*", "*conv2"], False), (["stem*", "*conv1"], True)])
def test_only_dense_convolutions_lose_links(keep, removable):
    def build(topology):
        model = create_model("densenet_bc100_12", units=2, growth=4, topology=topology)
        return sparsify(model, 0.5, keep=keep, seed=1, input_size=(3, 8, 8)).model

    model, links = build("dense"), [Link(0, 2, 0), Link(1, 2, 0)]
    if removable:
        assert remove_links(model, links, build).removed == tuple(links)
        return
    with raises("node 2", "stages.0.units.1.body.conv1", "channel-sparse"):
        remove_links(model, links, build)


def test_a_builder_of_another_architecture_is_rejected():
    model = create_model("sparsenet40_12", units=2, growth=2)
    with raises("stem.conv.weight"):
        remove_links(model, [], builder("sparsenet40_12", dict(units=2, growth=3)))


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("fc_densenet103", {}, "FCDenseNet"),
        ("delugenet146", dict(cross="sum"), "DelugeNet"),
        ("preact_resnet56", {}, "SparseSumNet"),
        ("loglogdensenet_12_32", dict(hub_multiplier=3), "hubs"),
    ],
)
def test_other_networks_are_rejected(name, arguments, value):
    with torch.device("meta"):
        model = create_model(name, **arguments)
    with raises(value):
        remove_links(model, [], builder(name, arguments))
