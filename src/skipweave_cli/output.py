"""Output without rich, for help and configs."""

import os
import sys


def write_out(text: str) -> None:
    """Print to stdout; continue without it if it is closed, as after `| head`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
