"""How a program ends: the exit codes of the contract, and no traceback for a user's mistake."""

from __future__ import annotations

import argparse
import atexit
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from scl.errors import RunFailed, UserError, readable
from scl.run.stopping import LEFT_RUNNING, interruptible, stop_signals
from scl.store.output import output_file
from scl.streams import lasting_output, silence, standard_streams
from scl.study.checks import place
from scl.terminal import say, show

BROKEN_PIPE = 141  # what a shell shows for a program that SIGPIPE ended
# Of the loader of libraries, and of torch.
NO_MEMORY = ("failed to map segment", "annot allocate memory", "can't allocate memory")
KEPT = "interrupted{by}; finished trials are kept"  # of a run
MORE_MEMORY = "raise its limit (`ulimit -v`), or end other programs; what was finished is kept"


class Parser(argparse.ArgumentParser):
    """A parser whose messages, which repeat arguments, hold no credentials and no endless words."""

    def error(self, message: str) -> NoReturn:
        super().error(readable(message))


def exit_with(work: Callable[[], int], interrupted: str = KEPT) -> NoReturn:
    """Do a script's work and exit with its code, which a signal that comes last does not change."""
    code = exit_code(work, interrupted)
    atexit.register(_keep_code, code)
    if LEFT_RUNNING.is_set():
        with lasting_output():
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _keep_code(code: int) -> None:
    """Python takes a second to end, in which a signal would end it with a code of its own."""
    for number in stop_signals():
        signal.signal(number, lambda *_: os._exit(code))


def exit_code(work: Callable[[], int], interrupted: str = KEPT) -> int:
    """The exit code of `work`: 2 with one message for a user's mistake, 1 for a run that failed, 130 after a signal.

    interrupted: what to say then; `{by}` becomes ` by ` and the signal.
    """
    with standard_streams():
        try:
            with interruptible():  # while torch and others are being imported
                return _flushed(work)
        except (UserError, RunFailed) as error:
            say(f"error: {error}")
            return 2 if isinstance(error, UserError) else 1
        except BrokenPipeError:
            silence(sys.stdout)  # the reader has ended, as in `| head`
            return BROKEN_PIPE
        except (MemoryError, ImportError, RuntimeError) as error:
            if not _is_of_memory(error):
                raise
            say(f"error: there is not enough memory ({str(error) or 'for what was asked'}); {MORE_MEMORY}")
            return 1
        except OSError as error:
            what = f"{readable(error)}; name another path"
            if _stdout_is_full():
                what = f"standard output cannot be written: {error.strerror}"
            say(f"error: {what}")
            return 2
        except KeyboardInterrupt as interruption:
            by = f" by {interruption}" if str(interruption) else ""  # the signal, if it is known
            say(interrupted.format(by=by))
            return 130


def _is_of_memory(error: BaseException) -> bool:
    """Whether memory was missing: for data, or for a library that was to be loaded."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


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
        silence(sys.stdout)
        return True
    return False


def write_text(out: str, text: str, force: bool = False) -> None:
    """Write a text to the file of a flag `--out`; raises UserError if it cannot be written or may not be replaced."""
    try:
        path = output_file(place(out), force)
        path.write_text(text, encoding="utf-8")
    except ValueError as error:
        raise UserError(f"--out: {error}") from None
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; name a file that can be written") from None
