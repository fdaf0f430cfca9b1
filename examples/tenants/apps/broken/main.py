"""Cannot be imported: it has no environment, and no package of this name."""

import no_such_package  # type: ignore[import-not-found]

app = no_such_package.app
