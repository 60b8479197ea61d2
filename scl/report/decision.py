"""What to use, by the validation images, and how far the test images bear that out. For people who decide.

An arm is chosen by validation alone; test images say what it gains and how sure that is. Where they show no arm to be
better, the cheapest serves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from scl.report.facts import Facts
from scl.report.findings import baseline_name, lead
from scl.report.formatting import (
    capital,
    listing,
    name_of,
)

NO_VALIDATION = "no validation images were held out, so only test images could choose among arms"


@dataclass(frozen=True)
class Decision:
    """arm: what to use; None if nothing speaks for an arm. shown: the arm that the numbers are about.

    kind: `better`, validation selects it and test images show that it beats the baseline; `only`, nothing is left to
    choose; `cheapest`, none is shown to be better; `worse`, every other arm is shown to be worse; `unsettled`,
    validation selects one arm and test images show another; `unchosen`, nothing selects among arms that are shown to
    be better; `uncompared`, there is nothing to compare with.
    text: what to use and why, a sentence or two.
    """

    arm: str | None
    shown: str
    kind: str
    text: str


def decide(facts: Facts) -> Decision | None:
    """What to use; None without a result."""
    means = facts.scores.mean()
    if means.empty:
        return None
    if facts.scores.shape[1] == 1:
        only = str(means.index[0])
        return Decision(only, only, "only", f"{name_of(only)} is the only arm with results: nothing is left to choose.")
    able = [arm for arm in facts.compared.columns if arm not in facts.barred]
    validation = validated(facts, able)
    if facts.comparison is None:
        return _uncompared(facts, able, validation)
    # An arm with one seed beside others with several is not compared: it has no interval.
    if any(math.isfinite(c.low) for c in facts.contrasts.values()):
        able = [arm for arm in able if arm == facts.baseline or math.isfinite(facts.contrasts[arm].low)]
        validation = validated(facts, able)
    arms = [arm for arm in able if arm != facts.baseline]
    better = [arm for arm in arms if facts.ahead(facts.contrasts[arm].shown) > 0]
    if not arms and facts.baseline not in able:
        found = lead(facts)
        shown = found.arm if found else facts.baseline
        text = "No arm may be used: each is a control, a reference, or breaks a constraint."
        return Decision(None, shown, "unchosen", text)
    chosen = _best(facts, validation)
    if better and not chosen and len(arms) > 1:
        text = f"Not chosen here: {NO_VALIDATION}. Shown to beat the baseline: {listing(better)}."
        return Decision(None, ahead(facts, better), "unchosen", text)
    if better and not chosen:
        chosen = better[0]
    if chosen in better:
        why = "validation selects it" if len(arms) > 1 and validation.size else "it is the only other arm"
        text = f"{name_of(chosen)}: {why}, and test images show that it beats {baseline_name(facts)}."
        return Decision(chosen, chosen, "better", text + _cheaper(facts, chosen, better))
    if better:
        does = f"test images show that {listing(better)} {'does' if len(better) == 1 else 'do'}"
        which = f"validation selects {name_of(chosen)}, which is not shown to beat {baseline_name(facts)}, and {does}"
        if chosen == facts.baseline:
            which = f"validation selects {baseline_name(facts)}, and {does} better"
        return Decision(None, chosen, "unsettled", f"Not settled: {which}. More seeds settle it.")
    if arms and all(facts.ahead(facts.contrasts[arm].shown) < 0 for arm in arms) and facts.baseline in able:
        text = f"{capital(baseline_name(facts))}: every other arm that may win is shown to be worse."
        return Decision(facts.baseline, facts.baseline, "worse", text)
    return _cheapest(facts, able, validation)


def validated(facts: Facts, arms: Sequence[str]) -> pd.Series:
    """The mean of the metric on validation images of each arm, over the seeds that all of them have if there are any;
    empty if it is not known of each arm."""
    column = facts.measure.validation
    if column not in facts.completed:
        return pd.Series(dtype=float)
    rows = facts.completed[facts.completed["arm"].isin(arms) & facts.completed["learnt"]]
    table = rows.pivot(index="seed", columns="arm", values=column).astype(float)
    whole = table.dropna()
    means = (table if whole.empty else whole).mean().reindex(list(arms))
    return pd.Series(dtype=float) if means.isna().any() else means


def _best(facts: Facts, validation: pd.Series) -> str:
    return facts.best(validation) if validation.size else ""


def shared_seeds(facts: Facts) -> int:
    """The largest number of seeds over which an arm is compared with the baseline; of the arms if none is."""
    return max((contrast.n for contrast in facts.contrasts.values()), default=facts.seeds)


def ahead(facts: Facts, arms: Sequence[str]) -> str:
    """Of these arms, the one that is furthest ahead of the baseline."""
    return max(arms, key=lambda arm: facts.ahead(facts.contrasts[arm].estimate))


def _uncompared(facts: Facts, able: Sequence[str], validation: pd.Series) -> Decision:
    """Without a comparison: no baseline, or no other arm, has results that can be compared."""
    base = facts.baseline
    if base in facts.compared.columns:
        return Decision(base, base, "only", f"{capital(baseline_name(facts))}: every other arm is left out, see below.")
    why = f"{baseline_name(facts)} has no result to compare with" if base else "the study names no baseline"
    if not (chosen := _best(facts, validation)):
        top = facts.best(facts.scores.mean())
        return Decision(None, top, "uncompared", f"Not chosen here: {why}, and {NO_VALIDATION}.")
    text = f"Validation selects {name_of(chosen)}; {why}, so it is not shown to be better than another arm."
    return Decision(chosen, chosen, "uncompared", text)


def _cheapest(facts: Facts, able: Sequence[str], validation: pd.Series) -> Decision:
    """The cheapest of the baseline and the arms that are neither worse on validation images nor shown to be worse."""
    known = facts.baseline in validation.index
    level = facts.ahead(float(validation[facts.baseline])) if known else math.nan
    fair = [
        arm
        for arm in able
        if arm == facts.baseline
        or (facts.ahead(facts.contrasts[arm].shown) >= 0 and known and facts.ahead(float(validation[arm])) >= level)
    ]
    if not fair:  # the baseline breaks a constraint
        chosen = _best(facts, validation)
        shown = chosen or ahead(facts, [arm for arm in able if arm != facts.baseline])
        text = f"No arm is shown to be better than {baseline_name(facts)}, which may not be used itself"
        text += f"; validation selects {name_of(chosen)}." if chosen else f"; {NO_VALIDATION}."
        return Decision(chosen or None, shown, "cheapest", text)
    costs = facts.completed.groupby("arm")[["macs", "params", "train_seconds"]].mean().reindex(fair)
    order = sorted(fair, key=lambda arm: tuple(math.inf if pd.isna(v) else float(v) for v in costs.loc[arm]))
    arm = order[0]
    one = shared_seeds(facts) == 1
    start = "One seed cannot show that an arm is better" if one else "No arm is clearly better than the baseline"
    others = "" if len(fair) == 1 else f" of the {len(fair)} that are at least as good on validation images"
    text = f"{start}; use the cheapest{others}: {name_of(arm)}."
    if len(fair) > 1 and costs["macs"].nunique() == 1 and costs["params"].nunique() == 1:
        text += " All cost the same in use; it trains fastest."
    chosen = _best(facts, validation)
    if chosen and chosen != arm:
        text += f" Validation images put {name_of(chosen)} first."
    return Decision(arm, arm, "cheapest", text)


def _cheaper(facts: Facts, chosen: str, better: Sequence[str]) -> str:
    """Arms that beat the baseline too, cost less, and are not shown to be worse than the chosen one."""
    costs = facts.completed.groupby("arm")["macs"].mean()
    alike = {arm for arm, p in facts.pairs.of(chosen) if not p < facts.alpha}
    less = [arm for arm in better if arm in alike and costs.get(arm, math.nan) < costs.get(chosen, math.nan)]
    return f" Cheaper in use, better than the baseline too, and not shown to be worse: {listing(less)}." if less else ""
