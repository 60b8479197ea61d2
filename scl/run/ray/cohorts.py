"""Which cohort trains next: new ones, and those that come back because their worker died."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scl.run.fitting import Fitting
from scl.run.ray.deaths import Death, Kind

MAX_DEATHS = 3  # in a row and without a new epoch, before the trials of a cohort count as failed


@dataclass
class Cohorts:
    """Hands out cohorts, by a key for each attempt.

    A cohort whose worker died comes back in halves, so that a trial that kills its worker is alone in the end, and
    the others complete. The last attempts of such a trial wait until nothing else trains, since memory is shared.

    Cohorts that ran out of memory bound the size of later ones of such jobs, whichever worker gets them.

    fresh: the next new cohort; empty if there is none, None if there may be one once a running one has ended.
    kind: of a job, see `fitting`; by default each job is a kind of its own.
    """

    fresh: Callable[[], list[str] | None]
    kind: Callable[[str], Hashable] = lambda job: job
    fitting: Fitting = field(default_factory=Fitting)
    running: dict[str, list[str]] = field(default_factory=dict)  # key → job ids
    back: list[list[str]] = field(default_factory=list)
    suspects: list[list[str]] = field(default_factory=list)  # wait until nothing else trains
    exhausted: bool = False  # fresh has no more
    epochs: dict[str, int] = field(default_factory=dict)  # job id → the last epoch that was reported
    ended: set[str] = field(default_factory=set)
    deaths: dict[tuple[str, ...], tuple[int, int]] = field(default_factory=dict)  # cohort → deaths, epochs by then

    def next(self, key: str) -> list[str] | None:
        """A cohort to train now; None if a running one must end first, empty at the end."""
        cohort = self.back.pop(0) if self.back else []
        if not cohort and not self.exhausted:
            fresh = self.fresh()
            self.exhausted = fresh == []
            cohort = fresh or []
        if not cohort and self.running:
            return None
        if not cohort and self.suspects:
            cohort = self.suspects.pop(0)
        if cohort:
            cohort, *rest = self.fitting.pieces(cohort, self.kind)
            self.back = rest + self.back
            self.running[key] = cohort
        return cohort

    def crowded(self, jobs: Sequence[str]) -> None:
        """These jobs ran out of memory side by side."""
        self.fitting.learn([self.kind(job) for job in jobs])

    def event(self, job: str, row: Mapping[str, Any]) -> None:
        """Take note of an epoch, or of an end."""
        if "state" in row:
            self.ended.add(job)
        else:
            self.epochs[job] = max(self.epochs.get(job, 0), row["epoch"])

    def finished(self, key: str) -> list[str]:
        """The cohort has run to its end; returns it."""
        return self.running.pop(key, [])

    def died(self, key: str, death: Death) -> list[str]:
        """The cohort's worker died; returns the jobs that count as failed now. The others come back."""
        left = [job for job in self.running.pop(key, []) if job not in self.ended]
        if not left:
            return []
        if death.kind is Kind.REFUSED:
            return self._failed(left)
        if death.kind is Kind.MEMORY:
            self.crowded(left)
        if death.kind is not Kind.LOST and len(left) > 1:
            half = -(-len(left) // 2)
            self.back += [left[:half], left[half:]]
            return []
        if death.kind is Kind.RAISED:
            return self._failed(left)
        count, before = self.deaths.get(tuple(left), (0, -1))
        epochs = sum(self.epochs.get(job, 0) for job in left)
        count = count + 1 if epochs <= before else 1
        if count >= MAX_DEATHS:
            return self._failed(left)
        self.deaths[tuple(left)] = (count, epochs)
        (self.back if death.kind is Kind.LOST or count + 1 < MAX_DEATHS else self.suspects).append(left)
        return []

    def _failed(self, jobs: list[str]) -> list[str]:
        self.ended |= set(jobs)
        return jobs
