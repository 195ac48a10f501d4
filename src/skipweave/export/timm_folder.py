"""`config.json` and model card of a network for timm and the Hugging Face Hub."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import timm
from torch import nn

from skipweave.data import Preprocessing
from skipweave.models import list_models
from skipweave.training import Description
from skipweave_config.errors import SkipweaveError
from skipweave_config.model_table import COMPRESSION
from skipweave_config.printable import printable

_FROM_THE_NETWORK = ("first_conv", "classifier", "fixed_input_size")


def hub_config(network: nn.Module, description: Description) -> dict[str, Any]:
    """Build timm's `config.json` of a trained network.

    timm builds the network by its registered name and arguments, and preprocesses images by `pretrained_cfg`. It
    resizes with Pillow, not torch: resized pixels may differ by 1 of 255. timm has no value range for images of more
    than 8 bits; it is stored as `value_range`. If an image has any number of labels, so that probabilities are sigmoids
    of the logits, `problem_type` is `multi_label_classification`, as in transformers; timm does not use it.

    Args:
        network: Network whose `pretrained_cfg` names its first and last layer.
        description: Description of the network.

    Raises:
        SkipweaveError: timm cannot build the network, which was thinned after it was built or is not in its registry.
    """
    if not timm.is_model(description.model):
        raise SkipweaveError(
            f"timm has no model {description.model}: export it to ONNX, or share the weights file, which skipweave "
            "loads"
        )
    if thinned := [name for name in COMPRESSION if description.args.get(name) is not None]:
        raise SkipweaveError(
            f"timm cannot build {description.model} with {', '.join(thinned)}, as it was thinned after it was built: "
            "export it to ONNX, or share the weights file, which skipweave loads"
        )
    known: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    pretrained = {name: known[name] for name in _FROM_THE_NETWORK if known.get(name)}
    return {
        "architecture": description.model,
        "num_classes": len(description.classes),
        "label_names": list(description.classes),
        **({"problem_type": "multi_label_classification"} if description.multi_label else {}),
        **({"label_values": list(description.values)} if description.palette else {}),
        **({"value_range": list(images.range)} if (images := description.preprocessing).range else {}),
        **({"value_clip": True} if images.clip else {}),
        "model_args": dict(description.args),
        "pretrained_cfg": pretrained | _images(description.preprocessing, known["input_size"][1:]),
    }


def _images(preprocessing: Preprocessing, size: Sequence[int]) -> dict[str, Any]:
    """Preprocessing as timm's config; `size` is used for networks that accept any."""
    crop, resize = preprocessing.crop, preprocessing.resize
    return {
        "input_size": [preprocessing.channels, *(preprocessing.image_size or size)],
        "crop_pct": _crop_pct(crop, resize) if crop and resize else 1.0,
        "crop_mode": "center",
        "interpolation": "bilinear",
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }


def _crop_pct(crop: int, resize: int) -> float:
    """Timm's `crop_pct`: timm divides by it and rounds down, which must result in `resize`."""
    crop_pct = crop / resize
    while math.floor(crop / crop_pct) < resize:
        crop_pct = math.nextafter(crop_pct, 0)
    return crop_pct


def model_card(
    description: Description, parameters: int, metrics: Mapping[str, str], *, place: str = "hf-hub:USER/REPOSITORY"
) -> str:
    """Build the model card, `README.md` of a repository on the Hub.

    Args:
        description: Description of the network.
        parameters: Number of learnable parameters.
        metrics: Values with their units, by metric and split, and other facts; may be empty.
        place: Name under which timm and skipweave load the weights.
    """
    images = description.preprocessing
    size = f"{images.crop}x{images.crop} pixels" if images.crop else "any size"
    task = "image-segmentation" if description.palette else "image-classification"
    facts = {
        "network": f"`{_code(description.model)}`",
        "arguments": f"`{_code(json.dumps(dict(description.args)))}`",
        "trained on": f"`{_code(description.data)}`, {len(description.classes)} classes",
        **({"labels": "any number per image; probabilities are sigmoids"} if description.multi_label else {}),
        "parameters": f"{parameters:,}",
        "images": f"{'gray' if images.channels == 1 else f'{images.channels} channels'}, {size}",
        **_values(description),
        **metrics,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    ours = description.model.partition(".")[0] in list_models() or not timm.is_model(description.model)
    return _CARD.format(
        task=task,
        title=_code(description.model),
        table=table,
        loading=_LOADING[ours],
        imports="import skipweave\n" if ours else "",
        place=place,
    )


def _values(description: Description) -> dict[str, str]:
    """Values of images of more than 8 bits, and of masks."""
    facts = {}
    if limits := description.preprocessing.range:
        facts["values of images"] = (
            f"{limits[0]:g} to {limits[1]:g} are mapped to 0 to 1"
            f"{', others clipped' if description.preprocessing.clip else ''}, before mean and std (not in timm)"
        )
    if description.palette:
        pairs = zip(description.values, description.classes, strict=True)
        facts["values of masks"] = ", ".join(f"{value} `{_code(name)}`" for value, name in pairs)
    return facts


def _code(text: str) -> str:
    """Escape text for a code span in a table."""
    return printable(" ".join(text.split())).replace("`", "'").replace("|", "\\|")


_LOADING = {
    True: "timm loads the network after skipweave is imported, which registers the model",
    False: "The network is one of timm's",
}
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

{loading}:

```python
{imports}import timm

model = timm.create_model("{place}", pretrained=True).eval()
```

skipweave loads class names and preprocessing from the header of `model.safetensors`:

```bash
skipweave predict picture.png --model {place}
```
"""
