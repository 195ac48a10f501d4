"""Weights that others put on the Hugging Face hub: one file of them, and nothing else."""

import re
from pathlib import Path

from skipweave.errors import SkipweaveError

HUB = "hf-hub:"
"""What the name of a repository on the hub begins with, as in timm."""

_FILE = "model.safetensors"
_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)


def local_weights(place: Path) -> Path:
    """Download the weights that are named as on the hub, or leave the path of a file as it is.

    Of a repository `model.safetensors` alone is downloaded, into the hub's cache on this machine. It is no more trusted
    than any other file: give it to `skipweave.training.load_weights`.

    Args:
        place: `hf-hub:USER/REPO`, `hf-hub:USER/REPO@REVISION`, or a path.

    Returns:
        A path on this machine.

    Raises:
        SkipweaveError: It is no name of a repository, or the file cannot be downloaded.

    >>> local_weights(Path("runs/sparsenet40_12_digits_1/model.safetensors")).name
    'model.safetensors'
    """
    if not str(place).startswith(HUB):
        return place
    named = _NAME.fullmatch(str(place).removeprefix(HUB))
    if not named:
        raise SkipweaveError(f"{place}: expected {HUB}USER/REPO, or {HUB}USER/REPO@REVISION")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # each attempt would be told of
    try:
        return Path(hf_hub_download(named[1], _FILE, revision=named[2]))
    except Exception as error:  # the hub's client, the network and the disk fail each in their own way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SkipweaveError(f"cannot download {_FILE} of {named[1]} from the Hugging Face hub: {reason}") from error
    finally:
        logging.set_verbosity(verbosity)
