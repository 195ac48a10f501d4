"""A run's model as weights that ship with the package: float16, measured, with timm's config and a model card."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from hashlib import sha256
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from skipweave.data import ClassificationData
from skipweave.engines import EngineNet, check_formats, load_openvino, model_files
from skipweave.export.exported_network import to_onnx
from skipweave.export.timm_folder import hub_config, model_card
from skipweave.inference.calibration import calibration_images
from skipweave.inference.evaluation import Outputs, evaluate_images
from skipweave.models import arguments_of, list_models
from skipweave.models.registry import network_of
from skipweave.training import METRICS, Description, RunSummary
from skipweave.training.model_building import count_parameters
from skipweave.training.run.loading import RunImages
from skipweave.training.tasks.metrics import TOP1_ERROR
from skipweave.training.tasks.task import Data
from skipweave_config.errors import SkipweaveError
from skipweave_config.recipe import TestTimeAugmentation
from skipweave_config.shipped_weights import ENTRY, SAMPLE, Facts, Result

LICENSE = "apache-2.0"

DATA_TERMS = {
    "digits": "Optical Recognition of Handwritten Digits, UCI Machine Learning Repository; CC BY 4.0",
    "mnist": "MNIST, LeCun, Cortes and Burges; CC BY-SA 3.0",
    "cifar10": "CIFAR-10, Krizhevsky 2009; no license is stated; cite the technical report",
    "cifar100": "CIFAR-100, Krizhevsky 2009; no license is stated; cite the technical report",
    "svhn": "SVHN, Netzer et al. 2011; non-commercial use only",
    "camvid": "CamVid, Brostow, Fauqueur and Cipolla 2008; personal and research use only",
    "imagenet": "ImageNet, ILSVRC 2012; non-commercial research and education only",
}
"""Origin and terms of use of named datasets."""

_SAMPLE_SIZE = 20  # images of each class

_FREE = ("num_classes", "in_chans", "drop_rate")  # arguments in which a run may differ from the registered model


def as_registered(description: Description) -> Description:
    """A run's description by the registered name that stands for its model, so that its weights load by name.

    It is the run's own, or another of the family: that of a study's network with arguments may be registered too.

    Raises:
        SkipweaveError: The model is not one of skipweave's, or no name is registered with its arguments.
    """
    name = description.model
    if name not in list_models():
        raise SkipweaveError(f"the run's model is {name}: expected one that `skipweave models` lists")
    network, free = network_of(name), {key: value for key, value in description.args.items() if key in _FREE}
    wanted = _fixed(name, description.args)
    for each in (name, *(each for each in list_models() if network_of(each) is network)):
        if _fixed(each, {}) == wanted:
            return replace(description, model=each, args=free)
    usual = _fixed(name, {})
    other = {key: value for key, value in wanted.items() if usual.get(key) != value}
    raise SkipweaveError(
        f"the run's model is {name} with {other}: expected the arguments of a registered model, as its name has them; "
        "register a variant with these first"
    )


def _fixed(name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a registered model with others in place of some, but those in which weights may differ."""
    defaults = {key: each.default for key, each in signature(network_of(name)).parameters.items()}
    values = defaults | arguments_of(name) | dict(args)
    fixed = {key: values[key] for key in values if key not in _FREE and (key in defaults or values[key] is not None)}
    return json.loads(json.dumps(fixed, default=str))


def half_precision(network: nn.Module) -> dict[str, Tensor]:
    """State dict with parameters in float16; buffers, such as running statistics, are as they are.

    Raises:
        SkipweaveError: A parameter is too large for float16.
    """
    parameters = {name for name, _ in network.named_parameters()}
    state = {name: tensor.half() if name in parameters else tensor for name, tensor in network.state_dict().items()}
    if large := [name for name in parameters if not state[name].isfinite().all()]:
        raise SkipweaveError(f"{', '.join(sorted(large))}: values are not finite in float16")
    return state


def int8_network(run: RunImages, description: Description) -> EngineNet:
    """A run's model in int8 by OpenVINO, calibrated on training images, as `skipweave export --weights int8` makes it.

    Raises:
        SkipweaveError: A package is missing, the network cannot be exported, or the outputs differ too much.
    """
    check_formats(["openvino"], "int8", calibrated=True)
    images = calibration_images(replace(run, images=run.data.train))
    files, _ = model_files(to_onnx(run.network, description), ["openvino"], "int8", images)
    return EngineNet(load_openvino((files["model.xml"], files["model.bin"])))


def measure(run: RunImages, int8: nn.Module | None = None) -> tuple[str, list[Result]]:
    """Evaluate a run's model on its validation and test images as trained, in float16, and in int8.

    Args:
        run: Network and test images.
        int8: The network in int8; None is not measured.

    Returns:
        Name of the metric, `top1_error` where there is one, else that of the run; and the results.
    """
    rounded = deepcopy(run.network)
    rounded.load_state_dict(half_precision(run.network))
    networks = {"float32": run.network, "float16": rounded, **({"int8": int8} if int8 else {})}
    measured = [
        each
        for split in ("validation", "test")
        for weights, network in networks.items()
        for each in _results(replace(run, network=network), split, weights)
    ]
    return measured[0][0], [result for _, result in measured]


def _results(run: RunImages, split: str, weights: str) -> Iterator[tuple[str, Result]]:
    """Name of the metric and results of a split, by test-time augmentation; none if there are no images."""
    images = run.data.splits[split]
    if images is None:
        return
    one_label = isinstance(run.data, ClassificationData) and not run.data.multi_label
    for tta in _augmentations(run.data):
        outputs = Outputs() if one_label else None
        *_, metrics = evaluate_images(replace(run, images=images), accelerator="cpu", tta=tta, outputs=outputs)
        values = metrics.compute()
        name = TOP1_ERROR.name if TOP1_ERROR.name in values else metrics.metric.name
        yield name, Result(split, weights, tta, round(values[name], 4), metrics.images)
        if outputs and split == "test":
            chosen = first_of_each_class(outputs.labels)
            wrong = outputs.logits[chosen].argmax(1) != outputs.labels[chosen]
            yield name, Result(SAMPLE, weights, tta, round(100 * wrong.double().mean().item(), 4), len(chosen))


def _augmentations(data: Data) -> tuple[TestTimeAugmentation, ...]:
    """Test-time augmentations: none, and that with mirror images if the network was trained on these."""
    mirrored: TestTimeAugmentation
    if isinstance(data, ClassificationData):
        flip, mirrored = data.train_transform.per_batch.flip, "flip_shift"
    else:
        flip, mirrored = data.train_transform.flip, "flip"
    return ("none", mirrored) if flip in ("horizontal", "both", "alternating") else ("none",)


def first_of_each_class(labels: Tensor, count: int = _SAMPLE_SIZE) -> Tensor:
    """Indices of the first images of each class, by class.

    Args:
        labels: Class indices, (N,).
        count: Number of images of each class, if there are as many.

    >>> first_of_each_class(torch.tensor([1, 0, 0, 1, 0]), 2)
    tensor([1, 2, 0, 3])
    """
    return torch.cat([(labels == label).nonzero().flatten()[:count] for label in labels.unique()])


def facts_of(summary: RunSummary, metric: str, results: list[Result], weights: bytes, **given: str) -> Facts:
    """The facts of a finished run.

    Args:
        summary: Of the run.
        metric: Name of the measured metric.
        results: Of `measure`.
        weights: Content of the file of weights.
        **given: Other fields of `Facts`.
    """
    return Facts(
        sha256=sha256(weights).hexdigest(),
        bytes=len(weights),
        metric=metric,
        label=METRICS[metric].label,
        unit=METRICS[metric].unit,
        results=tuple(results),
        seed=summary.seed,
        epochs=summary.epochs,
        hours=round(summary.train_seconds / 3600, 2),
        **given,
    )


def shipped_config(network: nn.Module, description: Description, facts: Facts) -> str:
    """Timm's `config.json` with the facts."""
    config = hub_config(network, description)
    config["pretrained_cfg"]["license"] = LICENSE
    return json.dumps({**config, ENTRY: asdict(facts)}, indent=2) + "\n"


def shipped_card(network: nn.Module, description: Description, facts: Facts, name: str) -> str:
    """The model card, with the facts.

    Args:
        network: The network.
        description: Its description.
        facts: Its facts.
        name: MODEL.TAG.
    """
    others = {
        "size": f"{facts.bytes:,} bytes, parameters in float16",
        "sha256": f"`{facts.sha256}`",
        "recipe": f"`config.yaml`, {facts.epochs} epochs, seed {facts.seed}",
        "trained by": f"skipweave at commit `{facts.commit}`, {facts.hours:g} hours on {facts.device}",
        "license": LICENSE,
        "terms of the data": facts.data_terms,
    }
    return model_card(description, count_parameters(network), {**facts.metrics, **others}, place=name)
