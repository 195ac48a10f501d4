"""Output before anything else is imported."""

import os
import sys


def write_out(text: str) -> None:
    """Print to stdout; once it is closed, as after `| head`, continue without it."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
