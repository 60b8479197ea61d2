"""The findings of a study in sentences: the verdict, and what was declared before the run. `limits` has the rest.

A sentence is chosen by the facts that it states: who is compared with whom, over how many seeds, how sure that is, and
what is missing. The verdict speaks about one `Lead`; everything else about contrasts as `stats` has them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from scl import stats
from scl.report.declared import DeclaredContrast
from scl.report.facts import Facts
from scl.report.formatting import (
    capital,
    listing,
    name_of,
    p_clause,
    plain,
    plural,
    seeds_named,
)
from scl.study.metrics import DEFAULT

MOST_NAMED = 6  # arms of a list in a sentence


def baseline_name(facts: Facts) -> str:
    return "the baseline" if facts.baseline == "baseline" else f"the baseline {name_of(facts.baseline)}"


def level_name(facts: Facts) -> str:
    """The level of the intervals: `95 %`, or `99.85 %` at a later look."""
    return f"{100 * facts.level:.5g} %"


@dataclass(frozen=True)
class Lead:
    """The arm that the verdict is about, against the baseline.

    won: it is shown to be above. seeds: the metric of both on the seeds that are compared. others: the number of
    arms that may win. above: arms that may not win, and are shown to be above the baseline. partly: one of the two has
    further seeds, which the difference does not contain.
    """

    contrast: stats.Contrast
    won: bool
    seeds: pd.DataFrame
    others: int
    above: tuple[str, ...]
    partly: bool

    @property
    def arm(self) -> str:
        return self.contrast.arm

    @property
    def mean(self) -> float:
        return float(self.seeds[self.arm].mean())

    @property
    def of_baseline(self) -> float:
        return float(self.seeds[self.contrast.other].mean())


def lead(facts: Facts) -> Lead | None:
    """The winner, else the best of the compared arms that may win; controls, references, and arms that break a
    constraint may not."""
    all_arms = list(facts.contrasts.values())
    able = [c for c in all_arms if c.arm not in facts.barred] or all_arms
    if not able:
        return None
    won = [c for c in able if facts.ahead(c.shown) > 0]
    best = max(won or able, key=lambda c: facts.ahead(c.estimate))
    both = facts.compared[[best.arm, facts.baseline]].dropna()
    partly = any(int(facts.scores[arm].count()) > len(both) for arm in (best.arm, facts.baseline))
    may_win = bool(won) and best.arm not in facts.barred
    above = tuple(c.arm for c in all_arms if facts.ahead(c.shown) > 0 and c.arm in facts.barred)
    return Lead(best, may_win, both, len(able), above, partly)


def leading(facts: Facts) -> str:
    """The arm that the verdict is about, or else the one with the best mean."""
    found = lead(facts)
    return found.arm if found else facts.best(facts.scores.mean())


# The verdict


def verdict(facts: Facts) -> str:
    """The arm that won, by how much, whether that is significant, and the distance to the teacher: one sentence."""
    if facts.metric == DEFAULT:
        return _verdict(facts)
    lower = "" if facts.measure.sign > 0 else " (lower is better)"
    return f"Judged by {facts.measure.title}{lower}: {_verdict(facts)}"


def _verdict(facts: Facts) -> str:
    d, means = facts.decimals, facts.scores.mean()
    if means.empty and len(facts.searched):
        return "This study is only a search: its panel is below, and no arm has been trained on fresh seeds."
    if means.empty:
        return "No trial has completed, so there is no result yet."
    best = facts.best(means)
    top = f"the {facts.extreme} mean is {name_of(best)} at {facts.unit.value(means[best], d)}"
    if not facts.baseline:
        return f"The study names no baseline, so its arms are not compared; {top}."
    baseline = baseline_name(facts)
    if facts.baseline not in facts.scores:
        why = facts.left_out.get(facts.baseline, "has no completed trial")
        return f"{capital(baseline)} {why}, so no arm can be compared with it; {top}."
    if facts.scores.shape[1] == 1:
        mean = stats.mean_interval(facts.scores[facts.baseline].to_numpy())
        spread = f" (95 % interval {facts.unit.interval(mean.low, mean.high, d)})" if math.isfinite(mean.low) else ""
        return (
            f"{name_of(facts.baseline)} is the only arm with results: {facts.unit.value(mean.mean, d)}{spread} "
            f"over {plural(mean.n, 'seed')}{_from_teacher(facts, facts.baseline, list(facts.scores.index))}."
        )
    level = facts.unit.value(means[facts.baseline], d)
    if facts.baseline in facts.left_out:
        return (
            f"{capital(baseline)} did not learn on any seed ({level}, chance is {facts.chance_text}), so no arm is "
            "compared with "
            f"it; {top}."
        )
    found = lead(facts)
    if found is None or facts.comparison is None:
        return f"No arm can be compared with {baseline} ({level}), because every other arm is left out; {top}."
    if not math.isfinite(facts.comparison.critical):
        return _without_intervals(facts, facts.comparison, found)
    return _with_intervals(facts, facts.comparison, found)


def _without_intervals(facts: Facts, comparison: stats.Comparison, found: Lead) -> str:
    baseline, d = baseline_name(facts), facts.decimals
    if max(c.n for c in comparison.contrasts) < 2:
        why = "one seed gives no interval and no winner"
        why = why if facts.seeds == 1 else "no arm shares two seeds with the baseline, so there is no interval"
    else:
        why = "the arms differ by the same amount on every seed, so no interval can be computed and no arm wins"
    return (
        f"{capital(_highest(facts, found))}, {name_of(found.arm)}, is {facts.unit.value(found.mean, d)}, "
        f"{_apart(facts, found)} "
        f"{baseline} ({facts.unit.value(found.of_baseline, d)}{_on_seeds(found)}); {why}."
    )


def _with_intervals(facts: Facts, comparison: stats.Comparison, found: Lead) -> str:
    d, baseline, c = facts.decimals, baseline_name(facts), found.contrast
    span = "without an interval: it shares one seed with the baseline"
    if math.isfinite(c.low):
        span = (
            f"simultaneous {level_name(facts)} interval {facts.unit.interval(c.low, c.high, d, signs=True)}, corrected "
        )
        span += p_clause(c.p)
    of_baseline = f"{facts.unit.value(found.of_baseline, d)}{_on_seeds(found)}"
    if found.won:
        return (
            f"{name_of(c.arm)} won with {facts.unit.value(found.mean, d)}, {_apart(facts, found)} {baseline} "
            f"({of_baseline}; "
            f"{span}): significant at {100 * facts.alpha:.2g} % after correction for "
            f"{plural(comparison.tested, 'comparison')}{_from_teacher(facts, c.arm, list(found.seeds.index))}."
        )
    worse = [o.arm for o in facts.contrasts.values() if facts.ahead(o.shown) < 0]
    losers = f"; shown to be worse than the baseline: {listing(worse)}" if worse else ""
    start, able = f"No arm is shown to beat {baseline} ({of_baseline})", ""
    if c.arm in facts.barred:
        start = f"No arm may win, because all but {baseline} ({of_baseline}) {_barred_all(facts)}"
    elif found.above:
        start = f"No arm that may win is shown to beat {baseline} ({of_baseline})"
        able = "; shown to be better than the baseline, but unable to win: " + ", ".join(
            f"{name_of(arm)}, {facts.barred[arm]}" for arm in found.above[:MOST_NAMED]
        )
    return (
        f"{start}: {_highest(facts, found)}, {name_of(c.arm)}, is {_apart(facts, found)} "
        f"{baseline if c.arm in facts.barred else 'it'} ({span}){losers}{able}."
    )


def _highest(facts: Facts, found: Lead) -> str:
    """What the leading arm is: the best of those that may win, or the closest to a baseline that is better."""
    of = " that may win" if len(facts.contrasts) > found.others else ""
    ahead = facts.ahead(found.contrast.estimate) >= 0
    if found.others == 1 and (of or not ahead):
        return "the only one that may win" if of else "the other arm"
    return f"the {facts.extreme}{of}" if ahead else f"the closest{of}"


def _barred_all(facts: Facts) -> str:
    return "are controls or references" if not facts.breaking else "are controls, references, or break a constraint"


def _apart(facts: Facts, found: Lead) -> str:
    estimate = found.contrast.estimate  # one that is shown is never level with the baseline
    return facts.unit.distance(
        estimate, facts.unit.digits(estimate, facts.decimals) if found.contrast.shown else facts.decimals
    )


def _on_seeds(found: Lead) -> str:
    shared = "one seed" if found.contrast.n == 1 else plural(found.contrast.n, "seed")
    return f", both over the {shared} that they share" if found.partly else ""


def _from_teacher(facts: Facts, arm: str, seeds: Sequence[int]) -> str:
    gap, teacher = facts.from_teacher(arm, seeds)
    if not math.isfinite(gap) or not math.isfinite(facts.teacher):
        return ""
    whose = "its teacher" if len(facts.teachers) == 1 else "its teachers, by seed"
    return f", and {facts.unit.distance(gap, facts.decimals)} {whose} ({facts.unit.value(teacher, facts.decimals)})"


# What was declared before the run


def goals(facts: Facts) -> list[str]:
    """The answers to what the study declared, a sentence or two each: an arm against its teacher, then contrasts."""
    return [text for text in (goal(facts), *(contrast(facts, c) for c in facts.declared)) if text]


def declared_in_short(facts: Facts) -> str:
    """What came of all that was declared, in front of the verdict: the one answer, or which are shown and which not."""
    against, count = facts.against_teacher, len(facts.declared) + (facts.against_teacher is not None)
    if count == 1:
        return goals(facts)[0]
    found: dict[str, list[str]] = {"shown": [], "shown to be absent": [], "not shown": []}
    if against is not None:
        shown = against.test.answer != "not shown"
        found["shown" if shown else "not shown"].append(f"{plain(against.arm)} against its teacher")
    for declared in facts.declared:
        answer = _answer(facts, declared)[0]
        kind = answer if answer in found else "shown to be absent" if "absent" in answer else "shown"
        # A reader takes "shown" for yes, which another side than that of a gain is not.
        side = "" if declared.test is None or kind != "shown" else _side(facts, declared.test)
        found[kind].append(plain(declared.question) + (f" ({side})" if side not in ("", "above 0") else ""))
    if count and len(found["not shown"]) == count:
        return f"Not one of the {count} declared differences is shown."
    parts = [f"{kind}: {listing(names, 3)}" for kind, names in found.items() if names]
    return f"Of {count} declared questions, {'; '.join(parts)}." if parts else ""


def goal(facts: Facts) -> str:
    """The answer to the declared comparison with the teacher; empty if none was declared."""
    declared = facts.against_teacher
    if declared is None:
        return ""
    late = (facts.study.get("declared") or {}).get("declared_after_look")
    question = f"{_when(bool(late))}: does {name_of(declared.arm)} beat its teacher?"
    done = len(declared.by_seed)
    if done == 0:
        why = "none of its seeds is done" if declared.planned else "it is not part of this run"
        why = "it collapsed on every seed that is done" if declared.collapsed else why
        return f"{question} Not shown: {why}."
    lost, all_done = declared.collapsed, done + len(declared.collapsed)
    missing = f" Left out, because it collapsed there: {seeds_named(lost)}." if lost else ""
    missing += f" {all_done} of {declared.planned} seeds are done." if all_done < declared.planned else ""
    answer = {"yes": "Yes", "no": "No, it is worse", "not shown": "Not shown"}[_better(facts, declared.test)]
    how = "paired by seed" if declared.unit == "seed" else f"the mean of each teacher over its share of {done} seeds"
    evidence = _evidence(facts, declared.test, f"student minus teacher, {how}", declared.unit)
    return f"{question} {answer}: {evidence}.{missing}"


def _better(facts: Facts, test: stats.Declared) -> str:
    """The answer of a test, `yes` if the first is shown to be better."""
    turned = {"yes": "no", "no": "yes", "not shown": "not shown"}
    return test.answer if facts.measure.sign > 0 else turned[test.answer]


def contrast(facts: Facts, declared: DeclaredContrast) -> str:
    """The answer to a declared contrast: shown, shown to be absent within the margin, or not shown."""
    answer, evidence = _answer(facts, declared)
    joint = ": " if declared.test and declared.test.differences.n else ", because "
    when, question = _when(declared.late), plain(declared.question)
    return f"{when}: {question} {formula(declared.weights)}: {answer}{joint}{evidence}."


def answers(facts: Facts) -> list[tuple[str, str]]:
    """The declared contrasts as (question, answer); those without their arms share one entry, the last."""
    asked, absent = [], []
    for declared in facts.declared:
        if declared.test is None:
            absent.append(plain(declared.question))
            continue
        asked.append((plain(declared.question), answered(facts, declared)))
    if absent:
        asked.append(("Not answered", f"Arms of {listing(absent)} are not part of this run."))
    return asked


def answered(facts: Facts, declared: DeclaredContrast) -> str:
    """The answer to a declared contrast, below its question."""
    answer, evidence = _answer(facts, declared)
    late = f" {_when(True)}." if declared.late else ""
    return f"{capital(answer)}: {formula(declared.weights)}, {evidence}.{late}"


def _answer(facts: Facts, declared: DeclaredContrast) -> tuple[str, str]:
    """Whether a contrast is shown, and the evidence or the reason why there is none."""
    test = declared.test
    if test is None:
        return "not shown", f"this run has no {listing(declared.missing)}"
    if test.differences.n == 0:
        return "not shown", "no seed has all of its arms"
    side = _side(facts, test)
    answer = f"shown, {side}" if side else "not shown"
    if math.isfinite(facts.margin) and test.absent(facts.margin):
        within = f"within ± {facts.unit.as_given(facts.margin)}"
        answer = f"shown to be absent {within}" if answer == "not shown" else f"{answer}, and {within}"
    return answer, _evidence(facts, test, "paired by seed")


def _side(facts: Facts, test: stats.Declared) -> str:
    """The side of 0 on which a contrast is shown to lie, with what it means where lower is better; "" if not shown."""
    side = {"yes": "above 0", "no": "below 0", "not shown": ""}[test.answer]
    return f"{side}, where lower is better" if side and facts.measure.sign < 0 else side


def _when(late: bool) -> str:
    return "Declared after results were seen" if late else "Declared before the run"


def formula(weights: Mapping[str, float]) -> str:
    """A contrast in words: “a” − “b”, or ½ “a” + ½ “b” − “c”."""
    text = ""
    for arm, weight in sorted(weights.items(), key=lambda item: item[1] < 0):
        sign = "− " if weight < 0 else "+ " if text else ""
        factor = "" if abs(weight) == 1 else f"{abs(weight):.3g} "
        text += f"{' ' if text else ''}{sign}{factor}{name_of(arm)}"
    return text


def _evidence(facts: Facts, test: stats.Declared, how: str, unit: str = "seed") -> str:
    m, d = test.differences, max(facts.decimals, 2)
    mean, seeds = facts.unit.gain(m.mean, d), plural(m.n, unit)
    if not math.isfinite(test.p):
        why = f"one {unit} gives no interval" if m.n == 1 else f"{unit}s without spread give no interval"
        return f"{mean} over {seeds}; {why}"
    family = facts.declarations
    corrected = f", corrected for {family} declared comparisons" if family > 1 else ""
    return (
        f"{mean} over {seeds} ({level_name(facts)} interval {facts.unit.interval(m.low, m.high, d, signs=True)}, sd "
        f"{facts.unit.factor * m.sd:.{d}f}, {p_clause(test.p)}{corrected}; {how})"
    )
