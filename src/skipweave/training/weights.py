"""A network's weights with all that is needed to use them: one safetensors file, its description in the header."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skipweave.data import Preprocessing, eval_transform_from
from skipweave.errors import SkipweaveError
from skipweave.training.checkpoint import Saved, save, shapes_of
from skipweave.training.network import build_network

_FORMAT = "skipweave weights 1"


@dataclass(frozen=True)
class Description:
    """What a network is, and what it expects and tells.

    Attributes:
        model: its registered name.
        args: all of its overrides.
        data: name of the data set that it was trained on.
        classes: their names, by label.
        preprocessing: what an image goes through first.
    """

    model: str
    args: Mapping[str, Any]
    data: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing

    def as_plain(self) -> dict[str, Any]:
        """The description as JSON holds it."""
        return {
            "format": _FORMAT,
            "model": self.model,
            "args": dict(self.args),
            "data": self.data,
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.describe(),
        }

    @classmethod
    def of(cls, saved: Saved) -> "Description":
        """Read the description of a file of weights.

        Raises:
            SkipweaveError: the file holds something else.
        """
        info = saved.info
        if info.get("format") != _FORMAT:
            raise SkipweaveError(
                f"not a file of weights but {info.get('format')!r}: {saved.path}: expected a run's model.safetensors"
            )
        kinds = {"model": str, "args": dict, "data": str, "classes": list, "preprocessing": dict}
        if wrong := [name for name, kind in kinds.items() if not isinstance(info.get(name), kind)]:
            raise SkipweaveError(f"damaged file: {saved.path} does not tell its {', '.join(wrong)}")
        classes = tuple(str(name) for name in info["classes"])
        return cls(info["model"], info["args"], info["data"], classes, eval_transform_from(info["preprocessing"]))


def save_weights(path: Path, tensors: Mapping[str, Tensor], description: Description, epoch: int) -> None:
    """Write the tensors of a network's state, and which epoch they are of, into a file that explains itself."""
    save(path, tensors, {**description.as_plain(), "epoch": epoch})


def load_weights(saved: Saved) -> tuple[nn.Module, Description]:
    """Build the network that a file of weights describes, in evaluation mode.

    Shapes are compared before any tensor is read.

    Raises:
        SkipweaveError: the file is damaged, of another kind, or of a network that is not known here.
    """
    description = Description.of(saved)
    with torch.device("meta"):
        expected = shapes_of(build_network(description.model, description.args).state_dict())
    saved.expect(expected, "", description.model)
    network = build_network(description.model, description.args)
    network.load_state_dict(saved.tensors())
    return network.eval(), description
