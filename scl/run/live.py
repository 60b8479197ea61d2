"""What others see of a run while it runs: progress.json, lines in a log and, when it is cheap enough, the page."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from scl.errors import RunFailed, UserError
from scl.report import render, render_start
from scl.report.formatting import duration
from scl.report.results import Results, read
from scl.store.files import Folder
from scl.store.output import signed
from scl.store.progress import HEARTBEAT, remove_progress, write_progress
from scl.store.schema import now
from scl.terminal import in_a_log, say

PAGE = "report.html"
EVERY = {True: 2.0, False: 15.0}  # seconds between two records, at least: on a disk, in an object store
RECORDS_SHARE = 0.003  # of the run's time that records may take
PAGE_SECONDS = 30.0  # between two pages, at least
QUIET_PAGE_SECONDS = 120.0  # the same if no trial has ended: then only the trials in training have changed
SHARE = 0.015  # of the run's time that pages may take: with the records, less than 2 %
# Seconds that the first page is expected to take, and in addition for each trial; after it, the last one tells.
FIRST_PAGE, EACH_TRIAL = 1.5, 0.006
LOOK_SECONDS = 5.0  # between two looks of the thread, which tells what no event has told
LINE_SECONDS = 50.0  # after this time without a line, a log gets one: with the looks, at least one a minute


class Shown(Protocol):
    """What goes on, for others."""

    def record(self) -> Mapping[str, Any]:
        """What `scl.store.progress` keeps of it."""

    def line(self) -> str:
        """The same in a line of a log."""


@dataclass(frozen=True)
class Stage:
    """What is done before anything can be counted."""

    text: str
    began: float = field(default_factory=time.monotonic)

    def record(self) -> Mapping[str, Any]:
        return {"title": self.text, "expected": 0, "ended": 0, "failed": 0, "seconds_left": None, "running": []}

    def line(self) -> str:
        return f"{self.text}, for {duration(time.monotonic() - self.began)} now"


@dataclass(eq=False)
class Live:
    """Tells how far a run is, at most as often as it is cheap. A failure to tell never ends the run.

    store: None tells nobody. clock: seconds that rise. shown: what goes on now. told, page_at: when the last record and
    page were written; record_cost, page_cost: seconds that they took (None: there was no page yet); spent: on all
    pages. trials: those of the plan. said: when a log got its last line. pages: False once one has failed.
    """

    store: Folder | None
    command: str = ""
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)
    since: str = field(init=False)
    told: float = field(init=False)
    page_at: float = field(init=False)
    said: float = field(init=False)
    page_cost: float | None = None
    record_cost: float = 0.0
    spent: float = 0.0
    trials: int = 0
    pages: bool = True
    shown: Shown | None = None
    _telling: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.began = self.told = self.page_at = self.said = self.clock()
        self.told -= max(EVERY.values())
        self.since = now().isoformat(timespec="seconds")

    def begin(self) -> None:
        """From now on, tell what goes on when nothing else does: an epoch may take hours."""
        self._thread = threading.Thread(target=self._looks, daemon=True)
        self._thread.start()

    def stage(self, text: str) -> None:
        """Say what is done now, and tell others."""
        self.show(Stage(text))
        self.say(text)

    def show(self, shown: Shown) -> None:
        """Tell others of this from now on."""
        self.shown = shown
        self.tell()

    def say(self, line: str) -> None:
        """Print a line."""
        say(line)
        self.said = self.clock()

    def first_page(self, trials: int) -> None:
        """A first page of a new store, without figures: they would cost more time than a short run has to spare.

        trials: planned, done or not.
        """
        self.trials = trials
        if self.store is not None and not self.store.exists(PAGE):
            self._page(self.store, render_start)

    def changed(self, ended: bool = False) -> None:
        """Something happened. ended: a trial has ended."""
        if self.store is None:
            return
        here = self.clock()
        page = self.page_is_due(here, ended)
        if page or here - self.told >= max(EVERY[self.store.is_local], self.record_cost / RECORDS_SHARE):
            self.tell()
        if page:
            self._page(self.store, _page_of)

    def page_is_due(self, here: float, ended: bool) -> bool:
        """Whether a page now leaves all pages together within SHARE of the run's time, and is not too soon."""
        cost = self.page_cost if self.page_cost is not None else FIRST_PAGE + EACH_TRIAL * self.trials
        affordable = self.spent + cost <= SHARE * (here - self.began)
        return self.pages and affordable and here - self.page_at >= (PAGE_SECONDS if ended else QUIET_PAGE_SECONDS)

    def tell(self) -> None:
        """Write the record, unless another thread does so at this moment."""
        if self.store is None or self.shown is None or not self._telling.acquire(blocking=False):
            return
        try:
            if self._over.is_set():
                return
            began = self.clock()
            whose = {"since": self.since, "host": socket.gethostname(), "command": self.command[:300]}
            with suppress(OSError):  # what stores results will say it
                record = {**self.shown.record(), **whose, "updated": now().isoformat(timespec="seconds")}
                write_progress(self.store, record)
            self.told = self.clock()
            self.record_cost = self.told - began
        finally:
            self._telling.release()

    def end(self) -> None:
        """Tell nothing any more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self.store is not None:
            remove_progress(self.store)

    def look(self) -> None:
        """Tell what goes on if nothing has told it for long."""
        if self.shown is None:
            return
        if in_a_log() and self.clock() - self.said >= LINE_SECONDS:
            self.say(self.shown.line())
        if self.clock() - self.told >= HEARTBEAT:
            self.tell()

    def _looks(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.look()

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
        if rendered is _page_of:
            self.page_cost = self.page_at - began
        self.spent += self.page_at - began


def _page_of(results: Results) -> str:
    return render(results) if len(results.trials) else render_start(results)
