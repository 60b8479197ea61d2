"""The teacher as one reason why differences vary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

from scl import stats
from scl.report.blocks import Plot, Table
from scl.report.facts import Facts
from scl.report.findings import goal
from scl.report.questions import teachers
from scl.store.files import Folder
from scl.store.study_file import read_study, write_study
from tests.support.pages import built
from tests.support.synthetic import gathered, make_store, rewrite_trials

LOSSES: dict[str, dict[str, Any]] = {
    "baseline": {},
    "kd": {"losses": {"kd": {"weight": 0.9}}},
    "hint": {"losses": {"hint": {"weight": 1}}},
}


def make(
    folder: Path,
    of_seed: Sequence[int],
    shift: Sequence[float] = (),
    arms: Mapping[str, Mapping[str, Any]] = LOSSES,
    teacher: Mapping[str, Any] | None = None,
    spread: float = 0.002,
    **study: Any,
) -> Folder:
    """kd is 2 points above the baseline and hint 0.5, with noise; the teacher of a seed shifts kd."""
    by_teacher = list(shift) or [0.0] * (max(of_seed) + 1)

    def value(arm: str, seed: int) -> float:
        noise = float(np.random.default_rng([seed, *arm.encode()]).normal(0, spread))
        return 0.7 + {"kd": 0.02 + by_teacher[of_seed[seed]], "hint": 0.005}.get(arm, 0.0) + noise

    store = make_store(folder, list(arms), range(len(of_seed)), value, **study)
    keys = sorted(set(of_seed))
    named = [str(key) for key in keys] if len(keys) > 1 else ["all"]
    ids = {key: f"{key}" * 64 for key in keys}
    about = {"ids": dict(zip(named, ids.values(), strict=True)), "test_acc": dict.fromkeys(named, 0.9)}
    document = read_study(store)
    write_study(store, {**document, "arms": arms, "teacher": {**document["teacher"], **about, **(teacher or {})}})
    return rewrite_trials(store, lambda t: t.assign(teacher_id=[ids[of_seed[seed]] for seed in t["seed"]]))


def study_with(folder: Path, of_seed: Sequence[int], **more: Any) -> Facts:
    return gathered(make(folder, of_seed, **more))


def test_several_teachers_have_two_intervals_and_a_share(tmp_path: Path) -> None:
    facts = study_with(tmp_path, [0, 1, 2] * 3, shift=[-0.01, 0.0, 0.01], teacher={"teachers": 3})
    panel = teachers.panel(facts)
    assert panel.answer.startswith("3 teachers with 3 seeds each. For other teachers of this recipe, ")
    assert "The teacher changes the difference of “kd” (F test, Holm, 5 %)." in panel.answer
    assert "reach 4.3 standard errors to each side with 3 teachers, and 2.8 with 5." in panel.answer
    (plot,) = panel.blocks
    assert isinstance(plot, Plot)
    assert [mark.name for mark in plot.key] == ["teacher 0", "teacher 1", "teacher 2"]
    cells = {c.key: cell.value for c, cell in zip(plot.table.columns, plot.table.rows[0].cells, strict=True)}
    found = stats.teacher_effect((facts.scores["kd"] - facts.scores["baseline"]).to_numpy(), [0, 1, 2] * 3)
    assert cells["n"] == 9
    assert cells["share"] == pytest.approx(100 * found.share)
    assert (cells["others_low"], cells["others_high"]) == pytest.approx(
        (100 * found.others.low, 100 * found.others.high)
    )
    assert (cells["low"], cells["high"]) == pytest.approx((100 * found.these.low, 100 * found.these.high))
    assert cells["teacher_2"] == pytest.approx(100 * found.by_teacher["2"].mean)


def test_teachers_that_do_not_matter_are_not_said_to(tmp_path: Path) -> None:
    facts = study_with(tmp_path, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    answer = teachers.panel(facts).answer
    assert "For other teachers of this recipe, “kd” and “hint” are shown to differ from the baseline" in answer
    assert "No difference is shown to depend on the teacher, but the teacher may account for up to " in answer
    assert "standard errors" not in answer


def test_unequal_numbers_of_seeds_are_named(tmp_path: Path) -> None:
    assert teachers.panel(study_with(tmp_path, [0, 1, 0, 1, 0])).answer.startswith("2 teachers with 2 to 3 seeds each.")


def test_one_teacher_says_the_size_of_what_it_cannot_know(tmp_path: Path) -> None:
    facts = study_with(tmp_path, [0, 0, 0, 0])
    panel = teachers.panel(facts)
    m = stats.mean_interval((facts.scores["kd"] - facts.scores["baseline"]).to_numpy())
    half, now = 100 * stats.half_if_teachers_differ(m), 100 * (m.high - m.mean)
    assert panel.answer.startswith("All seeds used one teacher, so the intervals on this page are about students of ")
    assert f"would be ± {half:.1f} points instead of ± {now:.1f} points (paired t)." in panel.answer
    assert f"exclude 0 up to an sd of {100 * stats.tolerated_spread(m):.1f} points between teachers." in panel.answer
    assert panel.answer.endswith("--teachers 5 with 5 seeds or more covers other teachers of this recipe.")
    (plot,) = panel.blocks
    assert isinstance(plot, Plot)
    assert "which is an assumption and not a result" in plot.caption
    assert not plot.key


def test_arms_and_seeds_that_are_missing_change_what_is_said(tmp_path: Path) -> None:
    gone = {(arm, seed): "missing" for arm in LOSSES for seed in (1, 3)}
    facts = study_with(tmp_path / "a", [0, 1, 0, 1], states=gone, teacher={"teachers": 2})
    assert teachers.panel(facts).answer.startswith("All seeds with results used one teacher, so ")
    gone = {("kd", 1): "missing", ("kd", 3): "missing", ("hint", 0): "missing", ("hint", 2): "missing"}
    panel = teachers.panel(study_with(tmp_path / "b", [0, 1, 0, 1], states=gone))
    assert panel.answer.startswith("2 teachers with 2 seeds each. For other teachers of this recipe, no arm is shown ")


@pytest.mark.parametrize(
    ("source", "start", "end"),
    [
        (
            "file",
            "All seeds used the given checkpoint as teacher",
            "or train teachers by one recipe with --teachers 5.",
        ),
        ("timm", "All seeds used one teacher", "Repeat the study with other teachers to see it."),
    ],
)
def test_a_given_teacher_has_another_way_out(source: str, start: str, end: str, tmp_path: Path) -> None:
    answer = teachers.panel(study_with(tmp_path, [0, 0, 0], teacher={"source": source})).answer
    assert answer.startswith(start)
    assert answer.endswith(end)


@pytest.mark.parametrize(("source", "words"), [("trained here", "recipe."), ("timm", "the same published weights.")])
def test_a_teacher_for_each_seed_is_covered_by_the_seeds(source: str, words: str, tmp_path: Path) -> None:
    panel = teachers.panel(study_with(tmp_path, [0, 1, 2, 3], teacher={"source": source, "per_seed": True}))
    assert panel.answer.startswith("Each seed had its own teacher. Differences by seed contain the luck of both")
    assert words in panel.answer
    (table,) = panel.blocks
    assert isinstance(table, Table)
    assert [row.arm for row in table.rows] == ["kd", "hint"]


def test_an_arm_that_learns_from_no_teacher_is_not_listed(tmp_path: Path) -> None:
    facts = study_with(tmp_path, [0, 0, 0], arms={**LOSSES, "hint": {"label_smoothing": 0.1}})
    assert teachers.taught(facts) == ["kd"]
    (plot,) = teachers.panel(facts).blocks
    assert isinstance(plot, Plot)
    assert [row.arm for row in plot.table.rows] == ["kd"]
    assert teachers.taught(study_with(tmp_path / "b", [0, 0], arms={**LOSSES, "baseline": LOSSES["kd"], "kd": {}})) == [
        "kd",
        "hint",
    ]
    none = study_with(tmp_path / "c", [0, 0], arms={"baseline": {}, "kd": {"losses": {"kd": {"weight": 0.0}}}})
    assert teachers.panel(none).answer == "No compared arm learns from a teacher."


def test_what_a_store_cannot_tell_is_said(tmp_path: Path) -> None:
    needs = "This needs the baseline and another arm with two seeds, and a store that names their teacher."
    assert teachers.panel(study_with(tmp_path / "a", [0])).answer == needs
    nameless = rewrite_trials(make(tmp_path / "b", [0, 0, 0]), lambda t: t.assign(teacher_id=None))
    assert teachers.panel(gathered(nameless)).answer == needs
    answer = teachers.panel(study_with(tmp_path / "c", [0, 0, 0], spread=0.0)).answer
    assert "±" not in answer
    assert "sd" not in answer


def test_a_seed_whose_arms_had_different_teachers_is_no_pair(tmp_path: Path) -> None:
    store = make(tmp_path, [0, 0, 0, 0])

    def mixed(trials: pd.DataFrame) -> pd.DataFrame:
        other = (trials["arm"] == "kd") & (trials["seed"] == 3)
        return trials.assign(teacher_id=trials["teacher_id"].mask(other, "u" * 64))

    effects = teachers.teacher_effects(gathered(rewrite_trials(store, mixed)))
    assert {mean.n for effect in effects for mean in effect.by_teacher.values()} == {3}


def test_the_declared_comparison_with_the_teacher_counts_teachers(tmp_path: Path) -> None:
    """Six seeds of three teachers are three differences: those of seeds that share a teacher are not independent."""
    facts = study_with(tmp_path, [0, 1, 2] * 2, declared={"arm": "kd", "against": "teacher"}, teacher={"teachers": 3})
    against = facts.against_teacher
    assert against is not None
    rows = facts.completed[facts.completed["arm"] == "kd"]
    gaps = (rows["test_acc"] - rows["teacher_test_acc"]).groupby(rows["teacher_id"]).mean()
    assert (against.unit, against.test.differences.n) == ("teacher", 3)
    assert against.test.p == pytest.approx(reference.ttest_1samp(gaps, 0).pvalue)
    assert "over 3 teachers" in goal(facts)
    assert "share of 6 seeds" in goal(facts)


def test_a_far_interval_does_not_squeeze_the_figure() -> None:
    row = teachers.TeacherRow("kd", 1.0, (0.0, 2.0), (-80.0, 82.0), {"teacher 0": 0.8, "teacher 1": 1.2})
    unknown = teachers.TeacherRow("hint", 0.5, (math.nan, math.nan), (math.nan, math.nan), {"teacher 0": 0.5})
    drawn = teachers.draw_teachers(teachers.TeacherRows((row, unknown), ("teacher 0", "teacher 1"), 1, 0))
    low, high = drawn["layout"]["xaxis"]["range"]
    assert -3 < low < high < 5
    assert [trace["x"] for trace in drawn["data"]] == [[0.0, 2.0], [-80.0, 82.0], [0.8, 0.5], [1.2], [1.0, 0.5]]


def test_the_setting_names_the_teachers(tmp_path: Path) -> None:
    page, _, _ = built(make(tmp_path, [0, 1, 0], teacher={"teachers": 2, "test_acc": {"0": 0.9, "1": 0.8}}))
    assert "seed s learns from teacher s mod 2, teacher 0 90.0 %, teacher 1 80.0 %" in page.text
