"""Apply each transform to networks of timm, torchvision and segmentation_models_pytorch.

Writes `docs/transforms_table.md`. The networks are small variants with random weights, run on small random images.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torchvision.models import detection, segmentation, video

import skipweave
from skipweave.transforms.compression.densify import add_links, draw_links, sparse_layers
from skipweave_config.errors import SkipweaveError

PAGE = Path(__file__).parents[1] / "docs" / "transforms_table.md"
REFUSED = "not supported"
_REASON_LENGTH = 150  # characters, of those that are printed


@dataclass(frozen=True)
class Network:
    """How a network is made, and the size of its images."""

    make: Callable[[], nn.Module]
    size: tuple[int, ...]


def _torchvision(name: str, side: int, **options: object) -> Network:
    return Network(lambda: torchvision.models.get_model(name, weights=None, **options), (3, side, side))


def _with_backbone(make: Callable[..., nn.Module], side: int, **options: object) -> Network:
    return Network(lambda: make(weights=None, weights_backbone=None, num_classes=5, **options), (3, side, side))


def _timm(name: str, side: int = 64, **options: object) -> Network:
    return Network(lambda: timm.create_model(name, num_classes=10, **options), (3, side, side))


def _smp(make: Callable[..., nn.Module], encoder: str = "resnet18", side: int = 64) -> Network:
    return Network(lambda: make(encoder, encoder_weights=None, classes=3), (3, side, side))


def _small_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10)


_SMALL = dict(min_size=32, max_size=64)
_FEW = dict(rpn_post_nms_top_n_test=20, box_detections_per_img=10)

NETWORKS: Mapping[str, Network] = {
    **{
        f"torchvision {name}": _torchvision(name, 64)
        for name in (
            "alexnet",
            "vgg11_bn",
            "resnet18",
            "resnext50_32x4d",
            "densenet121",
            "squeezenet1_1",
            "mobilenet_v2",
            "mobilenet_v3_small",
            "mnasnet0_5",
            "shufflenet_v2_x0_5",
            "efficientnet_b0",
            "regnet_y_400mf",
            "convnext_tiny",
            "swin_t",
        )
    },
    "torchvision googlenet": _torchvision("googlenet", 64, init_weights=False),
    "torchvision inception_v3": _torchvision("inception_v3", 299, init_weights=False),
    "torchvision vit, small": Network(_small_vit, (3, 32, 32)),
    "torchvision fcn_resnet50": _with_backbone(segmentation.fcn_resnet50, 64),
    "torchvision deeplabv3_mobilenet_v3_large": _with_backbone(segmentation.deeplabv3_mobilenet_v3_large, 64),
    "torchvision lraspp_mobilenet_v3_large": _with_backbone(segmentation.lraspp_mobilenet_v3_large, 64),
    "torchvision fasterrcnn_mobilenet_v3_large_320_fpn": _with_backbone(
        detection.fasterrcnn_mobilenet_v3_large_320_fpn, 96
    ),
    "torchvision ssdlite320_mobilenet_v3_large": _with_backbone(detection.ssdlite320_mobilenet_v3_large, 96),
    "torchvision retinanet_resnet50_fpn": _with_backbone(detection.retinanet_resnet50_fpn, 32, **_SMALL),
    "torchvision maskrcnn_resnet50_fpn": _with_backbone(detection.maskrcnn_resnet50_fpn, 32, **_SMALL, **_FEW),
    "torchvision r3d_18": Network(lambda: video.r3d_18(weights=None, num_classes=5), (3, 4, 32, 32)),
    "torchvision r2plus1d_18": Network(lambda: video.r2plus1d_18(weights=None, num_classes=5), (3, 4, 32, 32)),
    **{
        f"timm {name}": _timm(name)
        for name in (
            "resnet26d",
            "seresnet18",
            "resnetv2_50",
            "ecaresnet26t",
            "resnest14d",
            "res2net50_26w_4s",
            "skresnet18",
            "dla34",
            "densenet121",
            "efficientnet_lite0",
            "tf_efficientnet_b0",
            "mobilenetv3_small_050",
            "mixnet_s",
            "ghostnet_050",
            "repvgg_a0",
            "hrnet_w18_small",
            "nfnet_l0",
            "regnetx_002",
            "convnext_atto",
            "cspresnet50",
            "ese_vovnet19b_dw",
            "selecsls42b",
            "rexnet_100",
            "efficientvit_b0",
            "mobileone_s0",
            "lcnet_050",
            "dpn68",
            "poolformer_s12",
            "fastvit_t8",
            "mobilevit_xxs",
            "edgenext_xx_small",
        )
    },
    "timm xception41": _timm("xception41", 96),
    "timm inception_v4": _timm("inception_v4", 96),
    "timm levit_128s": _timm("levit_128s", 224),
    "timm deit_tiny_patch16_224": _timm("deit_tiny_patch16_224", 32, img_size=32),
    "timm swin_tiny_patch4_window7_224": _timm("swin_tiny_patch4_window7_224", 56, img_size=56),
    "smp Unet": _smp(smp.Unet),
    "smp Unet, timm's encoder": _smp(smp.Unet, "tu-mobilenetv3_small_050"),
    "smp UnetPlusPlus": _smp(smp.UnetPlusPlus),
    "smp FPN": _smp(smp.FPN),
    "smp Linknet": _smp(smp.Linknet),
    "smp MAnet": _smp(smp.MAnet),
    "smp PAN": _smp(smp.PAN, side=128),
    "smp DeepLabV3Plus": _smp(smp.DeepLabV3Plus),
    "smp Segformer": _smp(smp.Segformer, "mit_b0"),
}


def sparsify(model: nn.Module, size: tuple[int, ...]) -> tuple[str, nn.Module]:
    """Let convolutions read a tenth of their channels."""
    result = skipweave.sparsify(model, 0.1, seed=0, input_size=size)
    sparse = sum(layer.change.startswith("reads") for layer in result.layers)
    return f"{sparse} of {len(result.convolutions)} convolutions", result.model


def densify(model: nn.Module, size: tuple[int, ...]) -> tuple[str, nn.Module]:
    """Add links of weight 0 to the sparse network, after which it has to be the same function."""
    _, sparse = sparsify(model, size)
    images = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    before = _tensors(sparse.eval(), images)
    doubled = {name: min(2 * layer.fan_in, layer.in_channels) for name, layer in sparse_layers(sparse).items()}
    layers = len(list(add_links(sparse, draw_links(sparse, doubled), new="zero")))
    for one, other in zip(before, _tensors(sparse, images), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3 * one.abs().amax().item() if one.numel() else 0)
    return f"{layers} layers", sparse


def depth_multiplier(model: nn.Module, size: tuple[int, ...]) -> tuple[str, nn.Module]:
    """Make every layer half as wide."""
    result = skipweave.depth_multiplier(model, 0.5, input_size=size)
    before, after = result.macs
    return f"{100 * after / before:.0f} % of the MACs", result.model


def convert(model: nn.Module, size: tuple[int, ...]) -> tuple[str, nn.Module]:
    """Put SeqConv layers in the place of wide 3x3 convolutions."""
    result = skipweave.convert(model, input_size=size)
    return f"{len(result.replaced)} layers", result.model


def optimize_for_inference(model: nn.Module, size: tuple[int, ...]) -> tuple[str, nn.Module]:
    """Fold batch norms."""
    result = skipweave.optimize_for_inference(model, input_size=size)
    norms = len(result.folding.folded) + len(result.folding.left)
    return f"{len(result.folding.folded)} of {norms} batch norms" if norms else "no batch norms", result


TRANSFORMS: Mapping[str, Callable[[nn.Module, tuple[int, ...]], tuple[str, nn.Module]]] = {
    "sparsify": sparsify,
    "densify": densify,
    "depth_multiplier": depth_multiplier,
    "convert": convert,
    "optimize_for_inference": optimize_for_inference,
}


def outcome(name: str, transform: str) -> tuple[str, str]:
    """Transform a network: return what was done and an empty reason, or `REFUSED` and the reason."""
    network = NETWORKS[name]
    torch.manual_seed(0)
    try:
        return TRANSFORMS[transform](network.make(), network.size)[0], ""
    except SkipweaveError as error:
        reason = " ".join(str(error).split())
        long = len(reason) > _REASON_LENGTH
        return REFUSED, reason[:_REASON_LENGTH].rsplit(" ", 1)[0] + " ..." if long else reason


def page(outcomes: Mapping[str, Mapping[str, tuple[str, str]]]) -> str:
    """Format the page, given the outcome of each transform of each network."""
    versions = ", ".join(
        f"{package} {version(package).split('+')[0]}"
        for package in ("torch", "torchvision", "timm", "segmentation_models_pytorch")
    )
    lines = [
        "# What can be transformed",
        "",
        f"Each transform applied to {len(outcomes)} networks of timm, torchvision and segmentation_models_pytorch,",
        "small variants with random weights. A cell reports what was done:",
        "",
        "| transform | reported |",
        "|---|---|",
        "| `sparsify(model, 0.1)` | convolutions made sparse, of all that are not fully connected layers |",
        "| `densify` | layers of the sparse network that links were added to (`fit --densify.every`) |",
        "| `depth_multiplier(model, 0.5)` | multiply-accumulates (MACs) of the narrow network, in percent |",
        "| `convert(model)` | 3x3 convolutions replaced by SeqConv layers |",
        "| `optimize_for_inference(model)` | batch norms folded, of all batch norms |",
        "",
        "Every result was run beside the given network, with two batch sizes and, where the network accepts them,",
        "several image sizes. Structure, shapes and dtypes of the outputs are equal, and so are the values where the",
        "function stays the same: for `optimize_for_inference`, and for `densify` with new weights of 0. Where a",
        "network is not supported, the transform raises a `SkipweaveError`: see [the reasons](#reasons).",
        "",
        "Batch norms that are not folded read a map that others read too (as in pre-activation networks), or do not",
        "run in evaluation mode; `folding` of the result lists the reason for each.",
        "",
        "Written by `python -m benchmarks.transforms`; `make test-all` transforms the networks again and compares the",
        "cells.",
        f"Versions: {versions}.",
        "",
        f"| network | {' | '.join(f'`{transform}`' for transform in TRANSFORMS)} |",
        "|---" * (1 + len(TRANSFORMS)) + "|",
    ]
    for name, found in outcomes.items():
        lines.append(f"| {name} | {' | '.join(done for done, _ in found.values())} |")
    lines += ["", "## Reasons", ""]
    for name, found in outcomes.items():
        for transform, (_, reason) in found.items():
            if reason and not (transform == "densify" and found["sparsify"][1]):
                lines.append(f"- {name}, `{transform}`: {reason}")
    return "\n".join(lines) + "\n"


def rows(text: str) -> dict[str, list[str]]:
    """Read the cells of the table on a page, by network."""
    cells = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    )
    return {name: rest for name, *rest in cells if name in NETWORKS}


def _tensors(model: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [leaf for leaf in tree_leaves(model(images)) if isinstance(leaf, Tensor)]


def main() -> None:
    """Transform all networks and write the page."""
    outcomes = {}
    for name in NETWORKS:
        outcomes[name] = {transform: outcome(name, transform) for transform in TRANSFORMS}
        print(name, *(done for done, _ in outcomes[name].values()), sep=" | ", file=sys.stderr, flush=True)
    PAGE.write_text(page(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
