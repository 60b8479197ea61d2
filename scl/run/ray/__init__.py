"""Ray: the only package that imports it. `scl.run.backend` reaches it, and only if a run needs it."""
