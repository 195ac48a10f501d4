"""Segmentation networks by name: an encoder with a decoder of segmentation_models_pytorch (SMP)."""

import importlib.util
import inspect
from contextlib import nullcontext
from types import ModuleType
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipweave_config.errors import SkipweaveError
from skipweave_config.hints import nearest

PREFIX, TIMM = "smp:", "tu-"
_FORMAT = f"expected {PREFIX}DECODER:ENCODER, such as smp:unet:tu-sparsenet121_32 or smp:unet:resnet18"

# Arguments of SMP's networks that are set here, or would change the shape or the range of the output.
_FIXED = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params", "upsampling")


class Parts(NamedTuple):
    """The parts of a network's name.

    Attributes:
        decoder: Name of an architecture of SMP, such as unet or deeplabv3plus.
        encoder: Name of an encoder of SMP; or `tu-` and the name of a registered model, ours or timm's.
    """

    decoder: str
    encoder: str

    @property
    def timm_model(self) -> str:
        """The encoder's name in timm's registry; empty for SMP's own encoders."""
        return self.encoder.removeprefix(TIMM) if self.encoder.startswith(TIMM) else ""


class EncoderDecoder(nn.Module):
    """A network of SMP that takes images of any size, with an encoder and a decoder chosen by name.

    Images are padded with zeros at the bottom and on the right to multiples of the encoder's output stride (of twice
    that for DPT), and the scores of the padding are cut off.

    Args:
        name: `smp:DECODER:ENCODER`.
        num_classes: Number of classes.
        in_chans: Number of image channels.
        pretrained: Whether the encoder gets its pretrained weights (for SMP's own encoders those of ImageNet, if there
            are several), which are downloaded if they are not in the cache.
        **args: Arguments of SMP's network, such as encoder_depth or decoder_channels; others go to an encoder of timm.

    Raises:
        SkipweaveError: SMP is not installed, or the name or an argument is unknown.

    Shape: (N, in_chans, H, W) to (N, num_classes, H, W).
    """

    labels_pixels = True

    def __init__(
        self, name: str, *, num_classes: int = 11, in_chans: int = 3, pretrained: bool = False, **args: Any
    ) -> None:
        super().__init__()
        parts = parse(name)
        _check_arguments(name, parts, args)
        self.num_classes = num_classes
        self.in_chans = in_chans
        # Constructors of MiT encoders read values of tensors, which the meta device does not have.
        with torch.device("cpu") if parts.encoder.startswith("mit_") else nullcontext():
            self.network = _smp().create_model(
                parts.decoder,
                parts.encoder,
                _weights(parts) if pretrained else None,
                in_channels=in_chans,
                classes=num_classes,
                **args,
            )
        self.to(torch.get_default_device())
        # DPT upsamples by 2 from half the resolution of a ViT's maps.
        self.multiple = self.network.encoder.output_stride * (2 if parts.decoder == "dpt" else 1)
        cfg = timm.get_pretrained_cfg(parts.timm_model) if parts.timm_model else None
        self.pretrained_cfg = {
            "architecture": name,
            "input_size": (in_chans, *(cfg.input_size[1:] if cfg else (224, 224))),
            "classifier": _last_convolution(self),
        }

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (N, num_classes, H, W) of images (N, in_chans, H, W)."""
        height, width = x.shape[-2:]
        scores: Tensor = self.network(F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple)))
        return scores[..., :height, :width]

    def get_classifier(self) -> nn.Module:
        """Return the last convolution."""
        return self.get_submodule(str(self.pretrained_cfg["classifier"]))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return timm's groups of parameters: the encoder as the stem, the decoder as a stage, then the head."""
        return dict(stem=r"^network\.encoder\.", blocks=[(r"^network\.decoder\.", (0,))])


def is_encoder_decoder(name: str) -> bool:
    """Whether a name is to be that of an encoder with a decoder of SMP."""
    return name.startswith(PREFIX)


def parse(name: str) -> Parts:
    """The parts of a name.

    Raises:
        SkipweaveError: SMP is not installed, or it has no such decoder or encoder.

    >>> parse("smp:unet:tu-sparsenet121_32").timm_model
    'sparsenet121_32'
    """
    _, _, rest = name.partition(":")
    decoder, _, encoder = rest.partition(":")
    if not decoder or not encoder:
        raise SkipweaveError(f"unknown model {name!r}: {_FORMAT}")
    parts, smp = Parts(decoder, encoder), _smp()
    problems = []
    if decoder not in (decoders := smp.MODEL_ARCHITECTURES_MAPPING):
        problems.append(f"no decoder {decoder!r} for {name}: {nearest(decoder, decoders)}one of {', '.join(decoders)}")
    own = [each for each in smp.encoders.encoders if not each.startswith("timm-")]  # which are deprecated
    if not (timm.is_model(parts.timm_model) if parts.timm_model else encoder in own):
        known = [*own, *(TIMM + model for model in timm.list_models())]
        problems.append(
            f"no encoder {encoder!r} for {name}: {nearest(encoder, known, 3)}expected {TIMM} and a model of "
            f"`skipweave models` or timm, such as tu-sparsenet121_32, or an encoder of segmentation_models_pytorch, "
            f"such as resnet18"
        )
    if problems:
        raise SkipweaveError(*problems)
    return parts


def encoder_statistics(parts: Parts) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std per channel that the pretrained weights of SMP's own encoder expect, of RGB images on [0, 1]."""
    settings = _smp().encoders.encoders[parts.encoder]["pretrained_settings"][_weights(parts)]
    mean, std = settings.get("mean"), settings.get("std")
    plain = settings.get("input_space", "RGB") == "RGB" and list(settings.get("input_range") or [0, 1]) == [0, 1]
    return (tuple(mean), tuple(std)) if mean and std and plain else None


def _smp() -> ModuleType:
    """The package, which is imported when it is first needed.

    Raises:
        SkipweaveError: It is not installed.
    """
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        raise SkipweaveError(
            f"models {PREFIX}DECODER:ENCODER need segmentation_models_pytorch, which is not installed here: "
            "pip install 'skipweave[segmentation]'"
        )
    import segmentation_models_pytorch

    return segmentation_models_pytorch


def _check_arguments(name: str, parts: Parts, args: dict[str, Any]) -> None:
    """Check the names of arguments; those of an encoder of timm are checked by timm."""
    network = _smp().MODEL_ARCHITECTURES_MAPPING[parts.decoder]
    own = [each for each in inspect.signature(network).parameters if each not in (*_FIXED, "kwargs")]
    unknown = [each for each in args if each in _FIXED or (each not in own and not parts.timm_model)]
    if unknown:
        valid = ["num_classes", "in_chans", *own]
        raise SkipweaveError(
            *(f"{name} has no argument {one}: {nearest(one, valid)}it takes {', '.join(valid)}" for one in unknown)
        )


def _weights(parts: Parts) -> str | bool:
    """SMP's name of an encoder's weights; true for those of timm, which are named by the model's tag."""
    if parts.timm_model:
        return True
    settings = _smp().encoders.encoders[parts.encoder]["pretrained_settings"]
    return "imagenet" if "imagenet" in settings else next(iter(settings))


def _last_convolution(network: nn.Module) -> str:
    return [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)][-1]
