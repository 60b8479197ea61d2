"""The course of a search, its winners, its front."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from scl.report.facts import Facts, gather
from scl.report.main_table import summary
from scl.report.questions import (
    everything,
    search,
)
from scl.report.results import Results
from scl.stats import Contrast
from tests.support.pages import built
from tests.support.synthetic import (
    gathered,
    make_search_store,
    rewrite_trials,
)


def test_a_search_is_no_arm_and_its_maximum_is_no_result(searched: Facts) -> None:
    assert "search" not in searched.arms
    assert "search" not in searched.scores.columns
    assert len(searched.searched) == 120
    assert len(searched.trials) == 120 + 20
    done = searched.searched[searched.searched["state"] == "completed"]
    assert set(searched.completed["arm"]) == {"baseline", "winner-1", "winner-2", "winner-3"}
    fresh = searched.completed[searched.completed["arm"] == "winner-1"]
    row = summary(searched).set_index("arm").loc["winner-1"]
    assert row["test_acc_mean"] == pytest.approx(fresh["test_acc"].mean())
    found = search.found_by_search(searched)
    assert found["winner-1"] == pytest.approx(100 * done["val_acc"].max())
    text = " ".join(b.caption for b in search.panel(searched).blocks if hasattr(b, "caption"))
    assert "optimistic" in text


def test_trials_of_another_search_in_the_store_are_not_part_of_the_page(searched: Facts) -> None:
    study = searched.study
    mine = [{"arm": "search", "seed": 0, "trial_id": i} for i in searched.searched["trial_id"][:50]]
    again = gather(
        Results(searched.results.trials, searched.results.epochs, {**study, "plan": [*mine, *study["plan"]]})
    )
    assert len(again.searched) == 50
    assert len(again.plan) == 50 + 20


@pytest.mark.parametrize("left", ["failed", "pruned"])
def test_a_search_of_which_nothing_completed(tmp_path: Path, left: str) -> None:
    store = rewrite_trials(
        make_search_store(tmp_path, 30),
        lambda t: t.assign(state=t["state"].where(t["arm"] != "search", left)),
    )
    page, _, _ = built(store)
    assert "None completed, so there is nothing to draw" in page.text


def contrast(arm: str, low: float, high: float) -> Contrast:
    return Contrast(arm, "baseline", 5, (low + high) / 2, 0.01, low, high, 0.5)


NONE = (math.nan, math.nan)
ABOVE, FURTHER, BELOW, LOWER, UNCLEAR = (0.01, 0.03), (0.02, 0.06), (-0.03, -0.01), (-0.06, -0.02), (-0.01, 0.02)
SURE = "(significant after correction)."


@pytest.mark.parametrize(
    ("intervals", "says"),
    [
        ([ABOVE], f"On fresh seeds, “winner-1” is 2.0 points above the baseline {SURE} {search.UNTUNED}"),
        # The gain is that of a winner whose gain is shown.
        (
            [ABOVE, (-0.05, 0.15)],
            f"On fresh seeds, “winner-1” is 2.0 points above the baseline {SURE} {search.UNTUNED} No difference from "
            "the baseline is shown for “winner-2”.",
        ),
        (
            [ABOVE, FURTHER, BELOW],
            f"On fresh seeds, “winner-1” and “winner-2” are up to 4.0 points above the baseline {SURE} "
            f"{search.UNTUNED} “winner-3” is 2.0 points below the baseline {SURE}",
        ),
        (
            [BELOW, LOWER],
            f"No winner beats the baseline: on fresh seeds, “winner-1” and “winner-2” are up to 4.0 points below the "
            f"baseline {SURE}",
        ),
        (
            [UNCLEAR, BELOW, None],
            f"No winner beats the baseline: on fresh seeds, “winner-2” is 2.0 points below the baseline {SURE} No "
            "difference from the baseline is shown for “winner-1”. Not compared with the baseline: “winner-3”.",
        ),
        ([UNCLEAR, UNCLEAR], "Not shown: on fresh seeds, no winner differs from the baseline significantly."),
        ([NONE, NONE], "Not shown: the fresh seeds give no interval."),
        ([None, None], "Nothing is confirmed. Not compared with the baseline: “winner-1” and “winner-2”."),
    ],
)
def test_the_answer_is_chosen_by_the_facts_that_it_states(
    searched: Facts, monkeypatch: pytest.MonkeyPatch, intervals: list[tuple[float, float] | None], says: str
) -> None:
    arms = [f"winner-{i}" for i in range(1, len(intervals) + 1)]
    found = {arm: contrast(arm, *span) for arm, span in zip(arms, intervals, strict=True) if span is not None}
    facts = replace(searched, decimals=1)
    facts.__dict__["contrasts"] = found  # a cached property
    monkeypatch.setattr(search, "winner_arms", lambda facts: arms)
    assert search.panel(facts).answer.partition("failed. ")[2] == says


def test_one_fresh_seed_gives_no_interval(tmp_path: Path) -> None:
    answer = search.panel(gathered(make_search_store(tmp_path, 12, seeds=[1000]))).answer
    assert answer.endswith("Not shown: one fresh seed gives no interval.")


@pytest.mark.parametrize(("objective", "optimistic"), [("val_acc", True), ("macs", False)])
def test_only_the_best_of_what_luck_moves_is_optimistic(searched: Facts, objective: str, optimistic: bool) -> None:
    study = {**searched.study, "objectives": {objective: "maximize"}}
    again = gather(Results(searched.results.trials, searched.results.epochs, study))
    (caption,) = [b.caption for b in search.panel(again).blocks if getattr(b, "id", "") == "best-so-far"]
    assert ("optimistic" in caption) == optimistic


def test_a_search_alone_says_so(tmp_path: Path) -> None:
    facts = gathered(make_search_store(tmp_path, 12, winners=0))
    alone = replace(facts, results=replace(facts.results, study={**facts.study, "seeds": []}))
    assert "No configuration runs again on fresh seeds in this study" in search.panel(alone).answer


def test_a_search_without_winners_has_no_result(tmp_path: Path) -> None:
    store = make_search_store(tmp_path, 30, winners=0)
    page, _, study = built(store)
    assert "No winner has been retrained on fresh seeds yet" in page.text
    assert "only arm with results" in page.text
    assert len(gather(study).searched) == 30


def test_pruned_trials_of_a_search_are_not_averaged_into_anything(searched: Facts) -> None:
    assert not set(searched.completed["trial_id"]) & set(searched.searched["trial_id"])
    assert "failed" in everything.panel(searched).answer
