"""`scl watch`: the state of live runs, from wherever their results can be read."""

from __future__ import annotations

import math
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from scl.errors import UserError
from scl.report.formatting import about, duration, moment, percent
from scl.store.faults import stops
from scl.store.files import Folder
from scl.store.holder import has_ended, name_of_holder, read_holder
from scl.store.lookup import stores
from scl.store.progress import GONE, LATE, age, read_progress
from scl.store.schema import now
from scl.streams import console
from scl.terminal import cell, in_a_log, say, show

SECONDS = {True: 3.0, False: 10.0}  # between two looks: on a disk, in an object store
LINE_SECONDS = 30.0  # between two lines where there is no terminal


def run(given: Namespace) -> int:
    watched = _found(given.place, given.wait)
    live = [one for one in watched if one.runs]
    if not live:
        say("\n".join(one.end() for one in watched))
    elif given.once:
        show("\n".join(one.line() for one in live))
    else:
        follow = _lines if in_a_log("stdout") else _screen
        follow(given.place, live)
        show("\n".join(one.end() for one in live))
        return 1 if any(one.alive for one in live) else 0
    return 0


@dataclass
class Watched:
    """A study's store, and what its run tells.

    alive: whether a run holds the store, as far as this machine can tell. record: what it told last; None if it tells
    nothing: it starts, it ends, or it has not begun to tell. news: when that was another, by a clock that no one sets.
    ran: whether a run has been seen.
    """

    name: str
    store: Folder
    alive: bool = False
    ran: bool = False
    record: dict[str, Any] | None = None
    news: float = -math.inf
    holder: Mapping[str, object] = field(default_factory=dict)

    def look(self) -> None:
        with stops(str(self.store)):
            holder = read_holder(self.store)
        self.alive = bool(holder) and not has_ended(holder)
        found = read_progress(self.store, gone=math.inf) if self.alive else None
        if (found or {}).get("updated") != (self.record or {}).get("updated") or not self.ran:
            # Hosts' clocks differ: after the first look, only changes tell.
            self.news = time.monotonic() - (age(found, now()) if found and not self.ran else 0.0)
        self.record, self.holder, self.ran = found, holder, self.ran or self.alive

    @property
    def runs(self) -> bool:
        return self.alive and self.late < GONE

    @property
    def late(self) -> float:
        """Seconds without news."""
        return time.monotonic() - self.news

    def line(self) -> str:
        """How far the run is."""
        late = ""
        if self.late >= LATE:
            late = f"; not updated since {self._last()}, so it may have ended or be cut off"
        if self.record is None:
            return f"{self.name}: {name_of_holder(dict(self.holder))} starts or ends, and tells nothing{late}"
        return f"{self.name}: {_progress(self.record, self.late)}{late}"

    def end(self) -> str:
        """What to say of a run that is not followed any more, or of a store without one."""
        page = f"its page: {self.store}/report.html" if self.store.exists("report.html") else "it has no page yet"
        if self.alive:
            return (
                f"{self.name}: no news since {self._last()} from {name_of_holder(dict(self.holder))}: it was killed, "
                f"suspended or cut off. If it has ended, its command continues it; {page}"
            )
        return f"{self.name}: {'the run has ended' if self.ran else 'nothing runs here now'}; {page}"

    def _last(self) -> str:
        return moment((now() - timedelta(seconds=self.late)).isoformat())


def _found(place: str, wait: bool) -> list[Watched]:
    """The stores to watch: one study's, or all in a folder of results. wait: until one of them has a run.

    Raises:
        UserError: there is no store, and nobody waits for one.
    """
    waits = False
    while True:
        try:
            found = [Watched(name, store) for name, store in stores(place).items()]
        except UserError as error:
            if not wait:
                raise UserError(f"{error}; `scl watch {place} --wait` waits for one") from None
            found = []
        for one in found:
            one.look()
        if not wait or any(one.runs for one in found):
            return found
        if not waits:
            say(f"waiting for a run in {place}")
        waits = True
        time.sleep(SECONDS["://" not in place])


def _sleep(place: str, live: list[Watched]) -> bool:
    """Wait, look again, and follow studies that have begun since; whether a run goes on."""
    time.sleep(SECONDS[all(one.store.is_local for one in live)])
    for one in live:
        one.look()
    followed = {one.name for one in live}
    with suppress(UserError, OSError):  # a folder that is gone for a moment has no new study
        others = [Watched(name, store) for name, store in stores(place).items() if name not in followed]
        for one in others:
            one.look()
        live += [one for one in others if one.runs]
    return any(one.runs for one in live)


def _lines(place: str, live: list[Watched]) -> None:
    """For logs: a line whenever something has ended, and every LINE_SECONDS."""
    said: dict[str, tuple[int, float]] = {}
    while True:
        for one in live:
            ended = one.record["ended"] if one.record else -1
            before, at = said.get(one.name, (-2, -math.inf))
            if one.runs and (ended != before or time.monotonic() - at >= LINE_SECONDS):
                show(one.line())
                said[one.name] = ended, time.monotonic()
        if not _sleep(place, live):
            return


def _screen(place: str, live: list[Watched]) -> None:
    terminal = console()
    with Live(_drawn(live, terminal), console=terminal, auto_refresh=False, transient=True) as screen:
        while _sleep(place, live):
            screen.update(_drawn(live, terminal), refresh=True)


def _progress(record: Mapping[str, Any], late: float) -> str:
    if not record["expected"]:
        return str(record["title"])
    parts = [f"{record['ended']} of {record['expected']} ended"] if record["expected"] > 1 else []
    parts += [f"{record['failed']} failed"] if record["failed"] else []
    parts += [f"epoch {one['epoch']} of {one['epochs']}" for one in record["running"][:1]]
    curves = [(v, one["label"]) for one in record["running"] for v in one["val_acc"] if not math.isnan(v)]
    if curves:
        best, label = max(curves)
        parts.append(f"best validation {percent(best, 1)}" + (f" ({label})" if record["expected"] > 1 else ""))
    left = record["seconds_left"]
    parts += [f"about {about(max(0.0, left - late))} left"] if left is not None and late < LATE else []
    return f"{record['title']}: {', '.join(parts) or 'no epoch has ended yet'}"


def _drawn(live: Sequence[Watched], terminal: Console) -> RenderableType:
    """Each run: a line, and a table of its trials in training, of as many as fit."""
    parts: list[RenderableType] = []
    room = max(3, (terminal.height - 2) // len(live) - 4)
    for one in live:
        age_of = f" · told {duration(one.late)} ago by {one.record['host']}" if one.record and one.runs else ""
        parts.append(cell((one.line() if one.runs else one.end()) + age_of))
        if not one.runs or one.record is None or not one.record["running"]:
            continue
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("trial", overflow="fold")
        for heading in ("epoch", "val. acc."):
            table.add_column(heading, no_wrap=True)
        for trial in one.record["running"][:room]:
            known = [v for v in trial["val_acc"] if not math.isnan(v)]
            value = percent(known[-1], 1) if known else ""
            table.add_row(cell(trial["label"]), f"{trial['epoch']}/{trial['epochs']}", value)
        parts.append(table)
    return Group(*parts)
