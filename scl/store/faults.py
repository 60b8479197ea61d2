"""Files of a store that are not as scl wrote them: what a reader says about them, and when it must stop."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scl.errors import RunFailed, UserError
from scl.store.checksums import UnknownFormat
from scl.store.files import Folder, explain
from scl.terminal import say


@dataclass(frozen=True)
class Fault:
    """A file that is not used, or not as it is.

    file: its path in the store. reason: what is wrong, and what is used instead. set_aside: a writer moves the file to
    `damaged`, because its bytes are not those that were written, or because another file takes its place. A reader
    never moves anything.
    """

    file: str
    reason: str
    set_aside: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


def tell(store: Folder, faults: Iterable[Fault]) -> None:
    """Print each fault to stderr, once a process: a run reads its store many times."""
    for fault in faults:
        _once(f"{store}/{fault}")


@functools.cache
def _once(text: str) -> None:
    say(text)


@contextmanager
def stops(file: str) -> Iterator[None]:
    """Turn what says nothing about a file's content into an error that names the file. Such a file is not damaged.

    Raises:
        RunFailed: the file cannot be opened, or there is not enough memory.
        UserError: a newer version of scl wrote the file.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except MemoryError:
        raise RunFailed(f"{file}: there is not enough memory to read it; nothing was changed") from None
    except OSError as error:
        raise RunFailed(f"{file} cannot be read: {explain(error)}; nothing was changed") from None
    except UnknownFormat as error:
        raise UserError(f"a newer scl wrote {file} ({error}); update scl") from None
