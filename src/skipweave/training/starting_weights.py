"""Weights that a run starts from: pretrained ones, those of another run, and those of timm and torchvision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from timm.models import adapt_input_conv, load_state_dict
from torch import Tensor, nn

from skipweave.files.hub import WEIGHTS_FILE, local_weights
from skipweave.models import SparseNet, from_densenet_layout, keep_links
from skipweave.models.exit_weights import exits_of, fit_exits
from skipweave.training.checkpoint.tensor_file import Saved, open_saved, shapes_of
from skipweave.training.checkpoint.weights_file import WEIGHTS, Description
from skipweave.training.model_building import build_network
from skipweave.transforms.compression.densify import match_fan_ins, sparse_layers
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig

_OF_OURS = ("topology", "num_classes", "in_chans", "heads")  # arguments in which the source of weights may differ
_ENDINGS = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Start:
    """Weights to start from.

    Attributes:
        source: What they are, for messages.
        state: State dict of the network, or of one with another classifier, input channels or topology.
        classes: Class names; empty if they are not known.
        dense: The network of the state dict, if it is a SparseNet, which may have more links.
        differing: Model and arguments of the run that the weights are of, as far as they are other ones.
        exit_units: Units after which the network of the state dict has early exits; None if they are not known.
        sparsify: The argument `sparsify` of that run, which was densified if the weights have more links; None if it is
            not known.
    """

    source: str
    state: Mapping[str, Tensor]
    classes: tuple[str, ...] = ()
    dense: SparseNet | None = None
    differing: str = ""
    exit_units: tuple[int, ...] | None = None
    sparsify: Any = None

    @classmethod
    def of(cls, source: str, network: nn.Module, classes: tuple[str, ...] = ()) -> "Start":
        """The weights of a network."""
        dense = network if isinstance(network, SparseNet) else None
        units = tuple(getattr(network, "exit_units", ()))
        return cls(source, network.state_dict(), classes, dense, exit_units=units)


def starting_weights(config: FitConfig, ours: Description, network: nn.Module) -> tuple[dict[str, Tensor], str]:
    """The state dict that a network starts from, and a line that describes it.

    Where the classes differ, the classifier keeps its random weights; where the number of input channels differs, the
    first convolution's weights are summed or repeated, as in timm. Early exits of units that have none in the weights
    keep their random weights (`fit_exits`). Exits, and links of a SparseNet, that the network lacks are left out.

    Args:
        config: The config, with `start` or `model.pretrained`.
        ours: Description of the network.
        network: The network, with random weights. They are not changed, but sparse layers get as many links as
            densified weights have, and lose theirs.

    Raises:
        SkipweaveError: The weights cannot be downloaded or loaded, or do not fit.
    """
    start = _pretrained(ours) if config.model.pretrained else _from_file(config.start, ours)  # type: ignore[arg-type]
    note = _match_links(start, ours, network, config.densify.every)
    try:
        return _fitted(start, ours, network, note)
    except SkipweaveError as error:
        if not start.differing:
            raise
        raise SkipweaveError(f"start: the run of {start.source} has {start.differing}: {error}") from error


def _match_links(start: Start, ours: Description, network: nn.Module, densify: int) -> str:
    """Give sparse layers as many links as densified weights of the same network have, and return a note on these.

    Raises:
        SkipweaveError: The weights are of another density than the config's, or links are to be added to its density.
    """
    asked = _density(network)
    if not match_fan_ins(network, shapes_of(start.state)):
        return ""
    found = f"{_density(network):.3g} of the links of its sparse layers and model.args.sparsify gives {asked:.3g}"
    if densify or start.sparsify != ours.args.get("sparsify"):
        raise SkipweaveError(f"start: {start.source} has {found}: expected the same; give the density of the weights")
    return f"densified: {found}"


def _density(network: nn.Module) -> float:
    """Weights of the sparse layers of a network, as a fraction of those of dense ones."""
    layers = sparse_layers(network).values()
    sizes = [(part.weight.numel(), part.weight.numel() * part.in_channels / part.fan_in) for part in layers]
    return sum(size for size, _ in sizes) / sum(full for _, full in sizes) if sizes else 1.0


def _fitted(start: Start, ours: Description, network: nn.Module, note: str) -> tuple[dict[str, Tensor], str]:
    """The state dict of weights, as far as they are for this network, and a line that describes it."""
    state, expected = dict(start.state), network.state_dict()
    if start.dense is not None and isinstance(network, SparseNet) and _topologies(start.dense) != _topologies(network):
        state = {**keep_links(start.dense, network), **exits_of(start.state)}
    other_classes = start.classes not in ((), ours.classes)
    state, new_exits = fit_exits(state, start.exit_units, network, other_classes=other_classes)
    notes = list(filter(None, [f"starting from {start.source}", note]))
    first = getattr(network, "pretrained_cfg", {}).get("first_conv")
    for name in [first] if isinstance(first, str) else first or ():
        key = f"{name}.weight"
        if key in state and key in expected and state[key].shape[1:2] != expected[key].shape[1:2]:
            state[key] = adapt_input_conv(expected[key].shape[1], state[key], base_chans=state[key].shape[1])
            notes.append(f"first convolution adapted to in_chans {expected[key].shape[1]}")
    if fresh := _of_classifier(network, state, expected, other_classes=other_classes):
        state |= {name: expected[name] for name in fresh}
        notes.append(f"new head for {len(ours.classes)} classes")
    if new_exits:
        notes.append(f"new early exits after units {', '.join(map(str, new_exits))}")
    _check(start.source, state, expected)
    return {name: state[name] for name in expected}, ", ".join(notes)


def _pretrained(ours: Description) -> Start:
    network = build_network(ours.model, _without_topology(ours), pretrained=True)
    classes = getattr(network, "pretrained_cfg", {}).get("label_names") or ()
    return Start.of(f"pretrained weights of {ours.model}", network, tuple(classes))


def check_start(place: Path) -> None:
    """Check that weights to start from exist and can be loaded; whether they fit a network follows from the data.

    Args:
        place: `start` of a config.

    Raises:
        SkipweaveError: The weights cannot be downloaded, do not exist, or are damaged.
    """
    if describe_start(place) is None:
        _tensors(_local(place))


def describe_start(place: Path) -> Description | None:
    """The description of weights of this library; None for those of others.

    Args:
        place: `start` of a config.

    Raises:
        SkipweaveError: The weights cannot be downloaded, do not exist, or are damaged.
    """
    path = _local(place)
    return _described(place, path)[1] if _is_ours(path) else None


def _from_file(place: Path, ours: Description) -> Start:
    path = _local(place)
    if not _is_ours(path):
        return _foreign(path, ours)
    saved, theirs = _described(place, path)
    start = Start.of(f"{theirs.model} of {place}", theirs.build(saved), theirs.classes)
    return replace(start, differing=_differing(theirs, ours), sparsify=theirs.args.get("sparsify"))


def _differing(theirs: Description, ours: Description) -> str:
    """Model and arguments that differ, but for those that may; empty if there are none."""
    values = [{"model.name": description.model, **_without_topology(description)} for description in (theirs, ours)]
    pairs = {name: [str(one.get(name, "its default")) for one in values] for name in {**values[0], **values[1]}}
    return ", ".join(f"{name} {other} (here {own})" for name, (other, own) in pairs.items() if other != own)


def _local(place: Path) -> Path:
    """The file of weights that `start` names."""
    path = local_weights(place)
    if path.is_dir():
        path = path / WEIGHTS_FILE
    if not path.exists():
        raise SkipweaveError(f"start is {place}: {path} does not exist{_unfinished(place)}")
    if path.suffix not in _ENDINGS or not path.is_file():
        raise SkipweaveError(
            f"start is {place}: expected a run directory, a file of weights ({', '.join(_ENDINGS)}) or, on the command "
            f"line, hf-hub:USER/REPO"
        )
    return path


def _unfinished(place: Path) -> str:
    """Advice on a run directory without weights."""
    if not (place / "config.yaml").is_file():
        return ""
    return f"; finish the run: skipweave fit --resume {place}, or take {place}/checkpoints/best.safetensors"


def _is_ours(path: Path) -> bool:
    return path.suffix == ".safetensors" and "skipweave" in _metadata(path)


def _described(place: Path, path: Path) -> tuple[Saved, Description]:
    saved = open_saved(path)
    if saved.info.get("format") != WEIGHTS:
        raise SkipweaveError(f"start is {place}: expected a file of weights, such as a run's model.safetensors")
    return saved, Description.from_plain(saved.info.get("description"), path)


def _metadata(path: Path) -> Mapping[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, MemoryError, RuntimeError) as error:
        raise SkipweaveError(f"damaged file, or not one of safetensors: {path} ({error})") from error


def _foreign(path: Path, ours: Description) -> Start:
    """A state dict of timm, torchvision or the like."""
    state = _tensors(path)
    if "features.conv0.weight" not in state:
        return Start(str(path), state)
    read = {"in_chans": state["features.conv0.weight"].shape[1], "num_classes": len(state.get("classifier.weight", ()))}
    network = build_network(ours.model, {**_without_topology(ours), **read})
    if not isinstance(network, SparseNet):
        return Start(str(path), state)
    converted = from_densenet_layout(state, network)
    _check(str(path), converted, network.state_dict())
    network.load_state_dict(converted)
    return Start.of(str(path), network)


def _tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a state dict; nothing else is loaded from the file."""
    try:
        state = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # unpickling raises various exceptions
        reason = "it holds Python objects" if "weights_only" in str(error) else " ".join(str(error).split())
        raise SkipweaveError(
            f"start is {path}: not a file of weights ({reason}): expected a state dict; save model.state_dict(), not "
            f"the model"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SkipweaveError(
            f"start is {path}: expected a state dict, a mapping of names to tensors; save model.state_dict()"
        )
    return state


def _without_topology(ours: Description) -> dict[str, Any]:
    return {name: value for name, value in ours.args.items() if name not in _OF_OURS}


def _topologies(network: SparseNet) -> list[Any]:
    return [stage.topology for stage in network.stages]  # type: ignore[union-attr]


def _of_classifier(
    network: nn.Module, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, other_classes: bool
) -> list[str]:
    """Parameters of the last classifier that are missing from the state, or are for other classes."""
    named = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    parts = {
        f"{head}.{part}" for head in ((named,) if isinstance(named, str) else named) for part in ("weight", "bias")
    }
    return [
        name
        for name in parts & expected.keys()
        if other_classes or name not in state or state[name].shape[0] != expected[name].shape[0]
    ]


def _check(source: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    problems = [
        f"{name} is {'missing' if name not in state else tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name not in state or state[name].shape != value.shape
    ]
    problems += [f"{name} is not in the network" for name in state if name not in expected]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise SkipweaveError(
            f"start: the weights of {source} are not those of this network: {'; '.join(problems[:3])}{more}"
        )
