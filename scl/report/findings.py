"""The findings of a study in sentences: the verdict, what was declared before the run, and what limits both.

A sentence is chosen by the facts that it states: who is compared with whom, over how many seeds, how sure that is, and
what is missing. The verdict speaks about one `Lead`; everything else about contrasts as `stats` has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl import stats
from scl.report.facts import DeclaredContrast, Facts
from scl.report.formatting import (
    capital,
    digits,
    distance,
    format_seeds,
    interval,
    listing,
    name_of,
    p_clause,
    percent,
    plain,
    plural,
    points,
    size,
)
from scl.report.looks import of_other_seeds
from scl.report.stein import stein_sentence

MOST_NAMED = 6  # arms of a list in a sentence


def baseline_name(facts: Facts) -> str:
    return "the baseline" if facts.baseline == "baseline" else f"the baseline {name_of(facts.baseline)}"


def level_name(facts: Facts) -> str:
    """The level of the intervals: `95 %`, or `99.85 %` at a later look."""
    return f"{100 * facts.level:.5g} %"


@dataclass(frozen=True)
class Lead:
    """The arm that the verdict is about, against the baseline.

    won: it is shown to be above. seeds: the accuracies of both on the seeds that are compared. others: the number of
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
    """The winner, else the best of the compared arms that may win; controls and references may not."""
    all_arms = list(facts.contrasts.values())
    able = [c for c in all_arms if c.arm not in facts.roles] or all_arms
    if not able:
        return None
    won = [c for c in able if c.shown > 0]
    best = max(won or able, key=lambda c: c.estimate)
    both = facts.compared[[best.arm, facts.baseline]].dropna()
    partly = any(int(facts.scores[arm].count()) > len(both) for arm in (best.arm, facts.baseline))
    may_win = bool(won) and best.arm not in facts.roles
    above = tuple(c.arm for c in all_arms if c.shown > 0 and c.arm in facts.roles)
    return Lead(best, may_win, both, len(able), above, partly)


def leading(facts: Facts) -> str:
    """The arm that the verdict is about, or else the one with the highest mean."""
    found = lead(facts)
    return found.arm if found else str(facts.scores.mean().idxmax())


def seed_count(analysis: Mapping[str, Any]) -> str:
    """The number of seeds of an entry of `looks` in study.json, which lists them or only counts them."""
    seeds = analysis.get("seeds", 0)
    return plural(len(seeds) if isinstance(seeds, list) else int(seeds), "seed")


# The verdict


def verdict(facts: Facts) -> str:
    """The arm that won, by how much, whether that is significant, and the distance to the teacher: one sentence."""
    d, means = facts.decimals, facts.scores.mean()
    if means.empty and len(facts.searched):
        return "This study is only a search: its panel is below, and no arm has been trained on fresh seeds."
    if means.empty:
        return "No trial has completed, so there is no result yet."
    best = str(means.idxmax())
    top = f"the highest mean is {name_of(best)} at {percent(means[best], d)}"
    if not facts.baseline:
        return f"The study names no baseline, so its arms are not compared; {top}."
    baseline = baseline_name(facts)
    if facts.baseline not in facts.scores:
        why = facts.left_out.get(facts.baseline, "has no completed trial")
        return f"{capital(baseline)} {why}, so no arm can be compared with it; {top}."
    if facts.scores.shape[1] == 1:
        mean = stats.mean_interval(facts.scores[facts.baseline].to_numpy())
        spread = f" (95 % interval {interval(mean.low, mean.high, d)})" if math.isfinite(mean.low) else ""
        return (
            f"{name_of(facts.baseline)} is the only arm with results: {percent(mean.mean, d)}{spread} "
            f"over {plural(mean.n, 'seed')}{_from_teacher(facts, facts.baseline, list(facts.scores.index))}."
        )
    level = percent(means[facts.baseline], d)
    if facts.baseline in facts.left_out:
        chance = percent(facts.chance, 1)
        return (
            f"{capital(baseline)} did not learn on any seed ({level}, chance is {chance}), so no arm is compared with "
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
        f"{capital(_highest(facts, found))}, {name_of(found.arm)}, is {percent(found.mean, d)}, {_apart(facts, found)} "
        f"{baseline} ({percent(found.of_baseline, d)}{_on_seeds(found)}); {why}."
    )


def _with_intervals(facts: Facts, comparison: stats.Comparison, found: Lead) -> str:
    d, baseline, c = facts.decimals, baseline_name(facts), found.contrast
    span = "without an interval: it shares one seed with the baseline"
    if math.isfinite(c.low):
        span = f"simultaneous {level_name(facts)} interval {interval(c.low, c.high, d, signs=True)}, corrected "
        span += p_clause(c.p)
    of_baseline = f"{percent(found.of_baseline, d)}{_on_seeds(found)}"
    if found.won:
        return (
            f"{name_of(c.arm)} won with {percent(found.mean, d)}, {_apart(facts, found)} {baseline} ({of_baseline}; "
            f"{span}): significant at {100 * facts.alpha:.2g} % after correction for "
            f"{plural(comparison.tested, 'comparison')}{_from_teacher(facts, c.arm, list(found.seeds.index))}."
        )
    worse = [o.arm for o in facts.contrasts.values() if o.shown < 0]
    losers = f"; shown to be worse than the baseline: {listing(worse)}" if worse else ""
    start, able = f"No arm is shown to beat {baseline} ({of_baseline})", ""
    if c.arm in facts.roles:
        start = f"No arm may win, because all but {baseline} ({of_baseline}) are controls or references"
    elif found.above:
        start = f"No arm that may win is shown to beat {baseline} ({of_baseline})"
        able = "; shown to be better than the baseline, but unable to win: " + ", ".join(
            f"{name_of(arm)}, a {facts.roles[arm]}" for arm in found.above[:MOST_NAMED]
        )
    return (
        f"{start}: {_highest(facts, found)}, {name_of(c.arm)}, is {_apart(facts, found)} "
        f"{baseline if c.arm in facts.roles else 'it'} ({span}){losers}{able}."
    )


def _highest(facts: Facts, found: Lead) -> str:
    """What the leading arm is: the highest of those that may win, or the closest to a baseline that is higher."""
    of = " that may win" if len(facts.contrasts) > found.others else ""
    if found.others == 1 and (of or found.contrast.estimate < 0):
        return "the only one that may win" if of else "the other arm"
    return f"the highest{of}" if found.contrast.estimate >= 0 else f"the closest{of}"


def _apart(facts: Facts, found: Lead) -> str:
    estimate = found.contrast.estimate  # one that is shown is never level with the baseline
    return distance(estimate, digits(estimate, facts.decimals) if found.contrast.shown else facts.decimals)


def _on_seeds(found: Lead) -> str:
    shared = "one seed" if found.contrast.n == 1 else plural(found.contrast.n, "seed")
    return f", both over the {shared} that they share" if found.partly else ""


def _from_teacher(facts: Facts, arm: str, seeds: Sequence[int]) -> str:
    gap, teacher = facts.from_teacher(arm, seeds)
    if not math.isfinite(gap) or not math.isfinite(facts.teacher):
        return ""
    whose = "its teacher" if len(facts.teachers) == 1 else "its teachers, by seed"
    return f", and {distance(gap, facts.decimals)} {whose} ({percent(teacher, facts.decimals)})"


# What was declared before the run


def goals(facts: Facts) -> list[str]:
    """The answers to what the study declared, a sentence or two each: an arm against its teacher, then contrasts."""
    return [text for text in (goal(facts), *(contrast(facts, c) for c in facts.declared)) if text]


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
    answer = {"yes": "Yes", "no": "No, it is worse", "not shown": "Not shown"}[declared.test.answer]
    how = "paired by seed" if declared.unit == "seed" else f"the mean of each teacher over its share of {done} seeds"
    evidence = _evidence(facts, declared.test, f"student minus teacher, {how}", declared.unit)
    return f"{question} {answer}: {evidence}.{missing}"


def contrast(facts: Facts, declared: DeclaredContrast) -> str:
    """The answer to a declared contrast: shown, shown to be absent within the margin, or not shown."""
    start = f"{_when(declared.late)}: {plain(declared.question)} {formula(declared.weights)}:"
    if declared.test is None:
        return f"{start} not shown, because this run has no {listing(declared.missing)}."
    if declared.test.differences.n == 0:
        return f"{start} not shown, because no seed has all of its arms."
    answer = {"yes": "shown, above 0", "no": "shown, below 0", "not shown": "not shown"}[declared.test.answer]
    if math.isfinite(facts.margin) and declared.test.absent(facts.margin):
        within = f"within ± {size(facts.margin, _margin_digits(facts))}"
        answer = f"shown to be absent {within}" if answer == "not shown" else f"{answer}, and {within}"
    return f"{start} {answer}: {_evidence(facts, declared.test, 'paired by seed')}."


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
    mean, seeds = f"{points(m.mean, d)} points", plural(m.n, unit)
    if not math.isfinite(test.p):
        why = f"one {unit} gives no interval" if m.n == 1 else f"{unit}s without spread give no interval"
        return f"{mean} over {seeds}; {why}"
    family = facts.declarations
    corrected = f", corrected for {family} declared comparisons" if family > 1 else ""
    return (
        f"{mean} over {seeds} ({level_name(facts)} interval {interval(m.low, m.high, d, signs=True)}, sd "
        f"{100 * m.sd:.{d}f}, {p_clause(test.p)}{corrected}; {how})"
    )


# What limits the verdict


def of_files(facts: Facts, most: int = 6) -> list[str]:
    """What is wrong with the files of the store: a paragraph for each, the first ones only."""
    remarks = facts.results.remarks
    shown = [f"A file of this study is not as scl wrote it. {plain(remark)}." for remark in remarks[:most]]
    more = [f"{plural(len(remarks) - most, 'more file')} of this study are not as scl wrote them."]
    return shown + (more if len(remarks) > most else [])


def qualifications(facts: Facts) -> list[str]:
    """What a reader must know to read the verdict rightly: one paragraph each."""
    parts: Iterable[str] = (
        *of_files(facts), _controls(facts), _margins(facts), _power(facts), _rivals(facts), _other_rule(facts),
        _collapsed(facts), left_out(facts), _teachers(facts), _test_set_error(facts), *_history(facts),
    )  # fmt: skip
    return [text for text in parts if text]


def _controls(facts: Facts) -> str:
    """Controls that are as high as the arm of the verdict: its gain may be theirs."""
    found = lead(facts)
    if found is None or found.arm in facts.roles or found.contrast.estimate <= 0:
        return ""
    as_high = [c for c in facts.contrasts.values() if c.arm in facts.roles and c.estimate >= found.contrast.estimate]
    if not as_high:
        return ""
    named = ", ".join(
        f"{name_of(c.arm)}, a {facts.roles[c.arm]} ({points(c.estimate, facts.decimals)} points)"
        for c in sorted(as_high, key=lambda c: -c.estimate)[:MOST_NAMED]
    )
    return (
        f"At least as far above the baseline as {name_of(found.arm)}: {named}. Such an arm cannot win, but it may "
        "explain the gain."
    )


def _margins(facts: Facts) -> str:
    """Which arms are shown to be no worse than the baseline by more than the margin, and what it would take."""
    comparison, margin = facts.comparison, facts.margin
    if comparison is None or not math.isfinite(comparison.critical) or not math.isfinite(margin):
        return ""
    tested = [c for c in comparison.contrasts if math.isfinite(c.lower)]
    same = [c.arm for c in tested if c.equivalent(margin)]
    above = [c.arm for c in tested if c.no_worse(margin) and c.arm not in same]
    rest = [c.arm for c in tested if not c.no_worse(margin)]
    limit = size(margin, _margin_digits(facts))
    late = ", chosen after results were seen" if facts.study.get("margin_after_look") else ""
    text = f"Margin {limit}{late} (one-sided tests, corrected for {plural(comparison.tested, 'arm')}):"
    text += f" shown to differ from the baseline by less: {listing(same)}." if same else ""
    text += f" {'Shown' if same else 'shown'} to be no worse by more than that: {listing(above)}." if above else ""
    if rest:
        text += f" {'Not' if same or above else 'not'} shown to be no worse: {listing(rest)}"
        needed = seeds_range(facts, margin, facts.level - facts.alpha, comparison.sd, comparison.df)
        text += f"; an arm that equals the baseline would need {needed} (80 % power)." if needed else "."
    return text


def _margin_digits(facts: Facts) -> int:
    """The digits that the margin has itself, in points."""
    return max(facts.decimals, len(f"{100 * facts.margin:.6g}".partition(".")[2]))


def _power(facts: Facts) -> str:
    """The smallest detectable effect with its uncertainty, and the seeds that the best arm's difference would need."""
    comparison, smallest = facts.comparison, facts.detectable()
    if comparison is None or not math.isfinite(smallest) or smallest <= 0:
        return "One seed cannot separate an effect from chance: run with --seeds 3 or more." if facts.seeds == 1 else ""
    low, high = facts.detectable_range()
    d = digits(low, max(facts.decimals, 1))
    text = (
        f"With {plural(comparison.seeds, 'seed')} and {comparison.tested + 1} arms, the smallest detectable effect is "
        f"about {size(smallest, d)} (80 % power; {interval(low, high, d)}, as the standard deviation is an estimate)"
    )
    found = lead(facts)
    if found and found.contrast.shown == 0 and abs(found.contrast.estimate) > stats.NO_SPREAD:
        c = found.contrast
        own = c.se * math.sqrt(c.n)  # what the rule judges this arm by; NaN with one seed
        wider = own > 1.001 * comparison.sd
        sd, df = (own, c.n - 1) if wider else (comparison.sd, comparison.df)
        text += (
            f"; {seeds_range(facts, c.estimate, facts.level, sd, df)} would detect a difference as large as that of "
            f"{name_of(found.arm)} ({size(c.estimate, facts.decimals + 1)})"
        )
        text += ", which scatters more widely than the arms together" if wider else ""
    return f"{text}."


def seeds_range(facts: Facts, effect: float, level: float, sd: float, df: float) -> str:
    """The seeds that a true difference of this size needs, with their range: `about 12 seeds (6 to 40)`.

    sd, df: the standard deviation of one seed's difference, and its degrees of freedom. The range is that of this
    standard deviation alone.
    """
    arms = facts.comparison.tested + 1 if facts.comparison else 0
    low, high = stats.sd_range(df)
    few, about, many = (stats.seeds_needed(effect / (f * sd), arms, level) for f in (low, 1, high))
    if about is None:
        return "more than 1,000 seeds"
    return f"about {about:,} seeds ({few or 2:,} to {f'{many:,}' if many else 'more than 1,000'})"


def _rivals(facts: Facts) -> str:
    found = lead(facts)
    if found is None or not found.won:
        return ""
    rivals = [other for other, p in facts.pairs.of(found.arm) if other != facts.baseline and not p < facts.alpha]
    return f"{name_of(found.arm)} is not shown to differ from {listing(rivals)} (all pairs, Holm)." if rivals else ""


def _other_rule(facts: Facts) -> str:
    """Arms about which the linear model says something else than the rule that decides."""
    if facts.model is None:
        return ""
    other = {c.arm: c for c in facts.model.contrasts}
    tested = [c for c in facts.contrasts.values() if math.isfinite(c.p)]  # the model tests an arm with one seed, too
    apart = [c.arm for c in tested if c.arm in other and other[c.arm].shown != c.shown]
    if not apart:
        return ""
    ours = [arm for arm in apart if facts.contrasts[arm].shown]
    theirs = [arm for arm in apart if other[arm].shown]
    said = [f"shown by the rule alone: {listing(ours)}"] if ours else []
    said += [f"shown by the model alone: {listing(theirs)}"] if theirs else []
    return (
        "Dunnett's test in the model accuracy ~ arm + seed, which takes all arms to scatter alike, disagrees with the "
        f"rule of this page ({'; '.join(said)}). The rule decides, because it holds where arms scatter differently."
    )


def _collapsed(facts: Facts) -> str:
    """Trials that did not learn, while their arm is compared on its other seeds."""
    partly = {arm: seeds for arm, seeds in facts.collapsed.items() if arm not in facts.left_out}
    if not partly:
        return ""
    named = [
        f"{name_of(arm)} on {seeds_named(seeds)} ({percent(float(facts.scores.loc[seeds[0], arm]), 1)}"
        + (", …)" if len(seeds) > 1 else ")")
        for arm, seeds in list(partly.items())[:MOST_NAMED]
    ]
    more = f"; and {len(partly) - MOST_NAMED} more" if len(partly) > MOST_NAMED else ""
    pairs = " A seed on which the baseline collapsed is lost for every arm." if facts.baseline in partly else ""
    return (
        f"Collapsed (below {100 * facts.floor:.1f} %): {'; '.join(named)}{more}. Comparisons leave these trials out; "
        f"means and standard deviations contain them.{pairs}"
    )


def seeds_named(seeds: Sequence[int]) -> str:
    """`seed 2`, or `seeds 1–3`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {format_seeds(seeds)}"


def left_out(facts: Facts) -> str:
    """The arms that are not compared, with the reason for each."""
    if not facts.left_out:
        return ""
    reasons = "; ".join(f"{name_of(arm)} {reason}" for arm, reason in list(facts.left_out.items())[:MOST_NAMED])
    more = f"; and {len(facts.left_out) - MOST_NAMED} more" if len(facts.left_out) > MOST_NAMED else ""
    return f"Left out of the comparison: {reasons}{more}."


def on_fewer_seeds(facts: Facts) -> str:
    """The arms whose difference is not that of the two means in the main table."""
    arms = (facts.contrasts.keys() | {facts.baseline}) & set(facts.scores.columns)
    most = {arm: int(facts.scores[arm].count()) for arm in arms}
    fewer = [c.arm for c in facts.contrasts.values() if max(most[c.arm], most[facts.baseline]) > c.n]
    if not fewer:
        return ""
    return (
        f"Compared on fewer seeds than their means have, those that they share with the baseline and on which both "
        f"learnt: {listing(fewer)}. Their difference is not that of these means."
    )


def _teachers(facts: Facts) -> str:
    """Which teachers the intervals cover."""
    if len(facts.teachers) == 1 and facts.seeds > 1:
        return "All seeds used one teacher; the intervals do not cover other teachers."
    if 1 < len(facts.teachers) < facts.seeds:
        return (
            f"{facts.seeds} seeds share {len(facts.teachers)} teachers: the intervals here are about these teachers. "
            "Those for other teachers are below, in “How much does the teacher matter?”."
        )
    return ""


def _test_set_error(facts: Facts) -> str:
    """The sampling error of the test images, which seeds do not show."""
    images = (facts.study.get("data") or {}).get("test")
    if not images or facts.scores.empty:
        return ""
    p = float(facts.scores[leading(facts)].mean())
    if p in (0.0, 1.0):
        low, high = stats.share_interval(p, images)
        span = f"Jeffreys' 95 % interval for that many images is {interval(low, high, 1)} %"
        return f"The test set has {images:,} images, and all of them are {'right' if p else 'wrong'}: {span}."
    error = 100 * math.sqrt(p * (1 - p) / images)
    return (
        f"The test set has {images:,} images. A different test set of this size would shift accuracies by about "
        f"{error:.2g} points (standard error), mostly together."
    )


def _history(facts: Facts) -> list[str]:
    """How often results were seen, and what that does to the intervals."""
    out, study = [], facts.study
    merged, planned = study.get("merged") or [], study.get("planned_looks") or []
    if merged:
        out.append(
            f"These results were merged from {plural(len(merged), 'store')}. If a part was added because of what "
            "another had shown, a false winner is more likely than the intervals state."
        )
    if any(part.get("looks", 0) > 1 for part in merged):
        out.append("At least one of these parts grew after a look at its results, which the intervals do not count.")
    if len(facts.looks) > 1 or planned:
        steps = ", ".join(f"{n:,}" for n in facts.looks)
        text = (
            f"This is look {len(facts.looks)} at this study ({steps} seeds). Its intervals hold at {level_name(facts)}"
        )
        if planned:
            text += f": the looks at {listing_of(planned)} seeds were planned and share the 5 %."
            if facts.looks and facts.looks[-1] not in planned:
                late = facts.looks[-1] > planned[-1]
                text += " This look was not planned; it takes its share of "
                text += "another 0.3 % for such looks." if late else "the 5 % for the seeds that it added."
        else:
            text += (
                ": the first look took the 5 %, and later ones that were not planned with --looks share 0.3 %, so that "
                "a false finding at any look has a probability of at most 5.3 %."
            )
        out.append(text)
    if others := of_other_seeds(study):
        out.append(
            f"This study was analysed before with seeds {format_seeds(others)}, not part of this page. If that is why "
            "the present seeds were tried, a false winner is more likely than the intervals state."
        )
    if found := stein_sentence(study, max(facts.decimals, 2)):
        out.append(found)
    if withdrawn := study.get("withdrawn"):
        questions = listing([str(one["question"]) for one in withdrawn])
        out.append(f"Declared by an earlier run of this study and not asked any more: {questions}.")
    return out


def listing_of(numbers: Sequence[int]) -> str:
    shown = [f"{n:,}" for n in numbers]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
