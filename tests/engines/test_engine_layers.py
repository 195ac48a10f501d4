"""Networks in the layers of engines compute the same."""

import pytest
import torch
from torch import nn

import skipweave
from skipweave.engines.engine_layers import ConcatNorm, engine_form
from skipweave.engines.grouped_conv import GroupedConv
from skipweave.layers import ChannelSparseConv2d, ConcatRead


@pytest.mark.parametrize("widths", [(5,), (4, 3, 6)])
def test_a_reader_as_a_batch_norm(widths: tuple[int, ...]):
    read = ConcatRead(widths)
    with torch.no_grad():
        read.weight.uniform_(-2, 2)
        read.bias.uniform_(-1, 1)
    nodes = [torch.randn(2, width, 4, 5) for width in widths]
    with torch.inference_mode():
        torch.testing.assert_close(ConcatNorm(read)(*nodes), read(*nodes), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(kernel_size=3, padding=1),
        dict(kernel_size=3, stride=2, padding=1, bias=False),
        dict(kernel_size=(1, 3), padding=(0, 2), dilation=2),
        dict(kernel_size=3, padding="same", padding_mode="reflect"),
    ],
)
def test_blocks_as_a_gather_and_a_grouped_convolution(arguments: dict):
    layer = ChannelSparseConv2d(24, 32, density=0.5, pattern="block", block=8, seed=1, **arguments)
    images = torch.randn(2, 24, 9, 7)
    with torch.inference_mode():
        torch.testing.assert_close(GroupedConv(layer)(images), layer.to_dense()(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("sparsify", "kind"),
    [
        (dict(density=0.5, pattern="block", block=8), GroupedConv),
        (dict(density=0.5, pattern="block", block=4), nn.Conv2d),
        (dict(density=0.5), nn.Conv2d),
    ],
)
def test_the_form_of_channel_sparse_convolutions_depends_on_the_size_of_blocks(sparsify: dict, kind: type):
    dense = skipweave.create_model("vgg16n", widths=(16,) * 5, hidden=(16,)).eval()
    network = skipweave.sparsify(dense, **sparsify).model
    form = engine_form(network, (3, 32, 32))
    sparse = {name for name, part in network.named_modules() if isinstance(part, ChannelSparseConv2d)}
    first, *others = [type(part) for name, part in form.named_modules() if name in sparse]
    assert first is nn.Conv2d  # its gather is folded into the stem
    assert set(others) == {kind}
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(form(images), network(images), rtol=0, atol=1e-5)
