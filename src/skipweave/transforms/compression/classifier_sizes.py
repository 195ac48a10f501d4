"""The sizes that timm models store for `reset_classifier`, after a change of widths."""

from torch import Tensor, nn

from skipweave.tracing.copies import in_mode
from skipweave.tracing.replicas import Trials, run
from skipweave_config.errors import SkipweaveError

_SIZES = ("num_features", "head_hidden_size")
_SIZES_OF_HEADS = (*_SIZES, "in_features", "hidden_size", "in_width")

Change = tuple[int, int]  # a width before and after


def update_classifier_sizes(given: nn.Module, resized: nn.Module, trials: Trials) -> None:
    """Update the sizes that a network and its head store, in place.

    As in timm, `num_features` is the number of channels of `forward_features`, and `head_hidden_size` that of the
    classifier's input; they differ where there are layers between the two, as in MobileNetV3 and VGG.

    Args:
        given: The network before its widths were changed.
        resized: The network after that.
        trials: Inputs to run them with.
    """
    before, after = _classifier(given), _classifier(resized)
    if before is None or after is None:
        return
    inputs = _input_width(before), _input_width(after)
    features = _features(given, resized, trials) or inputs
    for part in resized.modules():
        for name in _SIZES if part is resized else _SIZES_OF_HEADS if after in part.children() else ():
            size = getattr(part, name, None)
            if type(size) is int and size > 0:
                of_features = part is resized and name == "num_features"
                setattr(part, name, _updated(size, inputs, (features, inputs) if of_features else (inputs, features)))


def _classifier(model: nn.Module) -> nn.Linear | nn.Conv2d | None:
    found: object = getattr(model, "get_classifier", lambda: None)()
    return found if isinstance(found, nn.Linear | nn.Conv2d) else None


def _input_width(classifier: nn.Linear | nn.Conv2d) -> int:
    return classifier.in_features if isinstance(classifier, nn.Linear) else classifier.in_channels


def _features(given: nn.Module, resized: nn.Module, trials: Trials) -> Change | None:
    """Channels of `forward_features`; None if the network has none of this number."""
    try:
        maps = [
            run(in_mode(trials.replica(model), training=False), next(trials.here()), "forward_features")
            for model in (given, resized)
        ]
    except SkipweaveError:
        return None
    shapes = [tuple(each.shape) for each in maps if isinstance(each, Tensor)]
    if len(shapes) == 2 and min(map(len, shapes)) > 1:
        for dim in (1, -1):  # channels first, or last as in transformers
            if shapes[0][dim] == getattr(given, "num_features", None):
                return shapes[0][dim], shapes[1][dim]
    return None


def _updated(size: int, inputs: Change, changes: tuple[Change, ...]) -> int:
    """The size after the first change from it; else, before a pooling, in proportion to the classifier's input."""
    for before, after in changes:
        if size == before:
            return after
    before, after = inputs
    ratio, rest = divmod(before, size)
    return size if rest or after % ratio else after // ratio
