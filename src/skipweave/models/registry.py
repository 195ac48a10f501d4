"""Registration of models with timm, which takes place when skipweave is imported."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model, resolve_pretrained_cfg
from torch import nn

from skipweave.models.arguments import Arguments
from skipweave.models.classifier import ClassifierNet, StagedNet
from skipweave.models.encoder_decoder import EncoderDecoder, encoder_statistics, is_encoder_decoder, parse
from skipweave.models.exit_weights import fit_exits
from skipweave.models.inception import with_exit
from skipweave_config.errors import SkipweaveError
from skipweave_config.hints import misplaced_file, nearest
from skipweave_config.published_weights import PUBLISHED
from skipweave_config.shipped_weights import shipped_weights

# Arguments of timm's builder.
_BUILDER_ARGUMENTS = ("features_only", "out_indices", "feature_cls", "pretrained_strict", "pretrained_model_args")
Statistics = tuple[float, float, float]
_VARIANTS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {}  # class and arguments of each registered name


def create_model(name: str, **overrides: Any) -> nn.Module:
    """Create a registered model; the same as `timm.create_model` after `import skipweave`.

    Args:
        name: One of `list_models()`, or any of timm's models, with a tag of its weights or without, such as
            "densenet121_32.tv_in1k"; or for segmentation `smp:DECODER:ENCODER` (`EncoderDecoder`).
        **overrides: Arguments of the network that replace the registered ones (`num_classes`, `in_chans`, `growth`,
            `units`, `topology`, ...), and those of timm (`features_only`, `out_indices`, `pretrained`, ...).

    Raises:
        SkipweaveError: The name, its tag or an override is unknown, the value of an override is invalid, or pretrained
            weights do not exist, cannot be downloaded or do not fit.
    """
    build = EncoderDecoder if is_encoder_decoder(name) else timm.create_model
    if build is timm.create_model and not timm.is_model(name):
        raise SkipweaveError(
            f"unknown model {name!r}: {nearest(name, timm.list_models(), 3)}`skipweave models` lists ours, "
            f"timm.list_models() those of timm, and ours after `import skipweave`{misplaced_file(name)}"
        )
    if overrides.get("pretrained_cfg") is None:
        _check_tag(parse(name).timm_model if is_encoder_decoder(name) else name)
    if not overrides.get("pretrained"):
        return with_exit(build(name, **overrides))
    try:
        return with_exit(build(name, **overrides))
    except SkipweaveError:
        raise
    except Exception as error:  # the hub's client, the network and torch raise various exceptions
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SkipweaveError(f"cannot load pretrained weights of {name}: {reason}") from error


def _check_tag(name: str) -> None:
    """Check that a model has weights of the tag in its name, if there is one."""
    model, _, tag = name.partition(".")
    if not tag:
        return
    try:
        resolve_pretrained_cfg(model, pretrained_cfg=tag)
    except RuntimeError:
        own = ", ".join(_with_tags(model)) or "none"
        raise SkipweaveError(f"{model} has no weights of tag {tag!r}: expected {model}, or with a tag: {own}") from None


def _with_tags(model: str) -> list[str]:
    """Names of a model with the tags of its weights."""
    return [each for each in timm.list_models(f"{model}*", pretrained=True) if each.partition(".")[0] == model]


def list_models(filter: str = "", pretrained: bool = False) -> list[str]:
    """Names of skipweave's models.

    Args:
        filter: Part of a name, or a pattern such as `"sparsenet*"`.
        pretrained: Whether to list models with pretrained weights only, with the tags of these.
    """
    pattern = filter if any(sign in filter for sign in "*?[") else f"*{filter}*"
    return [name for name in timm.list_models(pattern, pretrained=pretrained) if name.partition(".")[0] in _VARIANTS]


def check_pretrained(name: str, pretrained_cfg: Any = None, overlay: dict[str, Any] | None = None) -> None:
    """Check that a model has pretrained weights, and that those of the package are not damaged.

    Args:
        name: Name of a registered model, ours or timm's, with a tag or without; or `smp:DECODER:ENCODER`, whose
            encoder is meant.
        pretrained_cfg: As for `timm.create_model`.
        overlay: Values that replace some of it, likewise.

    Raises:
        SkipweaveError: It has none, or no such tag; or their file is missing or damaged.
    """
    if is_encoder_decoder(name):
        name = parse(name).timm_model
        if not name:  # all of SMP's own encoders have weights
            return
    model, _, tag = name.partition(".")
    try:
        cfg = resolve_pretrained_cfg(
            model, pretrained_cfg=pretrained_cfg or tag or None, pretrained_cfg_overlay=overlay
        )
    except RuntimeError:
        cfg = None
    if cfg is None or not (cfg.has_weights or cfg.state_dict):
        ours = list_models(pretrained=True)
        own = _with_tags(model)
        if own and not tag:
            listed = " or ".join(own)
            raise SkipweaveError(f"{name} has no weights of its own number of classes and channels: give {listed}")
        raise SkipweaveError(
            f"{name} has no pretrained weights: "
            + (f"{model} has {', '.join(own)}" if own else f"of skipweave's models these have: {', '.join(ours)}")
        )
    for weights in shipped_weights(model).values():
        if str(weights.file) == cfg.file:
            weights.verified()
    is_there = Path.is_dir if cfg.source == "local-dir" else Path.exists if cfg.custom_load else Path.is_file
    if cfg.file and not cfg.state_dict and not is_there(Path(cfg.file)):
        raise SkipweaveError(f"no such file or directory: {cfg.file}, the pretrained weights of {name}")


def pretrained_statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std per channel that a model's pretrained weights expect, on the scale [0, 1]; None if it has no such.

    Args:
        name: As for `check_pretrained`.
    """
    if is_encoder_decoder(name):
        parts = parse(name)
        if not parts.timm_model:
            return encoder_statistics(parts)
        name = parts.timm_model
    cfg = timm.get_pretrained_cfg(name)
    return (tuple(cfg.mean), tuple(cfg.std)) if cfg else None


def arguments_of(name: str) -> dict[str, Any]:
    """Registered arguments of one of `list_models()`; empty for other names."""
    return dict(_VARIANTS[name][1]) if name in _VARIANTS else {}


def network_of(name: str) -> type[nn.Module]:
    """Class of one of `list_models()`."""
    return _VARIANTS[name][0]


def register_variants(
    network: type[nn.Module],
    variants: Mapping[str, Mapping[str, Any]],
    cfg: Mapping[str, Any],
    filter_fn: Callable[..., Any] | None = None,
) -> None:
    """Register the variants of a family, each with a name and the arguments of the network.

    Args:
        network: Class of the family; timm lists the variants under its module.
        variants: Arguments of each name.
        cfg: timm's `pretrained_cfg`: input properties, and the layers that in_chans and num_classes change.
        filter_fn: Converts state dicts in another layout, for timm's `pretrained_cfg_overlay`.

    Raises:
        SkipweaveError: A name, or the module's name, is registered already.
    """
    module = sys.modules[network.__module__]
    short = module.__name__.rpartition(".")[2]
    if short in timm.list_modules() and _VARIANTS.keys().isdisjoint(timm.list_models(module=short)):
        raise SkipweaveError(f"timm has a module named {short!r} already: rename {module.__name__}")
    cfgs: dict[str, Any] = module.__dict__.setdefault("default_cfgs", {})
    for name, arguments in variants.items():
        if timm.is_model(name):
            raise SkipweaveError(f"a model named {name!r} is registered already: choose another name")
        cfgs |= generate_default_cfgs(_cfgs_by_tag(name, cfg))
        entry_point = _entry_point(network, name, dict(arguments), filter_fn)
        setattr(module, name, register_model(entry_point))
        _VARIANTS[name] = network, dict(arguments)


def _cfgs_by_tag(name: str, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Timm's `pretrained_cfg` by name and tag; the default has the model's own number of classes and channels.

    If no weights have these, the default, marked by `*`, has no weights.
    """
    tags = {f"{name}.{tag}": {**cfg, **entries} for tag, entries in PUBLISHED.get(name, {}).items()}
    tags |= {each.name: {**cfg, **each.pretrained_cfg} for each in shipped_weights(name).values()}
    own = [key for key, value in tags.items() if _classes_and_channels(value) == _classes_and_channels(cfg)]
    if not own:
        return {**tags, f"{name}.*": dict(cfg)}
    return {own[0]: tags[own[0]], **tags}  # the first one


def _classes_and_channels(cfg: Mapping[str, Any]) -> tuple[int, int]:
    return cfg["num_classes"], cfg["input_size"][0]


def cifar_cfg(paper: str) -> dict[str, Any]:
    """Timm's `pretrained_cfg` of a CIFAR model, with the mean and standard deviation of CIFAR-10's training images."""
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    return _cfg(paper, 10, 32, 1.0, mean, std, pool_size=(8, 8))


def imagenet_cfg(paper: str) -> dict[str, Any]:
    """Timm's `pretrained_cfg` of an ImageNet model."""
    return _cfg(paper, 1000, 224, 0.875, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, pool_size=(7, 7))


def segmentation_cfg(paper: str, *, first_conv: str, classifier: str) -> dict[str, Any]:
    """Timm's `pretrained_cfg` of a segmentation model, with the classes and crop size of CamVid."""
    mean, std = (0.3907, 0.4052, 0.4143), (0.2965, 0.3051, 0.3008)
    return _cfg(paper, 11, 224, 1.0, mean, std, pool_size=None, first_conv=first_conv, classifier=classifier)


def _cfg(
    paper: str, num_classes: int, side: int, crop_pct: float, mean: Statistics, std: Statistics, **own: Any
) -> dict[str, Any]:
    return dict(
        url="",
        num_classes=num_classes,
        input_size=(3, side, side),
        crop_pct=crop_pct,
        interpolation="bilinear",
        mean=mean,
        std=std,
        paper_ids=f"arXiv:{paper}",
        **{"first_conv": "stem.conv", "classifier": "head.fc", **own},
    )


def _entry_point(
    network: type[nn.Module], name: str, arguments: dict[str, Any], filter_fn: Callable[..., Any] | None
) -> Callable[..., nn.Module]:
    known = [p for p in inspect.signature(network).parameters if p != "self"]

    def build(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: dict[str, Any] | None = None,
        cache_dir: Any = None,
        **overrides: Any,
    ) -> nn.Module:
        _check_names(name, overrides, known)
        if pretrained:
            check_pretrained(name, pretrained_cfg, pretrained_cfg_overlay)
        merged = {**arguments, **overrides}
        if overrides.get("depth") is not None and overrides.get("units") is None:
            merged["units"] = None
        _check_features(name, network, merged)
        own = not pretrained_cfg_overlay and isinstance(pretrained_cfg, str | None)  # weights of the registered model
        exits = _exit_units(network, arguments) if pretrained and own and "heads" in overrides else None
        return build_model_with_cfg(
            network,
            name,
            pretrained,
            pretrained_cfg=pretrained_cfg,
            pretrained_cfg_overlay=pretrained_cfg_overlay,
            cache_dir=cache_dir,
            pretrained_filter_fn=partial(_to_load, filter_fn=filter_fn, exit_units=exits),
            feature_cfg=_feature_cfg(network, merged),
            **merged,
        )

    build.__name__ = build.__qualname__ = name
    build.__module__ = network.__module__
    build.__doc__ = f"{name}: {', '.join(f'{key}={value!r}' for key, value in arguments.items())}."
    return build


def _to_load(
    state: Mapping[str, Any],
    model: nn.Module,
    filter_fn: Callable[..., Any] | None,
    exit_units: Sequence[int] | None,
) -> dict[str, Any]:
    """Convert a state dict to the model's layout and early exits, and to float32.

    timm rounds sums over channels to the file's type.
    """
    fitted, _ = fit_exits(filter_fn(state, model) if filter_fn else state, exit_units, model)
    return {name: value.float() if value.is_floating_point() else value for name, value in fitted.items()}


def _exit_units(network: type[nn.Module], arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Units after which a network of these arguments has early exits."""
    with torch.device("meta"):
        return tuple(getattr(network(**arguments), "exit_units", ()))


def _feature_cfg(network: type[nn.Module], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration of `features_only`: all maps, and timm's getter unless stages are an `nn.Sequential`."""
    widths = arguments.get("widths")
    own = (len(widths) if isinstance(widths, Sequence) else 3) + getattr(network, "pools_after_stem", False)
    indices = tuple(range(5 if arguments.get("stem") == "imagenet" else own))
    if issubclass(network, StagedNet):
        return dict(out_indices=indices, flatten_sequential=True)
    return dict(out_indices=indices, feature_cls="getter")


def _check_features(model: str, network: type[nn.Module], arguments: Mapping[str, Any]) -> None:
    """Check timm's arguments for networks that return feature maps."""
    check, wanted = Arguments(), arguments.get("features_only")
    if wanted is not None:
        wanted = check.one_of("features_only", wanted, [False, True])
    if wanted and not issubclass(network, ClassifierNet):
        raise SkipweaveError(f"features_only is not supported by {model}, which is a segmentation network")
    for name in ("out_indices", "feature_cls"):
        value = arguments.get(name)
        check.require(bool(wanted) or value is None, f"{name} is {value!r}: expected features_only=True with it")
    indices = arguments.get("out_indices")
    if wanted and indices is not None:
        count = len(_feature_cfg(network, arguments)["out_indices"])
        check.feature_indices(indices, count)
    check.done()


def _check_names(model: str, overrides: Mapping[str, Any], known: list[str]) -> None:
    unknown = [name for name in overrides if name not in known and name not in _BUILDER_ARGUMENTS]
    if unknown:
        raise SkipweaveError(
            *(f"{model} has no argument {one}: {nearest(one, known)}it takes {', '.join(known)}" for one in unknown)
        )
