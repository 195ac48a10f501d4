"""Versions, source commit and machine of a run, which it records in versions.json."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from skipweave.ops.cpu.processor import cores, processor
from skipweave_config.plain_files import read_json
from skipweave_config.validation import validate_json

_PACKAGES = ("skipweave", "torch", "torchvision", "timm", "lightning-fabric", "safetensors", "numpy")
_CHECKOUT = Path(__file__).parents[4]


def versions(accelerator: str) -> dict[str, str]:
    """Versions of Python and packages, source commit, operating system, processor and GPU.

    Args:
        accelerator: As for `skipweave fit`; with `cpu` the GPU is `none`.
    """
    has_gpu = accelerator != "cpu" and torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "commit": source_commit(),
        "platform": platform.platform(),
        "processor": f"{processor()}, {cores()} cores",
        "GPU": torch.cuda.get_device_name() if has_gpu else "none",
    }


def read_versions(path: Path) -> dict[str, str]:
    """Read the versions.json of a run; empty if there is none.

    Raises:
        SkipweaveError: It is damaged.
    """
    return validate_json(dict[str, str], read_json(path), str(path)) if path.is_file() else {}


def source_commit(checkout: Path = _CHECKOUT) -> str:
    """Git commit of a source checkout, with `-dirty` if tracked files have changed; empty if it is none.

    Args:
        checkout: Root of the checkout; the default is that of skipweave.
    """
    if not (checkout / ".git").exists():  # a package in a virtual environment is not part of the repository around it
        return ""
    repository = ["--git-dir", str(checkout / ".git"), "--work-tree", str(checkout)]  # whatever GIT_DIR is
    command = ["git", "--no-optional-locks", *repository]
    describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run([*command, *describe], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
