"""`python -m skipweave` is `skipweave`."""

import sys

from skipweave_cli import main

if __name__ == "__main__":
    sys.exit(main())
