"""`python -m skipweave` is `skipweave`."""

import sys

from skipweave.cli import main

if __name__ == "__main__":
    sys.exit(main())
