"""Small networks of every family with non-initial running statistics."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from skipweave.data import Preprocessing
from skipweave.training import Description
from skipweave.training.model_building import build_network

CLASSES = ("heron", "stork", "ibis", 'a, "b" {c} | d `e` é')
EXITS = dict(heads="stages")
FOUR = dict(units=(2, 3, 2, 2), growth=4, stem_width=8)
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "densenet": ("densenet40_12", dict(units=3, growth=4)),
    "densenet_bc": ("densenet_bc100_12", dict(units=3, growth=4)),
    "densenet, imagenet": ("densenet121_32", FOUR),
    "densenet, dilated": ("densenet121_32", dict(output_stride=8, **FOUR)),
    "sparsenet": ("sparsenet40_24", dict(units=3, growth=4, **EXITS)),
    "sparsenet, given topology": ("sparsenet40_24", dict(units=1, growth=2, topology=[[0], [0, 1]])),
    "sparsenet, imagenet": ("sparsenet201_48", dict(FOUR, units=(2, 4, 2, 2))),
    "sparsenet, group norm": ("sparsenet40_24", dict(units=3, growth=4, norm_layer="group", **EXITS)),
    "sparsenet, sparse": ("sparsenet40_24", dict(units=2, growth=8, sparsify={"density": 0.3})),
    "sparsenet, sparse in blocks": (
        "sparsenet40_24", dict(units=2, growth=8, sparsify=dict(density=0.3, pattern="block"))
    ),
    "resnet": ("preact_resnet110", dict(units=2, widths=(4, 8, 12), **EXITS)),
    "resnet, narrower": ("preact_resnet110", dict(units=2, widths=(4, 8, 12), depth_multiplier=0.5)),
    "sparsenet_sum": ("sparsenet_sum110", dict(units=3, widths=(4, 8, 12), **EXITS)),
    "log v1": ("logdensenet_v1_12_16", dict(units=3, growth=4, **EXITS)),
    "loglog": ("loglogdensenet_12_32", dict(units=3, growth=4, hub_multiplier=3)),
    "log v2": ("logdensenet_v2_12_16", dict(units=3, growth=4, **EXITS)),
    "deluge": ("delugenet146", dict(units=2, widths=(2, 4, 6), **EXITS)),
    "deluge, plain": ("delugenet146", dict(units=2, widths=(2, 4, 6), cross="plain")),
    "deluge, layer norm": ("delugenet146", dict(units=2, widths=(2, 4, 6), norm_layer="layer")),
    "deluge, imagenet": ("delugenet92", dict(units=(2, 1, 2, 1), widths=(2, 4, 6, 8))),
    "seqresnet": ("seqresnet_k8_r4_n1", dict(group_size=4, widening=1, **EXITS)),
    "seqresnet, group norm": ("seqresnet_k8_r4_n1", dict(group_size=4, widening=1, norm_layer="group")),
    "seqresnet_b": ("seqresnet_b_k16_r7_n1", dict(group_size=8, widening=1)),
    "seqresnext": ("seqresnext24", dict(units=1, group_size=8, subgroups=2, widths=(8, 16, 24, 32))),
    "vgg": ("vgg16n", dict(widths=(4, 6, 8, 12, 16), hidden=(20,))),
    "fast": ("sparsenet_fast_64", dict(growth=4, **EXITS)),
    "fast, sums": ("resnet9_fast", dict(growth=(4, 6, 8))),
    "fractal": ("fractalnet20", dict(units=3, widths=(4, 6, 8))),
    "resnet, basic": ("resnet110", dict(units=2, widths=(4, 6, 8))),
    "hardnet": ("hardnet68", dict(units=(2, 3), growth=4, widths=(8, 12), strides=(4, 8), stem_widths=(4, 8))),
    "vgg, sparse and narrower": (
        "vgg16n", dict(widths=(4, 6, 8, 12, 16), hidden=(20,), depth_multiplier=0.5, sparsify=0.5)
    ),
    "no batch norms": ("tutorial_cifar10", dict(widths=(4, 6), hidden=(8, 8), norm_layer="none")),
    "timm's": ("test_resnet", {}),
    "fc_densenet": ("fc_densenet103", dict(units=(1, 2, 2, 2, 1), growth=4, stem_width=6)),
    "fc_logdensenet": ("fc_logdensenet103", dict(units=(1, 2, 1, 1, 1), growth=4)),
    "fc_logdensenet, group norm": (
        "fc_logdensenet103", dict(units=(1, 2, 1, 1, 1), growth=4, norm_layer="group")
    ),
}  # fmt: skip
LABEL_PIXELS = ("fc_densenet", "fc_logdensenet", "fc_logdensenet, group norm")
THINNED = tuple(name for name, (_, args) in NETWORKS.items() if {"sparsify", "depth_multiplier"} & args.keys())

Trained = tuple[nn.Module, Description]


def trained(name: str) -> Trained:
    """A network of the table and its description: color images of 32x32 pixels, or of any size for segmentation."""
    model, args = NETWORKS[name]
    args = {**args, "num_classes": len(CLASSES), "in_chans": 3}
    whole = Preprocessing(channels=3, resize=None, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    cropped = replace(whole, resize=36, crop=32)
    if name in LABEL_PIXELS:
        palette = tuple((shade, 0, 0) for shade in range(len(CLASSES) + 1))
        description = Description(model, args, "streets", CLASSES, whole, palette)
    else:
        description = Description(model, args, "birds", CLASSES, cropped)
    torch.manual_seed(0)
    network = build_network(model, args)
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(4, 3, 32, 32))
    return network.eval(), description


def quick(*names: str) -> list[Any]:
    """All names of the table; others than the given ones are slow."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
