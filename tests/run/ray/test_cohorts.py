"""Which cohorts come back, and when their trials count as failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

import pytest

from scl.run.ray.cohorts import MAX_DEATHS, Cohorts
from scl.run.ray.deaths import Death, Kind


def made(*cohorts: str) -> Cohorts:
    left = deque(list(cohort) for cohort in cohorts)
    return Cohorts(lambda: left.popleft() if left else [])


def play(cohorts: Cohorts, kills: Callable[[list[str]], Kind | None]) -> tuple[list[str], list[str], list[str]]:
    """Train one cohort after the other: the cohorts as they ran, the completed jobs and the failed ones."""
    ran, completed, failed = [], [], []
    while cohort := cohorts.next("key"):
        ran.append("".join(cohort))
        assert len(ran) < 100
        if kind := kills(cohort):
            failed += cohorts.died("key", Death(kind, "why"))
        else:
            completed += cohorts.finished("key")
    return ran, sorted(completed), sorted(failed)


def killed_by(guilty: Collection[str], kind: Kind) -> Callable[[list[str]], Kind | None]:
    return lambda cohort: kind if set(guilty) & set(cohort) else None


@pytest.mark.parametrize("kind", [Kind.CRASHED, Kind.MEMORY, Kind.RAISED])
@pytest.mark.parametrize("guilty", ["a", "h", "ah", "abcdefgh", ""])
def test_a_trial_that_kills_its_worker_is_alone_in_the_end(kind: Kind, guilty: str) -> None:
    ran, completed, failed = play(made("abcdefgh", "xy"), killed_by(guilty, kind))
    assert failed == sorted(guilty)
    assert completed == sorted(set("abcdefghxy") - set(guilty))
    assert all(ran.count(job) == (1 if kind is Kind.RAISED else MAX_DEATHS) for job in guilty)


def test_the_last_attempt_waits_until_nothing_else_trains() -> None:
    cohorts = made("a", "b")
    for _ in range(MAX_DEATHS - 1):
        assert cohorts.next("one") == ["a"]
        assert cohorts.died("one", Death(Kind.MEMORY, "why")) == []
    assert cohorts.next("two") == ["b"]
    assert cohorts.next("one") is None
    assert cohorts.finished("two") == ["b"]
    assert cohorts.next("one") == ["a"]
    assert cohorts.died("one", Death(Kind.MEMORY, "why")) == ["a"]
    assert cohorts.next("one") == []


def test_a_lost_node_splits_no_cohort_and_is_tried_again() -> None:
    ran, completed, failed = play(made("ab"), killed_by("a", Kind.LOST))
    assert ran == ["ab"] * MAX_DEATHS
    assert (completed, failed) == ([], ["a", "b"])


def test_what_the_worker_cannot_run_fails_at_once() -> None:
    ran, completed, failed = play(made("ab", "c"), killed_by("a", Kind.REFUSED))
    assert ran == ["ab", "c"]
    assert (completed, failed) == (["c"], ["a", "b"])


def test_deaths_count_only_without_a_new_epoch() -> None:
    cohorts = made("a")
    for epoch in range(1, 20):
        assert cohorts.next("key") == ["a"]
        cohorts.event("a", {"epoch": epoch})
        assert cohorts.died("key", Death(Kind.CRASHED, "why")) == []
    for _ in range(MAX_DEATHS - 2):
        cohorts.next("key")
        cohorts.event("a", {"epoch": 19})  # the same epoch again
        assert cohorts.died("key", Death(Kind.CRASHED, "why")) == []
    cohorts.next("key")
    assert cohorts.died("key", Death(Kind.CRASHED, "why")) == ["a"]


def test_what_has_ended_does_not_come_back() -> None:
    cohorts = made("abc")
    cohorts.next("key")
    cohorts.event("a", {"state": "completed"})
    cohorts.event("b", {"state": "failed"})
    assert cohorts.died("key", Death(Kind.CRASHED, "why")) == []
    assert cohorts.next("key") == ["c"]
    cohorts.event("c", {"state": "completed"})
    assert cohorts.died("key", Death(Kind.CRASHED, "why")) == []
    assert cohorts.next("key") == []


def test_a_search_may_have_a_cohort_once_another_has_ended() -> None:
    """The next seed of a configuration: until then there is nothing to do, and the search is not over."""
    answers = deque([["a"], None, ["b"], []])
    cohorts = Cohorts(answers.popleft)
    assert cohorts.next("1") == ["a"]
    assert cohorts.next("2") is None
    assert cohorts.finished("1") == ["a"]
    assert cohorts.next("2") == ["b"]
    assert cohorts.finished("2") == ["b"]
    assert cohorts.next("3") == []
    assert cohorts.exhausted


@pytest.mark.parametrize("how", ["a worker reports it", "the worker is ended for its memory"])
def test_later_cohorts_of_such_jobs_start_at_the_size_that_fitted(how: str) -> None:
    cohorts = made("aaaa", "aaaa", "bbbb")
    assert cohorts.next("one") == list("aaaa")
    if how == "a worker reports it":
        cohorts.crowded("aaaa")
        rest = []
    else:
        cohorts.died("one", Death(Kind.MEMORY, "why"))
        rest = [list("aa")] * 2
    found = []
    while cohort := cohorts.next("two"):
        found.append(cohort)
        cohorts.finished("two")
        cohorts.finished("one")
    assert found == [*rest, list("aa"), list("aa"), list("bbbb")]
