"""Files of weights: safetensors with a description of the network in the header."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from skipweave.data import Color, Preprocessing, SegmentationData
from skipweave.training.checkpoint.tensor_file import Saved, open_saved, save, without_prefix
from skipweave.training.model_building import build_network, check_labels, sketch
from skipweave.training.tasks.task import Data
from skipweave.transforms.compression.densify import match_fan_ins
from skipweave_config.errors import SkipweaveError
from skipweave_config.fields import PlainValues
from skipweave_config.validation import validate

WEIGHTS = "skipweave weights 1"


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
    """

    model: str
    args: Mapping[str, Any]
    data: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    palette: tuple[Color, ...] = ()
    values: tuple[int, ...] = ()
    colored: bool = True

    def __post_init__(self) -> None:
        """Set values to the labels by default."""
        if self.palette and not self.values:
            object.__setattr__(self, "values", tuple(range(len(self.classes))))

    @classmethod
    def of(cls, model: str, args: Mapping[str, Any], data: Data) -> "Description":
        """Describe a network to be trained on data."""
        described = cls(model, args, data.name, data.classes, data.preprocessing)
        if not isinstance(data, SegmentationData):
            return described
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
        }

    @classmethod
    def from_plain(cls, values: Any, path: Path) -> "Description":
        """Parse a description from the file `path`.

        Raises:
            SkipweaveError: It is none.
        """
        kinds = {"model": str, "args": dict, "data": str, "classes": list, "preprocessing": dict, "palette": list}
        given = values if isinstance(values, Mapping) else {}
        if wrong := [name for name, kind in kinds.items() if not isinstance(given.get(name), kind)]:
            raise SkipweaveError(f"damaged file: {path} has no valid {', '.join(wrong)}")
        colors = [color for color in given["palette"] if not _is_color(color)]
        if colors or len(given["palette"]) not in (0, len(given["classes"]) + 1):
            raise SkipweaveError(f"damaged file: {path} has a palette that is not of three bytes a class, and void")
        classes = tuple(str(name) for name in given["classes"])
        palette = tuple((red, green, blue) for red, green, blue in given["palette"])
        preprocessing = Preprocessing.from_dict(given["preprocessing"])
        if (preprocessing.crop is None) != bool(palette):
            raise SkipweaveError(
                f"damaged file: {path} has crop {preprocessing.crop} and {len(palette)} palette colors"
            )
        args = validate(PlainValues, given["args"], "args")
        follows = {"num_classes": len(classes), "in_chans": preprocessing.channels}
        if wrong := [name for name, number in follows.items() if args.get(name) != number]:
            raise SkipweaveError(f"damaged file: {path} is inconsistent in {', '.join(wrong)}")
        described = cls(given["model"], args, given["data"], classes, preprocessing, palette)
        if not palette:
            return described
        values, colored = given.get("values", list(described.values)), given.get("colored", True)  # not in older files
        if not _are_values(values) or len(values) != len(classes) or not isinstance(colored, bool):
            raise SkipweaveError(f"damaged file: {path} has values that are not one of 0 to 65535 a class")
        return replace(described, values=tuple(values), colored=colored)

    def build(self, saved: Saved, prefix: str = "") -> nn.Module:
        """Build the network with the weights of a file, in evaluation mode.

        Args:
            saved: The file.
            prefix: Of the names of the network's tensors in it.

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

        Args:
            saved: The file.
            prefix: Of the names of the network's tensors in it.

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


def _are_values(values: Any) -> bool:
    right = isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 16 for value in values)
    return right and len(set(values)) == len(values)


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(part) is int and 0 <= part < 256 for part in value)


def save_weights(path: Path, tensors: Mapping[str, Tensor], description: Description, epoch: int | None = None) -> None:
    """Write the state of a network with its description, and with its epoch if known."""
    of_epoch = {} if epoch is None else {"epoch": epoch}
    save(path, tensors, {"format": WEIGHTS, "description": description.as_plain(), **of_epoch})


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
