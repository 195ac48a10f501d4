"""Prune the weakest links of a run's network, and write a run directory to fine-tune it from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from skipweave.analysis.profile import Profile, profile
from skipweave.analysis.weak_links import WeakLinks, weak_links
from skipweave.files.hub import WEIGHTS_FILE
from skipweave.training.checkpoint.weights_file import Description, save_weights
from skipweave.training.model_building import build_network
from skipweave.training.run.loading import Which, load_run
from skipweave.training.run.run_directory import RunDirectory
from skipweave.transforms import Removal, remove_links
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig


@dataclass(frozen=True)
class LinkPruning:
    """Links found and removed.

    Attributes:
        weak: The links under the threshold, and which of them had to stay.
        before: Cost of the run's network, for images of its data's size; of training crops, if it predicts masks.
        after: Cost of the network without the removable links.
        removal: The network without them.
    """

    weak: WeakLinks
    before: Profile
    after: Profile
    removal: Removal


def prune_links(run_dir: Path, below: float, output: Path | None = None, which: Which = "best") -> LinkPruning:
    """Remove the links of a run's network whose weight is under a threshold (`skipweave.analysis.weak_links`).

    Args:
        run_dir: The run directory; it is not changed.
        below: The threshold, above 0 and at most 1.
        output: A new folder for the network: its weights, and the run's config with the new topology, which start
            from these weights. Where it is None, or nothing can be removed, nothing is written.
        which: As for `load_run`.

    Raises:
        SkipweaveError: The run, its network or the threshold do not allow it, or the folder exists.
    """
    if output and output.exists():
        raise SkipweaveError(f"output is {output}, which exists already: give the name of a new folder")
    network, config, description = load_run(run_dir, which)
    weak = weak_links(network, below)
    links = [entry.link for entry in weak.removable]
    size = _image_size(network, config, description)
    removal = remove_links(
        network,
        links,
        lambda topology: build_network(description.model, {**description.args, "topology": topology}),
        input_size=size,
    )
    pruning = LinkPruning(weak, profile(network, size), profile(removal.model, size), removal)
    if output and links:
        _write(output, removal, config, description)
    return pruning


def _image_size(network: nn.Module, config: FitConfig, description: Description) -> tuple[int, int, int]:
    """Channels, height and width of an image; of the crop, or else the network's own, if masks have any size."""
    preprocessing, crop = description.preprocessing, config.data.crop
    cfg: Any = network.pretrained_cfg
    _, *own = cfg["input_size"]
    height, width = preprocessing.image_size or ((crop, crop) if crop else own)
    return preprocessing.channels, height, width


def _write(output: Path, removal: Removal, config: FitConfig, description: Description) -> None:
    def thinner(args: Mapping[str, Any]) -> dict[str, Any]:
        return {**args, "topology": removal.topology}

    model = replace(config.model, args=thinner(config.model.args), pretrained=False)
    folder = RunDirectory.make(output, replace(config, model=model, start=output / WEIGHTS_FILE))
    described = replace(description, args=thinner(description.args))
    save_weights(folder.weights, removal.model.state_dict(), described, epoch=0)
