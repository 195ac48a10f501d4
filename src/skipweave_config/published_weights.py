"""Weights that others have published for registered models, as entries of timm's `pretrained_cfg`.

DenseNets have the layout of torchvision and timm there, which `from_densenet_layout` converts. Tags are timm's.
"""

from typing import Any

_TORCHVISION = "https://download.pytorch.org/models"


def _imagenet(hub_id: str, url: str = "", **entries: Any) -> dict[str, Any]:
    return dict(url=url, hf_hub_id=hub_id, license="apache-2.0", interpolation="bicubic", **entries)


#: Entries by model and tag; the first tag is the default.
PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {
    "densenet121_32": {
        "ra_in1k": _imagenet("timm/densenet121.ra_in1k", test_input_size=(3, 288, 288), test_crop_pct=0.95),
        "tv_in1k": _imagenet("timm/densenet121.tv_in1k", f"{_TORCHVISION}/densenet121-a639ec97.pth"),
    },
    "densenet169_32": {
        "tv_in1k": _imagenet("timm/densenet169.tv_in1k", f"{_TORCHVISION}/densenet169-b2777c0a.pth"),
    },
    "densenet201_32": {
        "tv_in1k": _imagenet("timm/densenet201.tv_in1k", f"{_TORCHVISION}/densenet201-c1103571.pth"),
    },
}
