"""Warning about the number of worker processes."""

import sys

from skipweave.data import workers_warning


def warn_of_workers(workers: int) -> None:
    """Print a warning to stderr if there are more worker processes than cores."""
    if note := workers_warning(workers):
        print(f"skipweave: warning: {note}", file=sys.stderr)
