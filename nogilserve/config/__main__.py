"""`python -m nogilserve.config > docs/options.md`, and `… schema > nogilserve.schema.json`."""

import sys

from nogilserve.config.render import options_document
from nogilserve.config.schema import schema_document

if __name__ == "__main__":
    sys.stdout.write(schema_document() if sys.argv[1:] == ["schema"] else options_document())
