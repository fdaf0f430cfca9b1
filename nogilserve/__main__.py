"""`python -m nogilserve`."""

import sys

from nogilserve.cli import main

if __name__ == "__main__":
    sys.exit(main())
