"""The findings of a study in sentences: the verdict, the declared comparison, and what limits them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scl import stats
from scl.report.facts import Facts
from scl.report.formatting import (
    capital,
    distance,
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

ALPHA = 1 - stats.LEVEL


def baseline_name(facts: Facts) -> str:
    return "the baseline" if facts.baseline == "baseline" else f"the baseline {name_of(facts.baseline)}"


def leading(facts: Facts) -> str:
    """The arm that the verdict is about: the winner, else the best of those compared, else the highest mean."""
    compared = list(facts.contrasts.values())
    return _lead(compared).arm if compared else str(facts.scores.mean().idxmax())


def _lead(contrasts: list[stats.Contrast]) -> stats.Contrast:
    won = [c for c in contrasts if c.low > 0]
    return max(won or contrasts, key=lambda c: c.estimate)


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
        return f"{capital(baseline)} has no completed trial, so no arm can be compared with it; {top}."
    if facts.scores.shape[1] == 1:
        mean = stats.mean_interval(facts.scores[facts.baseline].to_numpy())
        spread = f" (95 % interval {interval(mean.low, mean.high, d)})" if mean.n > 1 else ""
        return (
            f"{name_of(facts.baseline)} is the only arm with results: {percent(mean.mean, d)}{spread} "
            f"over {plural(mean.n, 'seed')}{_from_teacher(facts, facts.baseline)}."
        )
    level = percent(means[facts.baseline], d)
    if facts.baseline in facts.left_out:
        chance = percent(facts.chance, 1)
        return f"{capital(baseline)} did not learn ({level}, chance is {chance}), so no arm is compared with it; {top}."
    if facts.comparison is None or not facts.comparison.contrasts:
        return f"No arm can be compared with {baseline} ({level}), because every other arm is left out; {top}."
    if not math.isfinite(facts.comparison.critical):
        return _without_intervals(facts, facts.comparison)
    return _with_intervals(facts, facts.comparison)


def _without_intervals(facts: Facts, comparison: stats.Comparison) -> str:
    d, means = facts.decimals, facts.scores.mean()
    lead = max(comparison.contrasts, key=lambda c: c.estimate)
    if facts.seeds == 1:
        why = "one seed gives no interval and no winner"
    elif comparison.sigma <= stats.NO_SPREAD:
        why = "the arms differ by the same amount on every seed, so no interval can be computed and no arm wins"
    else:
        why = "the arms share too few seeds for an interval, so no arm wins"
    return (
        f"The highest mean is {name_of(lead.arm)} with {percent(means[lead.arm], d)}, {distance(lead.estimate, d)} "
        f"{baseline_name(facts)} ({percent(means[facts.baseline], d)}); {why}."
    )


def _with_intervals(facts: Facts, comparison: stats.Comparison) -> str:
    d, means, baseline = facts.decimals, facts.scores.mean(), baseline_name(facts)
    contrasts = list(comparison.contrasts)
    lead = _lead(contrasts)
    apart = distance(lead.estimate, d)
    span = f"simultaneous 95 % interval {interval(lead.low, lead.high, d, signs=True)}, corrected {p_clause(lead.p)}"
    if lead.low > 0:
        return (
            f"{name_of(lead.arm)} won with {percent(means[lead.arm], d)}, {apart} {baseline} ({span}): "
            f"significant at 5 % after correction for {plural(len(contrasts), 'comparison')}"
            f"{_from_teacher(facts, lead.arm)}."
        )
    worse = [c.arm for c in contrasts if c.high < 0]
    losers = f"; shown to be worse than the baseline: {listing(worse)}" if worse else ""
    return (
        f"No arm is shown to beat {baseline} ({percent(means[facts.baseline], d)}): the highest, "
        f"{name_of(lead.arm)}, is {apart} it ({span}){losers}."
    )


def _from_teacher(facts: Facts, arm: str) -> str:
    if not math.isfinite(facts.teacher):
        return ""
    gap = facts.scores[arm].mean() - facts.teacher
    whose = "its teacher" if len(facts.teachers) == 1 else "the mean of its teachers"
    return f", and {distance(gap, facts.decimals)} {whose} ({percent(facts.teacher, facts.decimals)})"


# The declared comparison


def goal(facts: Facts) -> str:
    """The answer to the comparison declared before the run, in a sentence or two; empty if none was declared."""
    declared = facts.declared
    if declared is None:
        return ""
    m, d = declared.test.differences, max(facts.decimals, 2)
    question = f"Declared before the run: does {name_of(declared.arm)} beat its teacher?"
    if m.n == 0:
        why = "none of its seeds is done" if declared.planned else "it is not part of this run"
        return f"{question} Not shown: {why}."
    mean, seeds = f"{points(m.mean, d)} points", plural(m.n, "seed")
    missing = f" {m.n} of {declared.planned} seeds are done." if m.n < declared.planned else ""
    if not math.isfinite(declared.test.p):
        why = "one seed gives no interval" if m.n == 1 else "seeds without spread give no interval"
        return f"{question} Not shown: {mean} over {seeds}; {why}.{missing}"
    span = f"95 % interval {interval(m.low, m.high, d, signs=True)}, sd {100 * m.sd:.{d}f}, {p_clause(declared.test.p)}"
    answer = {"yes": "Yes", "no": "No, it is worse", "not shown": "Not shown"}[declared.test.answer]
    return f"{question} {answer}: {mean} over {seeds} ({span}; student minus teacher, paired by seed).{missing}"


# What limits the verdict


def of_files(facts: Facts, most: int = 6) -> list[str]:
    """What is wrong with the files of the store: a paragraph for each, the first ones only."""
    remarks = facts.results.remarks
    shown = [f"A file of this study is not as scl wrote it. {plain(remark)}." for remark in remarks[:most]]
    more = [f"{plural(len(remarks) - most, 'more file')} of this study are not as scl wrote them."]
    return shown + (more if len(remarks) > most else [])


def qualifications(facts: Facts) -> list[str]:
    """What a reader must know to read the verdict rightly: one paragraph each."""
    out = of_files(facts)
    d, comparison, smallest = facts.decimals, facts.comparison, facts.detectable()
    if comparison is not None and math.isfinite(smallest) and smallest > 0:
        out.append(
            f"With {plural(comparison.seeds, 'seed')} and {len(comparison.contrasts) + 1} arms, the smallest "
            f"detectable effect is {size(smallest, max(d, 1))} (80 % power){_more_seeds(facts, comparison)}."
        )
    elif facts.seeds == 1:
        out.append("One seed cannot separate an effect from chance: run with --seeds 3 or more.")
    if comparison is not None and math.isfinite(comparison.critical):
        lead = max(comparison.contrasts, key=lambda c: c.estimate)
        rivals = [other for other, p in facts.pairs.of(lead.arm) if other != facts.baseline and not p < ALPHA]
        if lead.low > 0 and rivals:
            out.append(f"{name_of(lead.arm)} is not shown to differ from {listing(rivals)} (all pairs, Holm).")
    if facts.left_out:
        reasons = "; ".join(f"{name_of(arm)} {reason}" for arm, reason in list(facts.left_out.items())[:6])
        more = f"; and {len(facts.left_out) - 6} more" if len(facts.left_out) > 6 else ""
        out.append(f"Left out of the comparison: {reasons}{more}.")
    if len(facts.teachers) == 1 and facts.seeds > 1:
        out.append("All seeds used one teacher; the intervals do not cover other teachers.")
    if error := _test_set_error(facts):
        out.append(error)
    analyses, merged = facts.study.get("looks") or [], facts.study.get("merged") or []
    if merged:
        out.append(
            f"These results were merged from {plural(len(merged), 'store')}. If a part was added because of what "
            "another had shown, a false winner is more likely than the intervals state."
        )
    if grew(facts.study):
        steps = ", ".join(map(seed_count, analyses))
        out.append(
            f"The results were analysed {len(analyses)} times while seeds were added ({steps}). Each analysis makes a "
            "false winner more likely than the intervals state."
        )
    return out


def grew(study: Mapping[str, Any]) -> bool:
    """Whether seeds were added after an analysis. Parts that were merged have one analysis each."""
    looks = study.get("looks") or []
    whole = [look for look in looks if "part" not in look]
    return len(whole) > 1 or any(part.get("looks", 0) > 1 for part in study.get("merged") or [])


def _test_set_error(facts: Facts) -> str:
    """The sampling error of the test images, which seeds do not show."""
    images = (facts.study.get("data") or {}).get("test")
    if not images or facts.scores.empty:
        return ""
    p = float(facts.scores[leading(facts)].mean())
    error = 100 * math.sqrt(max(p * (1 - p), 0) / images)
    return (
        f"The test set has {images:,} images. A different test set of this size would shift accuracies by about "
        f"{error:.2g} points (standard error), mostly together."
    )


def _more_seeds(facts: Facts, comparison: stats.Comparison) -> str:
    """The seeds that would detect a difference as large as the best arm's, if it is not significant."""
    lead = max(comparison.contrasts, key=lambda c: c.estimate)
    if lead.low > 0 or lead.high < 0:
        return ""
    needed = stats.seeds_needed(lead.estimate / comparison.sd_of_differences, len(comparison.contrasts) + 1)
    number = "more than 1,000" if needed is None else f"{needed:,}"
    return (
        f"; {number} seeds would detect a difference as large as that of {name_of(lead.arm)} "
        f"({size(lead.estimate, facts.decimals + 1)})"
    )
