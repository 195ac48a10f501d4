import copy

import pytest
import torch
from torch import nn

import skipweave
from skipweave.analysis.memory import peak_inference_bytes
from skipweave.ops.cpu import node_reading

PIXELS = 4 * 8 * 8  # bytes of a channel of an image of 8x8


def images(device="cpu"):
    return torch.zeros(1, 3, 8, 8, device=device)


def test_each_layer_frees_what_it_was_given():
    chain = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 7, 1), nn.Conv2d(7, 2, 1))
    assert peak_inference_bytes(chain, images()) == (5 + 7) * PIXELS


def test_images_weights_views_and_in_place_results_are_counted_once():
    layer = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten())
    assert peak_inference_bytes(layer, images()) == (4 + 4) * PIXELS
    assert peak_inference_bytes(nn.Flatten(), images()) == 0


def test_held_tensors_are_counted():
    class Holding(nn.Module):
        def forward(self, x):
            held = [x + 1, x + 2]
            held.append(x + 3)
            del held[:2]
            return held[0] + 1

    assert peak_inference_bytes(Holding(), images()) == 3 * 3 * PIXELS


@pytest.mark.parametrize(
    "name", ["sparsenet_bc100_24", "sparsenet_sum56", "logdensenet_v1_12_16", "logdensenet_v2_12_16"]
)
def test_peak_on_the_meta_device_equals_that_of_torch_operations(name, monkeypatch):
    model = skipweave.create_model(name, units=2)
    twin = copy.deepcopy(model).to("meta")
    expected = peak_inference_bytes(twin, images("meta"))
    assert 0 < peak_inference_bytes(model, images()) <= expected
    monkeypatch.setattr(node_reading, "layout", lambda *_: None)
    assert peak_inference_bytes(model, images()) == expected
    assert not model.training
