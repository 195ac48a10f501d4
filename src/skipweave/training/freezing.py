"""Layers of a network that are not trained."""

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skipweave.layers import ConcatRead, NodeNorm
from skipweave_config.errors import SkipweaveError, noted_in

Parts = str | int


def freeze(name: str, network: nn.Module, parts: Parts, *, norms: bool) -> list[nn.Module]:
    """Exclude layers from training: their parameters get no gradients.

    Layers are those of timm's `group_matcher(coarse=True)`: the stem, the stages, and the rest with the classifier.

    Args:
        name: Name of the model, for messages.
        network: The network, which is changed.
        parts: `none`; `stem`; a number of stages, with the stem; or `stages`, all but the last layer.
        norms: Whether to freeze all batch norms, as timm's `--freeze-bn`, with their weights and biases; those of the
            norms of concatenated nodes are in the nodes' readers. Group and layer norms are not frozen.

    Returns:
        The modules that have to stay in evaluation mode, so that running statistics do not change.

    Raises:
        SkipweaveError: The network has no `group_matcher`, too few stages, or no batch norms to freeze.
    """
    kept: list[nn.Module] = []
    problems: list[str] = []
    if norms:
        with noted_in(problems):
            kept += _freeze_norms(name, network)
    if parts != "none":
        with noted_in(problems):
            kept += _freeze_layers(name, network, parts)
    if problems:
        raise SkipweaveError(*problems)
    return kept


def _freeze_norms(name: str, network: nn.Module) -> list[nn.Module]:
    norms: list[nn.Module] = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        raise SkipweaveError(f"freeze_norms is true, but {name} has no batch norms: leave it out")
    for module in (*norms, *_affine_of_nodes(network)):
        module.requires_grad_(False)
    return norms


def _freeze_layers(name: str, network: nn.Module, parts: Parts) -> list[nn.Module]:
    if not hasattr(network, "group_matcher"):
        raise SkipweaveError(
            f"freeze is {parts}, but {name} has no group_matcher, which names its layers: leave it out"
        )
    matcher = network.group_matcher(coarse=True)  # type: ignore[operator]
    layers = group_parameters(network, matcher, reverse=True)
    last = max(layers.values())
    frozen = {"stem": 1, "stages": last}.get(parts, 0) if isinstance(parts, str) else parts + 1
    if frozen > last:
        raise SkipweaveError(f"freeze is {parts}, but {name} has {last - 1} stages: expected at most that, or stages")
    for parameter, layer in layers.items():
        if layer < frozen:
            network.get_parameter(parameter).requires_grad_(False)
    return [module for module in network.modules() if _is_frozen(module)]


def _affine_of_nodes(network: nn.Module) -> list[nn.Module]:
    """The modules with the weights and biases of the batch norms of nodes, which have none themselves."""
    if not any(isinstance(module, NodeNorm) for module in network.modules()):
        return []
    return [module for module in network.modules() if isinstance(module, ConcatRead)]


def _is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters, and none of them is trained."""
    trained = [parameter.requires_grad for parameter in module.parameters()]
    return bool(trained) and not any(trained)
