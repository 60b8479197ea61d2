"""Numbers as words: formats, and the verdict in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from scl import stats
from scl.report.facts import Facts
from scl.report.theme import isolated, plain, shorten

ALPHA = 1 - stats.LEVEL
DASH = "–"


def percent(value: float, decimals: int) -> str:
    return f"{100 * value:.{decimals}f} %" if math.isfinite(value) else DASH


def bare(value: float, decimals: int) -> str:
    """A fraction as per cent, without the sign: for columns whose head names the unit."""
    return f"{100 * value:.{decimals}f}" if math.isfinite(value) else DASH


def points(value: float, decimals: int) -> str:
    """A difference of fractions in percentage points, signed with a true minus."""
    return signed(100 * value, decimals)


def signed(value: float, decimals: int) -> str:
    """A number with its sign, a true minus; none on a zero."""
    if not math.isfinite(value):
        return DASH
    text = f"{value:+.{decimals}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")


def p_value(p: float) -> str:
    if not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else "> 0.999" if p > 0.9995 else f"{p:.3f}"


def p_clause(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def count(value: float) -> str:
    """A whole number in short: 912, 70.1 k, 2.05 M."""
    if not math.isfinite(value):
        return DASH
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return DASH
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.2f} h"


def moment(iso: object) -> str:
    """An ISO time to the minute: 2026-01-02 10:30 UTC; text that is none stays as it is."""
    try:
        return datetime.fromisoformat(str(iso)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return "" if iso is None else str(iso)


def plural(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def listing(names: Sequence[str], most: int = 6) -> str:
    """Arms in a sentence: “a”, “b” and “c”; beyond `most` the rest is counted."""
    shown = [name_of(n) for n in names[:most]]
    rest = len(names) - len(shown)
    if rest:
        shown.append(f"{rest} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def name_of(arm: str) -> str:
    return f"“{isolated(shorten(plain(arm), 60))}”"


def base_of(facts: Facts) -> str:
    return "the baseline" if facts.baseline == "baseline" else f"the baseline {name_of(facts.baseline)}"


def leading(facts: Facts) -> str:
    """The arm that the verdict speaks of: the winner, else the best of those compared, else the highest mean."""
    compared = list(facts.contrasts.values())
    won = [c for c in compared if c.low > 0]
    if compared:
        return max(won or compared, key=lambda c: c.estimate).arm
    return str(facts.scores.mean().idxmax())


def seeds_of(look: Mapping[str, Any]) -> str:
    """How many seeds a look at the results had, in words; study.json lists them, or only counts them."""
    seeds = look.get("seeds", 0)
    return plural(len(seeds) if isinstance(seeds, list) else int(seeds), "seed")


def verdict(facts: Facts) -> str:
    """Which arm won, by how much, whether credibly so, and against the teacher: one sentence."""
    d = facts.decimals
    means = facts.scores.mean()
    if means.empty and len(facts.searched):
        return "This study is a search alone: what it found is below, and no arm has run again beside it."
    if means.empty:
        return "No trial has completed, so there is nothing to say yet."
    best = str(means.idxmax())
    top = f"{name_of(best)} at {percent(means[best], d)}"
    if not facts.baseline:
        return f"No baseline is named, so there is nothing to compare arms with; the highest mean is {top}."
    if facts.baseline not in facts.scores:
        return (
            f"{_capital(base_of(facts))} has no completed trial, so no arm can be compared with it; "
            f"the highest mean is {top}."
        )
    if facts.scores.shape[1] == 1:
        mean = stats.mean_interval(facts.scores[facts.baseline].to_numpy())
        spread = f" (95 % interval {_span(mean.low, mean.high, d)})" if mean.n > 1 else ""
        return (
            f"{name_of(facts.baseline)} is the only arm with results: {percent(mean.mean, d)}{spread} "
            f"over {plural(mean.n, 'seed')}{_against_teacher(facts, facts.baseline)}."
        )
    if facts.baseline in facts.left_out:
        return (
            f"{_capital(base_of(facts))} did not learn ({percent(means[facts.baseline], d)}, chance is "
            f"{percent(facts.chance, 1)}), so differences to it mean nothing; the highest mean is {top}."
        )
    if facts.comparison is None or not facts.comparison.contrasts:
        return (
            f"No arm can be compared with {base_of(facts)} "
            f"({percent(means[facts.baseline], d)}): every other arm was left out; the highest mean is {top}."
        )
    if not math.isfinite(facts.comparison.critical):
        return _without_intervals(facts)
    return _with_intervals(facts)


def goal(facts: Facts) -> str:
    """The answer to what was declared before the run, in one sentence or two; empty where nothing was."""
    found = facts.declared
    if found is None:
        return ""
    m, d = found.test.differences, max(facts.decimals, 2)
    question = f"Declared before the run: does {name_of(found.arm)} beat its teacher?"
    if m.n == 0:
        why = "no seed of it is done" if found.planned else "it is not part of this run"
        return f"{question} Not shown: {why}."
    size = f"{points(m.mean, d)} points"
    seeds = plural(m.n, "seed")
    missing = f" {m.n} of {found.planned} seeds are done." if m.n < found.planned else ""
    if not math.isfinite(found.test.p):
        why = "one seed shows no spread" if m.n == 1 else "its seeds show no spread"
        return f"{question} Not shown: {size} at {seeds}, and {why}, so there is no interval.{missing}"
    span = f"95 % interval {_span(m.low, m.high, d, signs=True)}, sd {100 * m.sd:.{d}f}, {p_clause(found.test.p)}"
    answer = {"yes": "Yes", "no": "No, it is worse", "not shown": "Not shown"}[found.test.answer]
    return f"{question} {answer}: {size} over {seeds} ({span}; student minus teacher, paired by seed).{missing}"


def _without_intervals(facts: Facts) -> str:
    assert facts.comparison is not None
    d = facts.decimals
    lead = max(facts.comparison.contrasts, key=lambda c: c.estimate)
    values = facts.scores.mean()
    difference = points(lead.estimate, d)
    if facts.seeds == 1:
        why = "one seed shows no spread, so there is no interval and no winner"
    elif facts.comparison.sigma <= stats.NO_SPREAD:
        why = "the arms differ by the same amount on every seed, so no interval can be computed and nobody wins"
    else:
        why = "too few seeds are shared for an interval, so there is no winner"
    return (
        f"Highest is {name_of(lead.arm)} with {percent(values[lead.arm], d)}, {difference} points from "
        f"{base_of(facts)} ({percent(values[facts.baseline], d)}); {why}."
    )


def _with_intervals(facts: Facts) -> str:
    assert facts.comparison is not None
    d = facts.decimals
    means = facts.scores.mean()
    contrasts = facts.comparison.contrasts
    won = [c for c in contrasts if c.low > 0]
    lead = max(won or contrasts, key=lambda c: c.estimate)
    size = f"{points(lead.estimate, d)} points"
    span = f"simultaneous 95 % interval {_span(lead.low, lead.high, d, signs=True)}, corrected {p_clause(lead.p)}"
    if won:
        return (
            f"{name_of(lead.arm)} won with {percent(means[lead.arm], d)}: {size} over {base_of(facts)} "
            f"({span}), credible after correction for "
            f"{plural(len(contrasts), 'comparison')}{_against_teacher(facts, lead.arm)}."
        )
    worse = [c.arm for c in contrasts if c.high < 0]
    losers = f"; credibly worse than it: {listing(worse)}" if worse else ""
    return (
        f"No arm beat {base_of(facts)} ({percent(means[facts.baseline], d)}) credibly: the "
        f"highest, {name_of(lead.arm)}, stands {size} from it ({span}){losers}."
    )


def _against_teacher(facts: Facts, arm: str) -> str:
    if not math.isfinite(facts.teacher):
        return ""
    gap = facts.scores[arm].mean() - facts.teacher
    if round(100 * abs(gap), facts.decimals) == 0:
        return ", level with its teacher"
    whose = "its teacher" if len(facts.teachers) == 1 else "its teachers' mean"
    side = "above" if gap > 0 else "below"
    size = points(abs(gap), facts.decimals).lstrip("+")
    return f", and {size} points {side} {whose} ({percent(facts.teacher, facts.decimals)})"


def _span(low: float, high: float, decimals: int, signs: bool = False) -> str:
    show = points if signs else bare
    return f"{show(low, decimals)} to {show(high, decimals)}"


def qualifications(facts: Facts) -> list[str]:
    """What must be known to read the verdict rightly: one sentence each."""
    out = []
    d = facts.decimals
    comparison = facts.comparison
    smallest = facts.detectable()
    if comparison is not None and math.isfinite(smallest) and smallest > 0:
        out.append(
            f"With {plural(comparison.seeds, 'seed')} and {len(comparison.contrasts) + 1} arms this study sees a "
            f"true difference of {points(smallest, max(d, 1)).lstrip('+')} points or more with 80 % power"
            f"{_more_seeds(facts)}."
        )
    elif facts.seeds == 1:
        out.append("One seed cannot tell an effect from luck: run with --seeds 3 or more.")
    if comparison is not None and math.isfinite(comparison.critical):
        lead = max(comparison.contrasts, key=lambda c: c.estimate)
        rivals = [other for other, p in facts.pairs.of(lead.arm) if other != facts.baseline and not p < ALPHA]
        if lead.low > 0 and rivals:
            out.append(f"It cannot be told from {listing(rivals)} (all pairs, Holm).")
    if facts.left_out:
        reasons = "; ".join(f"{name_of(arm)} {reason}" for arm, reason in list(facts.left_out.items())[:6])
        more = f"; and {len(facts.left_out) - 6} more" if len(facts.left_out) > 6 else ""
        out.append(f"Left out of the comparison: {reasons}{more}.")
    if len(facts.teachers) == 1 and facts.seeds > 1:
        out.append("All seeds share one teacher: the intervals speak of students of this teacher, not of another.")
    if error := _test_set_error(facts):
        out.append(error)
    looks = facts.study.get("looks") or []
    if len(looks) > 1:
        steps = ", ".join(map(seeds_of, looks))
        out.append(
            f"The results were looked at {len(looks)} times as seeds were added ({steps}): "
            "each look makes a chance winner likelier than the intervals say."
        )
    return out


def _test_set_error(facts: Facts) -> str:
    """Drawing test images is an error of its own, which seeds do not show."""
    images = (facts.study.get("data") or {}).get("test")
    if not images or facts.scores.empty:
        return ""
    p = float(facts.scores[leading(facts)].mean())
    error = 100 * math.sqrt(max(p * (1 - p), 0) / images)
    return (
        f"All numbers hold for these {images:,} test images: another draw of as many would move an accuracy by a "
        f"standard error of about {error:.2g} points of its own, and arms mostly together."
    )


def _more_seeds(facts: Facts) -> str:
    assert facts.comparison is not None
    lead = max(facts.comparison.contrasts, key=lambda c: c.estimate)
    if lead.low > 0 or lead.high < 0:
        return ""
    needed = stats.seeds_needed(lead.estimate / facts.comparison.sd_of_differences, len(facts.comparison.contrasts) + 1)
    size = points(abs(lead.estimate), facts.decimals + 1).lstrip("+")
    number = "more than 1,000" if needed is None else f"{needed:,}"
    return f"; to see one like that of {name_of(lead.arm)} ({size} points), {number} seeds would be needed"
