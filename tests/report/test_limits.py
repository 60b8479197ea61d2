"""What stands beside the verdict: each text once, under its keyword, in the order of the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.report.limits import limits, listing_of
from scl.store.study_file import read_study, write_study
from tests.support.pages import built
from tests.support.synthetic import ARMS, EFFECTS, accuracy, make_store


def test_each_limit_has_a_keyword_and_stands_on_the_page_once(tmp_path: Path) -> None:
    effects = EFFECTS | {ARMS[-1]: -0.6}
    about = {"margin": 0.01, "roles": {ARMS[1]: "control"}, "data": {"classes": 10, "test": 10_000}}
    looks = [{"when": "2026-01-01", "seeds": [7, 8]}, {"when": "2026-01-02", "seeds": [0, 1, 2, 3]}]
    page, _, study = built(make_store(tmp_path, ARMS, range(4), accuracy(effects), {}, looks=looks, **about))
    known = limits(study.facts)
    keywords = [keyword for keyword, _ in known]
    order = ["Controls", "Other arms", "Margin", "Arms left out", "Seeds", "Earlier seeds", "Teacher", "Test set"]
    assert [keyword for keyword in order if keyword in keywords] == keywords
    assert {"Margin", "Arms left out", "Seeds", "Earlier seeds", "Test set"} <= set(keywords)
    beside = page.text.rpartition("What to keep in mind")[2].partition("What ran?")[0]
    for keyword, text in known:
        assert text.endswith(".")
        assert beside.count(text) == 1, keyword


@pytest.mark.parametrize(
    ("shared", "seeds", "said"),
    [
        (ARMS, 4, "All seeds saw the same batches"),
        (ARMS[:1], 4, f"All seeds of “{ARMS[0]}” saw the same batches"),
        (ARMS, 1, None),  # one seed has no interval
        ([], 4, None),
    ],
)
def test_what_seeds_with_the_same_batches_vary(tmp_path: Path, shared: list[str], seeds: int, said: str | None) -> None:
    configs = {arm: {"shared_batches": True} if arm in shared else {} for arm in ARMS}
    store = make_store(tmp_path, ARMS, range(seeds), accuracy(EFFECTS), {})
    write_study(store, {**read_study(store), "arms": configs})
    text = dict(limits(built(store)[2].facts)).get("Shared batches")
    assert text is None if said is None else (text or "").startswith(said)


def test_numbers_are_listed_as_in_a_sentence() -> None:
    assert [listing_of(n) for n in ([3], [3, 5], [3, 5, 1_000])] == ["3", "3 and 5", "3, 5 and 1,000"]
