"""The box for people who decide: what to use, its cost and gain, how sure that is, and what was not asked."""

from __future__ import annotations

import math
from collections.abc import Callable

from scl import stats
from scl.report.decision import Decision, ahead, decide, shared_seeds
from scl.report.effort import energy
from scl.report.facts import Facts
from scl.report.findings import level_name
from scl.report.formatting import capital, count, duration, enumerated, listing, name_of, p_clause, plain, plural
from scl.report.limits import test_set_error
from scl.report.tuning import tuning


def box(facts: Facts) -> list[tuple[str, str]]:
    """The box as (question, answer); empty without a result."""
    decision = decide(facts)
    if decision is None:
        return []
    items = [
        ("Use", decision.text),
        ("It costs", _costs(facts, decision)),
        ("It gains", _gains(facts, decision)),
        ("How sure", _sure(facts, decision)),
        ("Tuning", _tuned(facts, decision)),
        ("Not asked", _not_asked(facts)),
    ]
    return [(term, text) for term, text in items if text]


COSTS: dict[str, Callable[[float], str]] = {
    "params": lambda value: f"{count(value)} parameters",
    "macs": lambda value: f"{count(value)} multiply-adds an image",
    "latency_ms": lambda value: f"{value:.3g} ms an image on one CPU thread",
    "train_seconds": lambda value: f"{duration(value) if value >= 10 else f'{value:.2g} s'} of training steps a seed",
    "energy_joules": lambda value: f"{energy(value)} of energy to train a seed",
}


def _costs(facts: Facts, decision: Decision) -> str:
    """What the arm costs in use and in training, beside the baseline and the teacher."""
    means = facts.completed.groupby("arm")[list(COSTS)].mean().astype(float)
    arm, base = decision.shown, facts.baseline if facts.baseline in means.index else decision.shown
    teacher = facts.study.get("teacher") or {}
    parts = []
    for name, say in COSTS.items():
        mine = float(means.loc[arm, name])
        if not math.isfinite(mine):
            continue
        beside = [_ratio(mine, float(means.loc[base, name]), "baseline")] if arm != base else []
        if name in teacher and isinstance(teacher[name], int):
            beside.append(_ratio(mine, float(teacher[name]), "teacher"))
        told = ", ".join(filter(None, beside))
        parts.append(say(mine) + (f" ({told})" if told else ""))
    if not parts:
        return ""
    devices = facts.completed.loc[facts.completed["arm"].isin([arm, base]), "device"].nunique()
    unlike = "; trained on different devices, so times do not compare" if devices > 1 else ""
    return f"{_about(decision)}{'; '.join(parts)}{unlike}."


def _about(decision: Decision) -> str:
    """The arm that an answer is about, if it is not the one to use."""
    return "" if decision.arm == decision.shown else f"{name_of(decision.shown)}: "


def _ratio(mine: float, other: float, whose: str) -> str:
    if not math.isfinite(other) or min(mine, other) <= 0:
        return ""
    ratio = mine / other
    return f"as the {whose}" if f"{ratio:.2f}" == "1.00" else f"{_times(ratio)} the {whose}’s"


def _times(ratio: float) -> str:
    return f"{ratio:.2f} ×" if ratio >= 0.1 else f"1/{1 / ratio:.0f} of"


def _gains(facts: Facts, decision: Decision) -> str:
    unit, d, arm = facts.unit, facts.decimals, decision.shown
    contrast = facts.contrasts.get(arm)
    own = (facts.compared if arm in facts.compared else facts.scores)[arm].dropna()
    both = facts.compared[[arm, facts.baseline]].dropna() if contrast else own.to_frame()
    gap, teacher = facts.from_teacher(arm, list(both.index))
    lower = "" if facts.measure.sign > 0 else ", where lower is better"
    from_teacher = f"{unit.distance(gap, d)} its teacher ({unit.value(teacher, d)})" if math.isfinite(gap) else ""
    if contrast is None:
        mean = unit.value(float(own.mean()), d)
        text = f"{_about(decision)}{capital(facts.measure.title)} {mean}{lower}"
        text += f", {from_teacher}." if from_teacher else "."
        others = [a for a in facts.contrasts if a not in facts.barred and a != arm]
        if others:
            best = ahead(facts, others)
            text += f" The best other arm, {name_of(best)}: {_difference(facts, facts.contrasts[best])}."
        return text
    mine, base = (unit.value(float(both[a].mean()), d) for a in (arm, facts.baseline))
    text = f"{_about(decision)}{_difference(facts, contrast)} of {facts.measure.title}{lower}: {mine} against {base}."
    return text + (f" It is {from_teacher}." if from_teacher else "")


def _difference(facts: Facts, contrast: stats.Contrast) -> str:
    unit, d = facts.unit, facts.decimals
    digits = unit.digits(contrast.estimate, d) if contrast.shown else d
    gain = unit.gain(contrast.estimate, digits)
    if not math.isfinite(contrast.low):
        return f"{gain} (no interval)"
    span = unit.interval(contrast.low, contrast.high, d, signs=True)
    return f"{gain} (simultaneous {level_name(facts)} interval {span})"


def _sure(facts: Facts, decision: Decision) -> str:
    """What stands behind the gain: seeds, interval, correction, failures."""
    states = facts.plan["state"].value_counts()
    lost = [f"{states[s]:,} {s}" for s in ("failed", "missing", "pruned") if states.get(s, 0)]
    of_all = f" Of {plural(len(facts.plan), 'planned trial')}, {enumerated(lost)}." if lost else ""
    contrast = facts.contrasts.get(decision.shown)
    if facts.seeds > 0 and shared_seeds(facts) == 1:
        which = "one seed" if facts.seeds == 1 else "one seed that arm and baseline share, and on which both learnt,"
        text = f"Not at all: {which} shows no spread, so there is neither an interval nor a winner. Run --seeds 5."
    elif contrast is None:
        text = _nothing_shown(facts)
    elif not math.isfinite(contrast.low):
        text = f"{plural(contrast.n, 'seed')} in common with the baseline, without spread: there is no interval."
    else:
        text = _shown(facts, contrast)
    return text + of_all


def _nothing_shown(facts: Facts) -> str:
    """How sure it is that no arm is better, where the arm to use is the baseline or nothing is compared."""
    known = [c for c in facts.contrasts.values() if math.isfinite(c.low)]
    if not facts.contrasts:
        return f"{plural(facts.seeds, 'seed')}, but nothing is compared, so nothing is shown."
    if not known:
        return f"{plural(facts.seeds, 'seed')} without spread in the differences: there is no interval."
    if all(facts.ahead(c.shown) < 0 for c in known):
        return f"{plural(facts.seeds, 'seed')}; the interval of every other arm excludes 0 on the worse side."
    text = f"{plural(facts.seeds, 'seed')}; no arm’s interval excludes 0 on the better side."
    smallest = facts.detectable()
    if math.isfinite(smallest) and smallest > 0:
        size = facts.unit.size(smallest, max(facts.decimals, 1))
        text += f" A difference below about {size} would mostly go unseen (80 % power), so a small gain is possible."
    return text


def _shown(facts: Facts, contrast: stats.Contrast) -> str:
    """The evidence for a difference from the baseline, and what weakens it."""
    tested = facts.comparison.tested if facts.comparison else 1
    text = f"{plural(contrast.n, 'seed')}; the interval {'excludes' if contrast.shown else 'includes'} 0; "
    text += f"{p_clause(contrast.p)}, corrected for {plural(tested, 'comparison')}."
    late = [what for what in ("metric", "margin") if facts.study.get(f"{what}_after_look")]
    if late:
        text += f" The {enumerated(late)} {'was' if len(late) == 1 else 'were'} chosen after results were seen."
    gain = facts.ahead(contrast.estimate)
    as_high = [c.arm for c in facts.contrasts.values() if c.arm in facts.roles and facts.ahead(c.estimate) >= gain > 0]
    if as_high:
        text += f" But {listing(as_high)} gains as much, and cannot win: the cause of the gain is open."
    return text


def _tuned(facts: Facts, decision: Decision) -> str:
    """The tuning of the arm beside the baseline's."""
    found = tuning(facts)
    arm, base = decision.shown, facts.baseline
    if arm not in found:
        return ""
    if base not in found or arm == base or found[arm] == found[base]:
        return f"{capital(found[arm])}."
    return f"{name_of(arm)}: {found[arm]}. Baseline: {found[base]}."


def _not_asked(facts: Facts) -> str:
    """What the numbers do not cover."""
    data = facts.study.get("data") or {}
    teachers = len(facts.teachers) or int(bool((facts.study.get("teacher") or {}).get("model")))
    per_seed = (facts.study.get("teacher") or {}).get("per_seed")
    name = str(data.get("name") or "").rstrip("/").rpartition("/")[2]  # of a path the last part
    asked = [f"other data than {plain(name)}" if name else "other data"]
    if teachers and not (per_seed and teachers > 1):
        asked.insert(0, "other teachers" if teachers == 1 else f"other teachers than these {teachers}")
    error = test_set_error(facts)
    images = f"other test images (they would shift accuracies by about {100 * error:.2g} points, mostly together)"
    asked.append(images if math.isfinite(error) and error > 0 else "other test images")
    if not facts.study.get("search_space"):
        asked.append("what tuning each arm would bring")
    if data.get("limit"):
        asked.append(f"training on more than {data['limit']:,} images")
    return capital("; ".join(asked)) + "."
