import pytest
import torch
from timm.layers import GroupNorm, GroupNorm1, LayerNorm2d
from torch import nn

from skipweave.layers import GroupNorm2d, NodeGroupNorm, NodeNorm, make_node_norm, make_norm
from tests.errors import raises


@pytest.mark.parametrize("width", range(1, 100))
def test_groups_divide_the_width_and_have_two_channels(width: int) -> None:
    groups = GroupNorm2d(width).num_groups
    possible = [count for count in range(1, 33) if width % count == 0 and width // count >= min(width, 2)]
    assert groups == max(possible)


@pytest.mark.parametrize(("name", "timm_class"), [("group", GroupNorm), ("layer", GroupNorm1)])
def test_equal_to_the_norm_of_timm(name: str, timm_class: type[nn.Module]) -> None:
    norm, theirs = make_norm(64, name), timm_class(64)
    assert norm.state_dict().keys() == theirs.state_dict().keys()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    theirs.load_state_dict(norm.state_dict())
    x = 3 * torch.randn(2, 64, 5, 5) + 1
    torch.testing.assert_close(norm(x), theirs(x))


def test_layer_norm_is_over_channels_and_positions() -> None:
    x = 3 * torch.randn(2, 6, 5, 4) + 1
    expected = torch.nn.functional.layer_norm(x, x.shape[1:])
    torch.testing.assert_close(make_norm(6, "layer")(x), expected)
    torch.testing.assert_close(make_node_norm(6, "layer")(x), expected)


@pytest.mark.parametrize(
    ("value", "norm", "node_norm", "groups"),
    [
        ("batch", nn.BatchNorm2d, NodeNorm, None),
        ("batchnorm2d", nn.BatchNorm2d, NodeNorm, None),
        (nn.BatchNorm2d, nn.BatchNorm2d, NodeNorm, None),
        ("group", GroupNorm2d, NodeGroupNorm, 6),
        ("groupnorm", GroupNorm2d, NodeGroupNorm, 6),
        (GroupNorm, GroupNorm2d, NodeGroupNorm, 6),
        ("layer", GroupNorm2d, NodeGroupNorm, 1),
        ("groupnorm1", GroupNorm2d, NodeGroupNorm, 1),
        (GroupNorm1, GroupNorm2d, NodeGroupNorm, 1),
    ],
)
def test_names_and_classes(value: object, norm: type, node_norm: type, groups: int | None) -> None:
    made, node = make_norm(12, value), make_node_norm(12, value)
    assert (type(made), type(node)) == (norm, node_norm)
    assert {getattr(part, "num_groups", None) for part in (made, node)} == {groups}
    assert len([*made.parameters()]) == 2
    assert not [*node.parameters()]
    assert not [*make_norm(12, value, affine=False).parameters()]


@pytest.mark.parametrize("value", ["layernorm2d", "instance", None, 3, ["group"], LayerNorm2d])
def test_other_norms_raise(value: object) -> None:
    with raises("norm_layer", repr(value), "'batch'", "'group'", "'layer'"):
        make_norm(4, value)
