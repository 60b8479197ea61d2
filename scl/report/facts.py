"""The numbers of a study, computed once from its store. Every panel reads them from here."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scl import stats
from scl.report.appearance import Appearance, appearance
from scl.report.decimals import decimals_of
from scl.report.declared import AgainstTeacher, DeclaredContrast, absent, against_teacher, contrast
from scl.report.factors import factors_of
from scl.report.formatting import PERCENT, UNITS, Unit
from scl.report.looks import counted, seeds_of
from scl.report.scored import chance_of, metric_of, uneven, with_classes
from scl.report.searched import SEARCH
from scl.report.searched import searched as searched_rows
from scl.store.results import Results
from scl.study.metrics import COSTS, DEFAULT, METRICS, Metric


@dataclass(frozen=True)
class Facts:
    """The numbers of a study.

    trials: the rows of the present plan, with those of a search. plan: arm, seed, trial_id and state of every planned
    trial, which may be `missing`. searched: the trials of a search; they are not an arm, because they are many
    configurations. completed: the completed trials of arms with a value of the metric; only these are averaged. Its
    column `learnt` is false for those that collapsed. metric: its column; measure: the metric. arms: in the order of
    the plan, the baseline first. scores: the metric as it is stored, (seeds, arms). chance: of the metric. floor: the
    accuracy (`measure.learnt_by`) below which a trial counts as collapsed; kept: whether it did not, (seeds, arms).
    collapsed: arm → its seeds that did not learn. compared: the scores that are compared, without collapsed trials.
    left_out: arm → the reason why it is not compared at all. comparison: by the rule that decides; model: in the linear
    model, which takes arms to scatter alike. looks: the numbers of seeds at each look at the study so far. level: of
    intervals at the present look. drawn: the arms that figures scale their axes to. decimals: of the metric as it is
    shown. The last digit of an accuracy is worth about one test image or more, and the half-width of an interval has at
    most two digits.
    """

    results: Results
    trials: pd.DataFrame
    plan: pd.DataFrame
    searched: pd.DataFrame
    completed: pd.DataFrame
    metric: str
    measure: Metric
    baseline: str
    arms: tuple[str, ...]
    scores: pd.DataFrame
    kept: pd.DataFrame
    chance: float
    floor: float
    compared: pd.DataFrame
    left_out: dict[str, str]
    collapsed: dict[str, tuple[int, ...]]
    comparison: stats.Comparison | None
    model: stats.Comparison | None
    looks: tuple[int, ...]
    level: float
    teachers: dict[str, float]
    decimals: int

    @property
    def study(self) -> dict[str, Any]:
        return self.results.study

    @property
    def unit(self) -> Unit:
        """How values of the metric are written."""
        return UNITS[self.measure.unit]

    @property
    def extreme(self) -> str:
        """What the best value is."""
        return "highest" if self.measure.sign > 0 else "lowest"

    @property
    def share_decimals(self) -> int:
        """Of a share in %, whatever the metric."""
        return min(self.decimals, PERCENT.decimals)

    @property
    def chance_text(self) -> str:
        return self.unit.value(self.chance, 1 if self.is_share else 3)

    @property
    def axis(self) -> str:
        """The title of an axis of the metric."""
        return f"{self.measure.title}, {self.unit.name}"

    @property
    def is_share(self) -> bool:
        """Whether the metric is a share in %, which ends at 0 and 100."""
        return self.unit is PERCENT

    @property
    def possible(self) -> tuple[float, float]:
        """The least and the most that the metric can be, as it is shown."""
        return 0.0, self.unit.factor * self.unit.most

    @property
    def possible_gain(self) -> tuple[float, float]:
        """The least and the most that an arm can be above the baseline's mean, as it is shown."""
        base = self.unit.factor * float(self.compared[self.baseline].mean()) if self.baseline in self.compared else 0.0
        return (0.0 - base, self.possible[1] - base) if self.is_share else (-math.inf, math.inf)

    @functools.cached_property
    def appearance(self) -> Appearance:
        """How the page names and draws the arms."""
        best = self.best_first(self.learnt_scores.mean()) if self.scores.size else self.scores.mean()
        factors = factors_of(self.study, self.arms)
        return appearance(self.arms, self.baseline, factors, [str(arm) for arm in best.index])

    def best_first(self, means: pd.Series) -> pd.Series:
        """Means of the metric in order, the best first."""
        return means.sort_values(ascending=self.measure.sign < 0, kind="stable")

    def best(self, means: pd.Series) -> str:
        """The arm with the best mean, the first of equals."""
        return str(means.idxmax() if self.measure.sign > 0 else means.idxmin())

    def ahead(self, difference: float) -> float:
        """A difference of the metric, or its sign, turned so that more is better."""
        return self.measure.sign * difference

    def no_worse(self, contrast: stats.Contrast) -> bool:
        """Whether an arm is shown to be worse than the baseline by no more than the margin."""
        return contrast.no_worse(self.margin) if self.measure.sign > 0 else contrast.upper < self.margin

    @functools.cached_property
    def bounds(self) -> dict[str, float]:
        """The constraints of the study: cost → the most of it."""
        return {name: float(most) for name, most in (self.study.get("constraints") or {}).items() if name in COSTS}

    @functools.cached_property
    def breaking(self) -> dict[str, str]:
        """Arm → the constraint that it breaks, or whose cost the store does not hold; such an arm is never crowned."""
        if not self.bounds:
            return {}
        costs = self.completed.groupby("arm")[list(self.bounds)].mean().astype(float)
        found: dict[str, str] = {}
        for arm in map(str, costs.index):
            for name, most in self.bounds.items():
                cost = float(costs.loc[arm, name])
                if not cost <= most:
                    found.setdefault(arm, f"{name} {cost:.4g}" if math.isfinite(cost) else f"{name} unknown")
        return found

    @property
    def seeds(self) -> int:
        """The largest number of completed seeds of any arm."""
        return int(self.scores.notna().sum().max()) if self.scores.size else 0

    @property
    def alpha(self) -> float:
        """The error of each family of intervals at the present look."""
        return 1 - self.level

    @property
    def teacher(self) -> float:
        """The metric of the teacher, the mean over its seeds; NaN if unknown."""
        return float(np.mean(list(self.teachers.values()))) if self.teachers else math.nan

    @property
    def margin(self) -> float:
        """The margin of equivalence in the metric as it is stored; NaN if none was asked for."""
        return float(self.study.get("margin") or math.nan)

    @property
    def roles(self) -> dict[str, str]:
        """Arm → `control` or `reference`: arms that cannot win."""
        return dict(self.study.get("roles") or {})

    @functools.cached_property
    def barred(self) -> dict[str, str]:
        """Arm → why it cannot win: `a control`, `a reference`, or the constraint that it breaks."""
        broken = {arm: f"which breaks a constraint ({what})" for arm, what in self.breaking.items()}
        return {arm: f"a {role}" for arm, role in self.roles.items()} | broken

    @functools.cached_property
    def drawn(self) -> list[str]:
        """The arms that learnt on some seed; all, if none did."""
        arms = [str(arm) for arm in self.scores.columns]
        return [arm for arm in arms if self.kept[arm].any()] or arms

    @functools.cached_property
    def learnt(self) -> pd.DataFrame:
        """The completed trials of the drawn arms, without those that collapsed; all, if none learnt."""
        rows = self.completed[self.completed["arm"].isin(self.drawn)]
        kept = rows[rows["learnt"]]
        return rows if kept.empty else kept

    @functools.cached_property
    def learnt_scores(self) -> pd.DataFrame:
        """The scores of the drawn arms, NaN for trials that collapsed; all, if none learnt."""
        scores = self.scores[self.drawn]
        kept = stats.learnt(scores, self.kept[self.drawn])
        return scores if kept.isna().all(axis=None) else kept.dropna(how="all")

    @functools.cached_property
    def contrasts(self) -> dict[str, stats.Contrast]:
        return {c.arm: c for c in self.comparison.contrasts} if self.comparison else {}

    @functools.cached_property
    def paired(self) -> dict[str, stats.Paired]:
        return {p.arm: p for p in stats.paired(self.compared, self.baseline)} if self.comparison else {}

    @functools.cached_property
    def pairs(self) -> stats.Pairs:
        """All pairs of compared arms."""
        return stats.all_pairs(self.compared)

    @functools.cached_property
    def against_teacher(self) -> AgainstTeacher | None:
        """The comparison of an arm with its teacher that the study declared before the run, or None."""
        about = self.study.get("declared")
        if not about:
            return None
        arm, columns = str(about["arm"]), (self.metric, self.measure.teacher)
        planned = int((self.plan["arm"] == arm).sum())
        return against_teacher(arm, self.completed, columns, planned, self.level, self.declarations)

    @property
    def declarations(self) -> int:
        """The number of declared differences that are tested: the family that their intervals are corrected for."""
        contrasts = self.study.get("contrasts") or []
        return bool(self.study.get("declared")) + sum(not absent(c, self.arms) for c in contrasts)

    @functools.cached_property
    def declared(self) -> tuple[DeclaredContrast, ...]:
        """The contrasts that the study declared, in its order."""
        learnt, contrasts = stats.learnt(self.scores, self.kept), self.study.get("contrasts") or []
        return tuple(contrast(about, self.arms, learnt, self.level, self.declarations) for about in contrasts)

    def from_teacher(self, arm: str, seeds: Sequence[int]) -> tuple[float, float]:
        """The mean difference of an arm from the teacher of each of these seeds, and the mean of these teachers.

        NaN if they are unknown.
        """
        rows = self.completed[(self.completed["arm"] == arm) & self.completed["seed"].isin(seeds)]
        rows = rows.dropna(subset=[self.measure.teacher])
        teachers = rows[self.measure.teacher].astype(float)
        return float((rows[self.metric].astype(float) - teachers).mean()), float(teachers.mean())

    def detectable(self) -> float:
        """The smallest detectable effect: the true difference that this design finds with 80 % power, in the metric as
        it is stored.

        An estimate, from the pooled standard deviation of this study; `detectable_range` says how sure that is.
        """
        comparison = self.comparison
        if comparison is None or not math.isfinite(comparison.critical):
            return math.nan
        return stats.smallest_effect(comparison.tested + 1, comparison.seeds, self.level) * comparison.sd

    def detectable_range(self) -> tuple[float, float]:
        """Where the smallest detectable effect lies (95 %), as far as the standard deviation is known."""
        if self.comparison is None or not math.isfinite(self.detectable()):
            return math.nan, math.nan
        low, high = stats.sd_range(self.comparison.df)
        return low * self.detectable(), high * self.detectable()


def gather(results: Results) -> Facts:
    """Compute the numbers of a study."""
    study = results.study
    has_plan = bool(study.get("plan"))
    trials = results.planned() if has_plan else results.trials.reset_index(drop=True)
    plan = results.plan_states() if has_plan else trials[["arm", "seed", "trial_id", "state"]]
    searched = searched_rows(results)
    unplanned = searched[~searched["trial_id"].isin(plan["trial_id"])]
    if len(unplanned):
        trials = pd.concat([trials, unplanned[trials.columns]], ignore_index=True)
        plan = pd.concat([plan, unplanned[plan.columns]], ignore_index=True)
    measure = metric_of(study, trials)
    metric, trials = measure.column, with_classes(trials, results, measure)
    # `searched` has one row for all seeds of a configuration, so it does not name every trial of the search.
    in_arms = trials if searched.empty else trials[trials["arm"] != SEARCH]
    completed = in_arms[(in_arms["state"] == "completed") & in_arms[metric].notna()]

    baseline = str(study.get("baseline") or "")
    names = [*(study.get("arms") or {}), *plan["arm"].unique()]
    first = [baseline] if baseline in names else []
    arms = tuple(arm for arm in dict.fromkeys([*first, *map(str, names)]) if arm != SEARCH or searched.empty)
    with_trials = set(completed["arm"])
    left_out = dict.fromkeys([arm for arm in arms if arm not in with_trials], "has no completed trial")
    # Several configurations under one name have no common mean.
    twice = list(completed.loc[completed.duplicated(["arm", "seed"], keep=False), "arm"].unique())
    left_out |= dict.fromkeys(map(str, twice), "has several configurations")

    single = completed[~completed["arm"].isin(twice)]

    def by_arm(column: str) -> pd.DataFrame:
        frame = single.pivot(index="seed", columns="arm", values=column).sort_index()
        return frame[[arm for arm in arms if arm in frame.columns]].astype(float)

    def floor_of(column: str) -> float:
        at = chance_of(column, results)
        return stats.collapse_floor(by_arm(column), baseline, at.level, at.error)

    scores, floor = by_arm(metric), floor_of(measure.learnt_by)
    learnt = ~(completed[measure.learnt_by].astype(float) < floor)
    if measure.learnt_by == DEFAULT and uneven(results):
        # A trial that weighs classes alike may be right less often than the largest class is there, and has learnt.
        learnt |= completed["balanced_acc"].astype(float) >= floor_of("balanced_acc")
    # An empty frame that is assigned a longer column grows rows of nothing.
    completed, single = completed.assign(learnt=learnt), single.assign(learnt=learnt[single.index])
    kept = by_arm("learnt") == 1.0
    collapsed = stats.collapsed(scores, kept)
    whole = [arm for arm, seeds in collapsed.items() if len(seeds) == scores[arm].count()]
    left_out |= dict.fromkeys(whole, f"collapsed (every seed ended below {floor_text(measure, floor)})")
    compared = stats.learnt(scores, kept)[[arm for arm in scores.columns if arm not in left_out]].dropna(how="all")
    looks = tuple(len(seeds_of(look)) for look in counted(study))
    level = stats.level_of_look(looks, study.get("planned_looks") or ())
    comparison = model = None
    if baseline in compared.columns and compared.shape[1] > 1:
        comparison = stats.against_baseline(compared, baseline, level)
        left_out |= comparison.left_out
        compared = compared.drop(columns=list(comparison.left_out))
        model = stats.in_the_model(compared, baseline, level)
    return Facts(
        results=results,
        trials=trials,
        plan=plan,
        searched=searched,
        completed=completed,
        metric=metric,
        measure=measure,
        baseline=baseline,
        arms=arms,
        scores=scores,
        kept=kept,
        chance=chance_of(measure.name, results).level,
        floor=floor,
        compared=compared,
        left_out=left_out,
        collapsed=collapsed,
        comparison=comparison,
        model=model,
        looks=looks,
        level=level,
        teachers=_teachers(study, trials, measure),
        decimals=decimals_of((study.get("data") or {}).get("test"), compared, comparison, UNITS[measure.unit]),
    )


def floor_text(measure: Metric, floor: float) -> str:
    """The floor of trials that have learnt, with the name of the accuracy that it is of, if that is not the metric."""
    of = METRICS.get(measure.learnt_by, measure)
    return PERCENT.value(floor, 1) + ("" if of.column == measure.column else f" {of.words}")


def _teachers(study: dict[str, Any], trials: pd.DataFrame, measure: Metric) -> dict[str, float]:
    """The metric of each teacher, by seed or of `all`, from study.json or else from the trials."""
    about, of = study.get("teacher") or {}, measure.teacher
    rows = trials.dropna(subset=[of]).drop_duplicates("teacher_id")
    known = about.get("test_acc")
    if known and of != "teacher_test_acc":  # study.json holds the accuracies alone
        by_id = dict(zip(rows["teacher_id"], rows[of], strict=True))
        known = {seed: by_id.get(identity) for seed, identity in (about.get("ids") or {}).items()}
    if known:
        return {str(seed): float(value) for seed, value in known.items() if value is not None}
    if len(rows) == 1:
        return {"all": float(rows[of].iloc[0])}
    return {str(s): float(v) for s, v in zip(rows["seed"], rows[of], strict=True)}
