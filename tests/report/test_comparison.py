"""The page over several studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests

from scl.report import comparison
from scl.report.facts import gather
from scl.report.results import Results
from scl.store.results import read_results
from scl.store.study_file import read_study, write_study
from tests.support.pages import NASTY, Page
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    make_store,
    rewrite_trials,
)


def shifted(by: float, arms: list[str] = ARMS) -> Any:
    """Accuracies of another run: the first arms by another luck, `kd` moved."""
    first = accuracy(EFFECTS)
    again = accuracy(dict.fromkeys(EFFECTS, 0.0), base=0.0, spread=0.001)
    return lambda arm, seed: first(arm, seed) + again(arm, seed + 50) + (by if arm == "kd" else 0.0)


@pytest.fixture
def two(tmp_path: Path) -> dict[str, Results]:
    one = make_store(tmp_path / "one", ARMS, range(5), accuracy(EFFECTS))
    other = make_store(tmp_path / "two", ARMS[:4], range(1, 6), shifted(0.03))
    study = read_study(other)
    changed = {"git": {"commit": "fedcba", "dirty": False}, "versions": {**study["versions"], "torch": "2.12.0"}}
    arms = {**study["arms"], "kd": {"losses": {"kd": {"weight": 0.9}}}}
    write_study(other, {**study, **changed, "arms": arms})
    rewrite_trials(other, lambda t: t.assign(config_id=t["config_id"].where(t["arm"] != "kd", "c" * 64)))
    return {"one": read_results(one), "two": read_results(other)}


def test_shared_arms_are_compared_in_pairs_on_shared_seeds(two: dict[str, Results]) -> None:
    facts = {name: gather(study) for name, study in two.items()}
    found = comparison.versus("one", facts["one"], "two", facts["two"])
    assert found.why_not == ()
    assert [s.arm for s in found.shared] == ARMS[:4]
    assert [s.same for s in found.shared] == [True, False, True, True]
    raw = []
    for s in found.shared:
        a, b = (facts[n].scores[s.arm].loc[1:4] for n in ("one", "two"))
        test = reference.ttest_rel(b, a)
        interval = test.confidence_interval(0.95)
        d = s.paired.differences
        assert d.n == 4
        assert (d.mean, d.low, d.high) == pytest.approx(((b - a).mean(), interval.low, interval.high), rel=1e-9)
        raw.append(test.pvalue)
    adjusted = multipletests(raw, method="holm")[1]
    assert [s.paired.p_holm for s in found.shared] == pytest.approx(list(adjusted), rel=1e-9)


def test_only_changed_fields_are_listed_by_heading(two: dict[str, Results]) -> None:
    changes = comparison.changes({name: r.study for name, r in two.items()})
    assert set(changes) == {"Code", "Design", "Arms"}
    assert changes["Code"] == {
        "git.commit": ["0123456789abcdef", "fedcba"],
        "git.dirty": [True, False],
        "versions.torch": ["2.11.0", "2.12.0"],
    }
    assert changes["Design"] == {"seeds": [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]}
    assert changes["Arms"]["kd"] == ["kd × 0.3", "kd × 0.9"]
    assert changes["Arms"]["channel+spatial"][1] == "absent"
    page = Page(comparison.render(two))
    assert "Different: code, design, arms. The same: data, split, teacher, machine, command, recipe." in page.text
    assert "“two” shares 4 arms with “one”; significantly different: “kd” (paired t, Holm, 5 %)." in page.text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"teacher": {"ids": {"all": "u" * 64}}}, "their teachers differ"),
        ({"data": {"fingerprint": "g" * 64}}, "their data or split differ"),
        ({"data": {"split_seed": 1}}, "their data or split differ"),
        ({"arms": {"baseline": {"lr": 0.01}}}, "their recipes differ"),
    ],
)
def test_other_teachers_splits_and_recipes_are_not_tested(
    two: dict[str, Results], change: dict[str, dict[str, Any]], why: str
) -> None:
    study = two["two"].study
    for key, fields in change.items():
        study[key] = {**study[key], **fields}
    facts = {name: gather(r) for name, r in two.items()}
    found = comparison.versus("one", facts["one"], "two", facts["two"])
    assert found.why_not == (why,)
    for s in found.shared:
        assert pd.isna([s.paired.p, s.paired.p_holm, s.paired.differences.low, s.paired.d_z]).all()
        assert s.paired.differences.mean == pytest.approx(
            (facts["two"].scores[s.arm] - facts["one"].scores[s.arm]).mean()
        )
    assert f"nothing is tested, because {why}" in Page(comparison.render(two)).text


def test_studies_without_a_shared_arm_or_without_results(tmp_path: Path) -> None:
    one = make_store(tmp_path / "one", ARMS[:2], range(2), accuracy(EFFECTS))
    failed = {(a, s): "failed" for a in ("x", "y") for s in range(2)}
    other = make_store(tmp_path / "two", ["x", "y"], range(2), states=failed)
    page = Page(comparison.render({"one": read_results(one), "two": read_results(other)}))
    assert "The two studies share no arm with results" in page.text
    assert "No trial has completed" in page.text


def test_hostile_names_of_studies_and_arms(tmp_path: Path) -> None:
    stores = [read_results(make_store(tmp_path / n, NASTY, range(3))) for n in ("a", "b")]
    text = comparison.render({"<script>alert(1)</script>": stores[0], "%{x}": stores[1]})
    page = Page(text)
    assert len(page.scripts) == 4
    assert not {"img", "b", "i"} & {tag for tag, _ in page.tags}
