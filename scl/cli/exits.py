"""How a program ends: the exit codes of the contract, and no traceback for a user's mistake."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from scl.errors import RunFailed, UserError
from scl.store.output import output_file
from scl.terminal import printable, say


class Parser(argparse.ArgumentParser):
    """A parser whose messages, which repeat arguments, hold no credentials."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def exit_with(work: Callable[[], int]) -> None:
    """Do a script's work and exit with its code; an early SIGTERM ends it as a later one does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # while torch and others are being imported
    sys.exit(exit_code(work))


def exit_code(work: Callable[[], int]) -> int:
    """The exit code of `work`: 2 with one message for a user's mistake, 1 for a run that failed."""
    try:
        code = work()
        sys.stdout.flush()
        return code
    except (UserError, RunFailed) as error:
        say(f"error: {error}")
        return 2 if isinstance(error, UserError) else 1
    except BrokenPipeError:
        # The reader has ended, as in `| head`. Python's flush at the end must not meet the broken pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        say("interrupted; finished trials are kept")
        return 130


def write_text(out: str, text: str, force: bool = False) -> None:
    """Write a text to the file of a flag `--out`; raises UserError if it cannot be written or may not be replaced."""
    path = output_file(out, force)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}; name a file that can be written") from None
