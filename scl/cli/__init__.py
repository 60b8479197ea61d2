"""The command line: `main` for study files, and the command `scl`."""

from scl.cli.main import main

__all__ = ["main"]
