"""Local paths of weights: those of the package, and those downloaded from the Hugging Face Hub."""

import re
from pathlib import Path

from skipweave_config.errors import SkipweaveError
from skipweave_config.model_table import model_table
from skipweave_config.shipped_weights import WEIGHTS_FILE, shipped_weights

HUB = "hf-hub:"
"""Prefix of repositories on the Hub, as in timm."""

_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)


def local_weights(place: Path) -> Path:
    """Return the local path of weights, downloading those of the Hugging Face Hub.

    Only `model.safetensors` is downloaded, to the Hub's local cache. It is not trusted: load it with
    `skipweave.training.load_weights`.

    Args:
        place: `hf-hub:USER/REPO`, `hf-hub:USER/REPO@REVISION`, the name of weights of the package, such as
            `sparsenet_fast_64.cifar10`, or a path, which is returned as it is.

    Raises:
        SkipweaveError: The repository name is invalid, the file cannot be downloaded, the package's is damaged, or the
            name is that of a model, which has no weights.

    >>> local_weights(Path("runs/sparsenet40_12_digits_1/model.safetensors")).name
    'model.safetensors'
    """
    if not str(place).startswith(HUB):
        return place if place.exists() else _of_the_package(place)
    named = _NAME.fullmatch(str(place).removeprefix(HUB))
    if not named:
        raise SkipweaveError(f"{place}: expected {HUB}USER/REPO, or {HUB}USER/REPO@REVISION")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # otherwise every attempt is logged
    try:
        return Path(hf_hub_download(named[1], WEIGHTS_FILE, revision=named[2]))
    except Exception as error:  # the client, the network and the disk raise various exceptions
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SkipweaveError(
            f"cannot download {WEIGHTS_FILE} of {named[1]} from the Hugging Face Hub: {reason}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)


def _of_the_package(place: Path) -> Path:
    """The path of weights of the package; a path that does not exist is returned as it is."""
    name, shipped = str(place), shipped_weights()
    if name in shipped:
        return shipped[name].verified()
    if name in model_table():
        own = [each.name for each in shipped.values() if each.model == name]
        raise SkipweaveError(
            f"{name} is a model, not a file of weights: give the {WEIGHTS_FILE} of a run, or weights that ship with "
            f"skipweave: {', '.join(own or shipped)}"
        )
    return place
