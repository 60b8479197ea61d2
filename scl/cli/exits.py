"""How a program ends: the exit codes of the contract, and no traceback for a user's mistake."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from scl.errors import RunFailed, UserError
from scl.store.output import output_file
from scl.streams import standard_streams
from scl.study.checks import place
from scl.terminal import printable, say, show

BROKEN_PIPE = 141  # what a shell shows for a program that SIGPIPE ended


class Parser(argparse.ArgumentParser):
    """A parser whose messages, which repeat arguments, hold no credentials."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def exit_with(work: Callable[[], int]) -> None:
    """Do a script's work and exit with its code; an early SIGTERM ends it as a later one does."""
    if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses to set handlers
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # while torch and others are being imported
    sys.exit(exit_code(work))


def exit_code(work: Callable[[], int]) -> int:
    """The exit code of `work`: 2 with one message for a user's mistake, 1 for a run that failed."""
    with standard_streams():
        try:
            return _flushed(work)
        except (UserError, RunFailed) as error:
            say(f"error: {error}")
            return 2 if isinstance(error, UserError) else 1
        except BrokenPipeError:
            _drop_stdout()  # the reader has ended, as in `| head`
            return BROKEN_PIPE
        except OSError as error:
            full = _stdout_is_full()
            what = f"standard output cannot be written: {error.strerror}" if full else f"{error}; name another path"
            say(f"error: {what}")
            return 2
        except KeyboardInterrupt:
            say("interrupted; finished trials are kept")
            return 130


def _flushed(work: Callable[[], int]) -> int:
    """The code of `work`, after all that it has printed has reached its reader."""
    try:
        code = work()
    except SystemExit:  # of --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _stdout_is_full() -> bool:
    """Whether nothing more can be printed; then what is still to be printed is dropped."""
    try:
        show("")
        sys.stdout.flush()
    except OSError:
        _drop_stdout()
        return True
    return False


def _drop_stdout() -> None:
    """Python's flush at the end must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_text(out: str, text: str, force: bool = False) -> None:
    """Write a text to the file of a flag `--out`; raises UserError if it cannot be written or may not be replaced."""
    try:
        path = output_file(place(out), force)
        path.write_text(text, encoding="utf-8")
    except ValueError as error:
        raise UserError(f"--out: {error}") from None
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; name a file that can be written") from None
