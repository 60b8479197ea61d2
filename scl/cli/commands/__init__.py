"""The work of each command of `scl`: a module with `run(given)`, which returns the exit code."""
