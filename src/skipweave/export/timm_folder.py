"""What stands beside a network's weights in a folder that timm loads and the Hugging Face hub shows."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from skipweave.data import Preprocessing, WholeImage
from skipweave.errors import SkipweaveError
from skipweave.training import Description
from skipweave.transforms import THINNING
from skipweave_config.printable import printable

_FROM_THE_NETWORK = ("first_conv", "classifier", "fixed_input_size")


def hub_config(network: nn.Module, description: Description) -> dict[str, Any]:
    """Describe a trained network to timm: `config.json` of a repository on the hub.

    timm builds the network again by its registered name and arguments, and `pretrained_cfg` tells it what images go
    through. timm resizes images by Pillow, not by torch: where sizes differ, pixels differ by up to one of 255. Of
    images of more than 8 bits timm knows no range: it stands in `value_range`, for whoever reads them.

    Args:
        network: Whose `pretrained_cfg` names its first and last layer.
        description: Of the network.

    Raises:
        SkipweaveError: A name and arguments of timm's do not make the network, as it was thinned after it was built.
    """
    if thinned := [name for name in THINNING if description.args.get(name) is not None]:
        raise SkipweaveError(
            f"timm cannot build {description.model} with {', '.join(thinned)}: the network was thinned after it was "
            "built; export it to onnx, or share the file of weights alone, which skipweave reads"
        )
    known: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    pretrained = {name: known[name] for name in _FROM_THE_NETWORK if known.get(name)}
    return {
        "architecture": description.model,
        "num_classes": len(description.classes),
        "label_names": list(description.classes),
        **({"label_values": list(description.values)} if description.palette else {}),
        **({"value_range": list(images.range)} if (images := description.preprocessing).range else {}),
        "model_args": dict(description.args),
        "pretrained_cfg": pretrained | _images(description.preprocessing, known["input_size"][1:]),
    }


def _images(preprocessing: Preprocessing | WholeImage, size: Sequence[int]) -> dict[str, Any]:
    """What images go through, in timm's words; `size` is told of networks that take any."""
    share = 1.0
    if isinstance(preprocessing, Preprocessing):
        size = (preprocessing.crop, preprocessing.crop)
        share = _share(preprocessing.crop, preprocessing.resize)
    return {
        "input_size": [preprocessing.channels, *size],
        "crop_pct": share,
        "crop_mode": "center",
        "interpolation": "bilinear",
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }


def _share(crop: int, resize: int) -> float:
    """The share of the shorter side that is cropped, such that timm, which divides and rounds down, gets that side."""
    share = crop / resize
    while math.floor(crop / share) < resize:
        share = math.nextafter(share, 0)
    return share


def model_card(description: Description, parameters: int, errors: Mapping[str, float]) -> str:
    """Tell people what the network is and how to load it: `README.md` of a repository on the hub.

    Args:
        description: Of the network.
        parameters: Learnable ones.
        errors: In percent, by split; of label maps what the mean intersection over union lacks to 100. May be empty.
    """
    images = description.preprocessing
    size = f"{images.crop}x{images.crop} pixels" if isinstance(images, Preprocessing) else "any size"
    task = "image-segmentation" if description.palette else "image-classification"
    measure = "100 - mean IoU" if description.palette else "error"
    facts = {
        "network": f"`{_code(description.model)}`",
        "arguments": f"`{_code(json.dumps(dict(description.args)))}`",
        "trained on": f"`{_code(description.data)}`, {len(description.classes)} classes",
        "parameters": f"{parameters:,}",
        "images": f"{'gray' if images.channels == 1 else f'{images.channels} channels'}, {size}",
        **_values(description),
        **{f"{measure}, {split} images": f"{error:.2f} %" for split, error in errors.items()},
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return _CARD.format(task=task, title=_code(description.model), table=table)


def _values(description: Description) -> dict[str, str]:
    """What the values of images and masks are, where they are not the usual ones."""
    facts = {}
    if limits := description.preprocessing.range:
        facts["values of images"] = f"{limits[0]:g} to {limits[1]:g} become 0 to 1, before mean and std (not in timm)"
    if description.palette:
        pairs = zip(description.values, description.classes, strict=True)
        facts["values of masks"] = ", ".join(f"{value} `{_code(name)}`" for value, name in pairs)
    return facts


def _code(text: str) -> str:
    """What a file says, as it may stand between two backticks in a table."""
    return printable(" ".join(text.split())).replace("`", "'").replace("|", "\\|")


_CARD = """\
---
library_name: timm
pipeline_tag: {task}
tags:
- {task}
- timm
- skipweave
---

# {title}

| | |
|---|---|
{table}

timm loads the weights in `model.safetensors` once skipweave is imported, which knows the network:

```python
import skipweave
import timm

model = timm.create_model("hf-hub:USER/REPOSITORY", pretrained=True).eval()
```

or by skipweave itself, which reads names of classes and preprocessing from the header of that file:

```bash
skipweave predict picture.png --model hf-hub:USER/REPOSITORY
```
"""
