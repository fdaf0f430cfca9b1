"""`python -m nogilserve.config > docs/options.md`."""

import sys

from nogilserve.config.render import options_document

if __name__ == "__main__":
    sys.stdout.write(options_document())
