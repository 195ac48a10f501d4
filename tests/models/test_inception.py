"""timm's Inception-V3 with its auxiliary tower as an early exit."""

import pytest
import timm
import torch
from timm.models.inception_v3 import InceptionV3

import skipweave
from skipweave.models.heads import all_heads, count_heads
from skipweave.training.auxiliary_heads import AllHeads

SIZE = (2, 3, 299, 299)


def test_the_heads_are_those_of_timm() -> None:
    """The same weights, statistics and logits; timm returns those of the last head first."""
    torch.manual_seed(0)
    theirs = timm.create_model("inception_v3", aux_logits=True, num_classes=3).eval()
    ours = skipweave.create_model("inception_v3", aux_logits=True, num_classes=3).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(SIZE)
    with torch.inference_mode():
        last, tower = theirs(x)
        heads = AllHeads(ours)(x)
        assert count_heads(ours) == len(heads) == 2
        torch.testing.assert_close((heads[1], heads[0]), (last, tower), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours(x), last, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_shapes_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = skipweave.create_model("inception_v3", aux_logits=True, num_classes=3)
        x = torch.empty(SIZE)
        assert model.train()(x).shape == (2, 3)
        assert [logits.shape for logits in all_heads(model, x)] == [(2, 3), (2, 3)]
        assert model.forward_features(x).shape == (2, 2048, 8, 8)
        model.reset_classifier(5)
        assert [logits.shape for logits in all_heads(model, x)] == [(2, 5), (2, 5)]
        narrow = skipweave.depth_multiplier(model, 0.1).model
        assert [logits.shape for logits in all_heads(narrow, x)] == [(2, 5), (2, 5)]


def test_without_the_tower_it_is_timms() -> None:
    with torch.device("meta"):
        model = skipweave.create_model("inception_v3")
    assert type(model) is InceptionV3
    assert count_heads(model) == 1
