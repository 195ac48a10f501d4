"""Files of weights: safetensors with a description of the network in the header."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from skipweave.data import Preprocessing, SegmentationData
from skipweave.training.checkpoint.tensor_file import Saved, encode, open_saved, save, without_prefix
from skipweave.training.model_building import build_network, check_labels, sketch
from skipweave.training.tasks.task import Data
from skipweave.transforms.compression.densify import match_fan_ins
from skipweave_config.errors import SkipweaveError
from skipweave_config.fields import plain_values
from skipweave_config.validation import validate_json

WEIGHTS = "skipweave weights 1"
Byte = Annotated[int, Field(ge=0, lt=256)]


@dataclass(frozen=True)
class Description:
    """Description of a trained network: model, classes and preprocessing.

    Attributes:
        model: Its registered name.
        args: All of its overrides.
        data: Name of the training dataset.
        classes: Their names, by label.
        preprocessing: What an image goes through first.
        palette: The RGB color of each label, the last for void, of a segmentation network; else none.
        values: The value of each class in masks, by label, likewise; by default the labels.
        colored: Whether masks may have the colors of the palette, likewise.
        multi_label: Whether an image has any number of the classes, or exactly one.

    Raises:
        SkipweaveError: Two classes have the same name.
    """

    model: str
    args: Annotated[Mapping[str, Any], BeforeValidator(plain_values)]
    data: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    palette: tuple[tuple[Byte, Byte, Byte], ...] = ()
    values: tuple[Annotated[int, Field(ge=0, lt=1 << 16)], ...] = ()
    colored: bool = True
    multi_label: bool = False

    def __post_init__(self) -> None:
        """Check the class names, and set values to the labels by default."""
        if twice := [name for name, number in Counter(self.classes).items() if number > 1]:
            raise SkipweaveError(f"classes has {', '.join(twice[:4])} more than once: expected one name per class")
        if self.palette and not self.values:
            object.__setattr__(self, "values", tuple(range(len(self.classes))))

    @classmethod
    def of(cls, model: str, args: Mapping[str, Any], data: Data) -> "Description":
        """Describe a network to be trained on data."""
        described = cls(model, args, data.name, data.classes, data.preprocessing)
        if not isinstance(data, SegmentationData):
            return replace(described, multi_label=data.multi_label)
        return replace(described, palette=data.palette, values=data.values, colored=data.colored)

    def as_plain(self) -> dict[str, Any]:
        """The description as JSON values."""
        return {
            "model": self.model,
            "args": dict(self.args),
            "data": self.data,
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.to_dict(),
            "palette": [list(color) for color in self.palette],
            **({"values": list(self.values), "colored": self.colored} if self.palette else {}),
            **({"multi_label": True} if self.multi_label else {}),
        }

    @classmethod
    def from_plain(cls, values: Any, path: Path) -> "Description":
        """Parse a description from the file `path`.

        Raises:
            SkipweaveError: It is none.
        """
        try:
            described = validate_json(cls, values)
        except SkipweaveError as error:
            raise SkipweaveError(*(f"damaged file: {path}: {problem}" for problem in error.problems)) from error
        classes, labels_pixels = len(described.classes), bool(described.palette)
        consistent = {
            "palette": len(described.palette) in (0, classes + 1),
            "values": not labels_pixels or len(set(described.values)) == len(described.values) == classes,
            "crop": (described.preprocessing.crop is None) == labels_pixels,
            "num_classes": described.args.get("num_classes") == classes,
            "in_chans": described.args.get("in_chans") == described.preprocessing.channels,
        }
        if wrong := [name for name, fits in consistent.items() if not fits]:
            raise SkipweaveError(f"damaged file: {path} is inconsistent in {', '.join(wrong)}")
        return described

    def build(self, saved: Saved, prefix: str = "") -> nn.Module:
        """Build the network with the weights of a file, in evaluation mode.

        Raises:
            SkipweaveError: The file is damaged, or of another network; shapes are compared before a tensor is read.
        """
        self.expect(saved, prefix)
        network = build_network(self.model, self.args)
        match_fan_ins(network, without_prefix(saved.shapes, prefix))
        network.load_state_dict(saved.tensors(prefix))
        return network.eval()

    def expect(self, saved: Saved, prefix: str = "") -> dict[str, Tensor]:
        """Check that a file holds the tensors of this network, without allocating memory for them.

        Returns:
            The tensors that it has, on the meta device, with as many links as the file has.

        Raises:
            SkipweaveError: There is no such network, or the file is of another.
        """
        network = sketch(self.model, self.args)
        check_labels(self.model, network, pixels=bool(self.palette))
        match_fan_ins(network, without_prefix(saved.shapes, prefix))
        expected = network.state_dict()
        saved.expect(expected, prefix, self.model)
        return expected


def save_weights(path: Path, tensors: Mapping[str, Tensor], description: Description, epoch: int | None = None) -> None:
    """Write the state of a network with its description, and with its epoch if known."""
    of_epoch = {} if epoch is None else {"epoch": epoch}
    save(path, tensors, {**_header(description), **of_epoch})


def encode_weights(tensors: Mapping[str, Tensor], description: Description) -> bytes:
    """Content of the file that `save_weights` writes."""
    return b"".join(encode(tensors, _header(description)))


def _header(description: Description) -> dict[str, Any]:
    return {"format": WEIGHTS, "description": description.as_plain()}


def load_weights(path: Path) -> tuple[nn.Module, Description]:
    """Build the network that a file of weights describes, in evaluation mode.

    Raises:
        SkipweaveError: The file is missing, damaged, of another kind, or of a network that is not known here.
    """
    saved = open_saved(path)
    if saved.info.get("format") != WEIGHTS:
        raise SkipweaveError(f"not a file of weights: {path}: expected a run's model.safetensors")
    description = Description.from_plain(saved.info.get("description"), path)
    return description.build(saved), description
