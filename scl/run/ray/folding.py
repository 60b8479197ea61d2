"""Results move into the tables while a run goes on, so that a run that is killed leaves few files to read."""

from __future__ import annotations

import threading
from contextlib import suppress

from scl.errors import RunFailed, UserError
from scl.store.files import Folder
from scl.store.lease import LostLease
from scl.store.tables import compact

AT_LEAST = 2000  # ended trials


class Folding:
    """Counts ended trials, and moves their parts into the tables, in a thread, whenever there are as many as the tables
    have rows: all of it takes as long as two times its end would.

    Only parts of trials whose end the driver has heard move. What it has not heard, the cohorts that come back look for
    among the parts.
    """

    def __init__(self) -> None:
        self.ended = set[str]()
        self.rows = 0
        self.thread: threading.Thread | None = None
        self.closed = False

    def add(self, store: Folder, trial_id: str) -> None:
        """A trial has ended, and has a part in this store."""
        self.ended.add(trial_id)
        busy = self.closed or (self.thread and self.thread.is_alive())
        if busy or len(self.ended) < max(AT_LEAST, self.rows):
            return
        ended, self.ended = self.ended, set[str]()
        self.thread = threading.Thread(target=self._fold, args=(store, ended), daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Move no more, and wait until a move has ended: then the run may move the rest, and give its lock back."""
        self.closed = True
        if self.thread:
            self.thread.join()

    def _fold(self, store: Folder, ended: set[str]) -> None:
        with suppress(LostLease, RunFailed, UserError, OSError):  # the run's end moves them too, or says why it cannot
            self.rows = compact(store, {}, of=ended)
