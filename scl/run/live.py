"""What others see of a run while it runs: progress.json and, when it is cheap enough, the page."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from scl.errors import RunFailed, UserError
from scl.report import render, render_start
from scl.report.results import Results, read
from scl.store.files import Folder
from scl.store.output import signed
from scl.store.progress import remove_progress, write_progress
from scl.store.schema import now
from scl.terminal import say

PAGE = "report.html"
EVERY = {True: 2.0, False: 15.0}  # seconds between two records: on a disk, in an object store
PAGE_SECONDS = 30.0  # between two pages, at least
SHARE = 0.02  # of the run's time that pages may take
FIRST_PAGE = 1.5  # seconds that the first page is expected to take; after it, the last one tells


@dataclass
class Live:
    """Tells how far a run is, at most as often as it is cheap. A failure to tell never ends the run.

    store: None tells nobody. clock: seconds that rise.
    """

    store: Folder | None
    command: str = ""
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)
    since: str = field(init=False)
    told: float = field(init=False)
    page_at: float = field(init=False)
    page_cost: float = FIRST_PAGE
    spent: float = 0.0
    pages: bool = True  # False once one has failed

    def __post_init__(self) -> None:
        self.began = self.told = self.page_at = self.clock()
        self.told -= max(EVERY.values())
        self.since = now().isoformat(timespec="seconds")

    def start(self) -> None:
        """A first page of a new store, without figures: they would cost more time than a short run has to spare."""
        if self.store is not None and not self.store.exists(PAGE):
            self._page(self.store, render_start)

    def changed(self, record: Callable[[], Mapping[str, Any]], ended: bool = False) -> None:
        """Something happened. record: makes what is told of it. ended: a trial has ended, which is worth a page."""
        if self.store is None:
            return
        here = self.clock()
        page = ended and self.page_is_due(here)
        if page or here - self.told >= EVERY[self.store.is_local]:
            self.tell(record())
        if page:
            self._page(self.store, render)

    def page_is_due(self, here: float) -> bool:
        """Whether a page now leaves all pages together within SHARE of the run's time, and is not too soon."""
        affordable = self.spent + self.page_cost <= SHARE * (here - self.began)
        return self.pages and affordable and here - self.page_at >= PAGE_SECONDS

    def tell(self, record: Mapping[str, Any]) -> None:
        if self.store is None:
            return
        whose = {"since": self.since, "host": socket.gethostname(), "command": self.command[:300]}
        with suppress(OSError):  # what stores results will say it
            write_progress(self.store, {**record, **whose, "updated": now().isoformat(timespec="seconds")})
        self.told = self.clock()

    def end(self) -> None:
        if self.store is not None:
            remove_progress(self.store)

    def _page(self, store: Folder, rendered: Callable[[Results], str]) -> None:
        began = self.clock()
        try:
            results = read(store)
            store.write(PAGE, signed(rendered(results), results.study))
        except (UserError, RunFailed, OSError, ModuleNotFoundError) as error:
            self.pages = False
            if not isinstance(error, ModuleNotFoundError):  # the end says it
                say(f"note: the page cannot be written while the run goes on ({error}); its end tries again")
        self.page_at = self.clock()
        self.page_cost = max(FIRST_PAGE, self.page_at - began)
        self.spent += self.page_at - began
