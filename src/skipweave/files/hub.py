"""Download of weights from the Hugging Face Hub."""

import re
from pathlib import Path

from skipweave_config.errors import SkipweaveError

HUB = "hf-hub:"
"""Prefix of repositories on the Hub, as in timm."""

WEIGHTS_FILE = "model.safetensors"
"""File of weights in a repository, and in a run directory."""
_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)


def local_weights(place: Path) -> Path:
    """Return the local path of weights, downloading those of the Hugging Face Hub.

    Only `model.safetensors` is downloaded, to the Hub's local cache. It is not trusted: load it with
    `skipweave.training.load_weights`.

    Args:
        place: `hf-hub:USER/REPO`, `hf-hub:USER/REPO@REVISION`, or a path, which is returned as it is.

    Raises:
        SkipweaveError: The repository name is invalid, or the file cannot be downloaded.

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
