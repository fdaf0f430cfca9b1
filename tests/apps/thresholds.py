"""An application that has decided for itself when garbage is collected."""

import gc

from tests.apps.prepared import wsgi

__all__ = ["wsgi"]

gc.set_threshold(1234)
