"""Studies that grow: every look at the results is recorded; Stein's rule adds seeds and keeps the interval valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scl import stats
from scl.plan.plan import Plan, with_arms
from scl.report.decimals import decimals_for
from scl.report.facts import gather
from scl.report.formatting import PERCENT, UNITS, Unit, format_seeds
from scl.report.looks import counted
from scl.report.scored import with_classes
from scl.run.declared import declared_interval, pilot_of
from scl.run.provenance import earlier_record
from scl.search.trials import ARM
from scl.stats import t_critical
from scl.store.files import Folder
from scl.store.results import Results
from scl.store.tables import read_trials
from scl.study.metrics import DEFAULT, METRICS
from scl.terminal import say, show


def planned_scores(plan: Plan) -> pd.DataFrame:
    """The metric of the plan's completed trials (seeds, arms), without the trials of a search."""
    measure, arms = METRICS[plan.study.metric], {c.trial_id: c.arm for c in plan.trials if c.arm != ARM}
    read = Results(read_trials(plan.context.store), pd.DataFrame(), {}, store=plan.context.store)
    rows, metric = with_classes(read.trials, read, measure), measure.column
    rows = rows[rows["trial_id"].isin(list(arms)) & (rows["state"] == "completed") & rows[metric].notna()]
    rows = rows.assign(arm=rows["trial_id"].map(arms))
    return rows.pivot(index="seed", columns="arm", values=metric) if len(rows) else pd.DataFrame()


def differences(store: Folder, record: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """What a look shows: each arm against the baseline, with the interval that the page has.

    record: the content of study.json.
    """
    contrasts = gather(Results(read_trials(store), pd.DataFrame(), record, store=store)).contrasts.values()
    return {c.arm: {name: _finite(getattr(c, name)) for name in ("estimate", "low", "high", "p")} for c in contrasts}


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def print_looks(record: dict[str, Any]) -> None:
    """Print the looks at a study that was extended, or those at the parts of one that was merged."""
    looks, grown = counted(record), True
    if len(looks) < 2:
        looks, grown = [look for look in record["looks"] if "part" in look], False
    if not looks:
        return
    many = f"this is look {len(looks)} at this study; looks share one error, so later intervals are wider:"
    say(many if grown else "this study was merged; its parts showed:")
    for i, look in enumerate(looks, 1):
        apart, images = look.get("differences", {}), (record.get("data") or {}).get("test")
        unit = unit_of(look)
        digits = decimals_for(
            (d["high"] - d["estimate"] for d in apart.values() if d["high"] is not None), images, unit
        )
        shown = [f"{arm} {_points(d, digits, unit)}" for arm, d in list(apart.items())[:6]]
        part = f" in {look['part']}" if "part" in look else ""
        part += ", not planned" if look.get("planned") is False else ""
        say(f"  {i}. seeds {format_seeds(look['seeds'])}{part}: {', '.join(shown) or 'no differences'}")
    if not grown:
        say("  if a part was added because of what another showed, intervals cover less than 95 %")
    elif not record.get("planned_looks"):
        say("  intervals of later looks stay narrower with --looks in the first run; for one pair, with --interval")


def unit_of(look: Mapping[str, Any]) -> Unit:
    """The unit of a look's differences: that of its metric, which it names if it is not the default."""
    return UNITS[METRICS[look.get("metric", DEFAULT)].unit] if look.get("metric", DEFAULT) in METRICS else PERCENT


def _points(d: dict[str, float | None], decimals: int, unit: Unit) -> str:
    """A difference without its unit, with its interval if there is one."""
    mean = unit.difference(d["estimate"] or 0.0, decimals)
    if d["low"] is None or d["high"] is None:
        return mean
    return f"{mean} [{unit.difference(d['low'], decimals)}, {unit.difference(d['high'], decimals)}]"


def stein_extension(plan: Plan) -> tuple[Plan, dict[str, Any] | None]:
    """After the pilot: the plan with as many seeds of the two arms as Stein's rule needs, and the rule's figures.

    Fields: `between`, the pair, whose difference is the first minus the second; `width`; `cap`, the most seeds;
    `declared`, when the pair was declared, None if an earlier version did; `pilot`, `pilot_seeds`, `pilot_sd`; `wanted`
    seeds by the rule, and `seeds` within the cap. `stein_interval` adds the result.

    Stein, Ann. Math. Statist. 16 (1945).
    """
    one, two = plan.options.between or ("", "")
    pilot = pilot_of(plan)
    seen = planned_scores(plan)
    if one not in seen or two not in seen or len(seen[[one, two]].dropna()) < len(pilot):
        say(f"error: the pilot of {one!r} and {two!r} is incomplete, so no seeds are added")
        return plan, None
    apart = (seen[one] - seen[two]).loc[pilot]
    width, cap = plan.options.interval or 0.0, plan.options.max_seeds
    wanted, _ = stats.stein_seeds(apart.to_numpy(), width)
    n = max(len(pilot), min(wanted, cap))
    sd, unit = float(apart.std(ddof=1)), UNITS[METRICS[plan.study.metric].unit]
    stein: dict[str, Any] = {"between": [one, two], "width": width, "pilot": len(pilot), "pilot_sd": sd}
    stein |= {"wanted": wanted, "cap": cap, "seeds": n, "pilot_seeds": pilot}
    stein["declared"] = (declared_interval(plan, earlier_record(plan)) or {}).get("when")
    say(
        f"pilot of {len(pilot)} seeds: {one} − {two} has sd {unit.factor * sd:.2f} {unit.many}; an interval "
        f"{unit.factor * width:g} {unit.many} wide needs {wanted} seeds"
        + (f", more than --max-seeds {cap}: the interval will be wider" if n < wanted else "")
    )
    seeds = [*pilot, *range(pilot[-1] + 1, pilot[-1] + 1 + n - len(pilot))]
    return with_arms(plan, {arm: plan.arms[arm] for arm in (one, two)}, seeds), stein


def stein_interval(plan: Plan, stein: Mapping[str, Any]) -> dict[str, float | None]:
    """The mean difference over all seeds, with the interval from the pilot's spread; prints it."""
    one, two = stein["between"]
    seen = planned_scores(plan)
    apart = (seen[one] - seen[two]).dropna()
    half = t_critical(stein["pilot"] - 1) * stein["pilot_sd"] / len(apart) ** 0.5
    mean = float(apart.mean())
    after: dict[str, float | None] = {"n": len(apart), "estimate": mean, "low": mean - half, "high": mean + half}
    unit = UNITS[METRICS[plan.study.metric].unit]
    digits = 2 if unit is PERCENT else unit.decimals
    show(f"{one} − {two}: {_points(after, digits, unit)} {unit.many}, 95 % by Stein's two stages, n = {len(apart)}")
    return after


def print_winners(record: dict[str, Any]) -> None:
    """Print each winner of a search: the study's metric on validation images, or accuracy if the search has another
    objective, and its difference to the baseline on fresh seeds."""
    measure = METRICS.get(record["metric"], METRICS[DEFAULT])
    unit = UNITS[measure.unit]
    fresh = record["looks"][-1].get("differences", {})
    for arm, won in record["winners"].items():
        values = ", ".join(f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in won["params"].items())
        found = fresh.get(arm)
        real = "not compared"
        if found:
            digits = 2 if unit is PERCENT else unit.decimals
            real = f"{_points(found, digits, unit)} {unit.many} of {measure.title} from the baseline, on fresh seeds"
        validation = "" if won["val_acc"] is None else f", validation {100 * won['val_acc']:.1f} %"
        if measure.name != DEFAULT and (value := won.get("validation", {}).get(measure.validation)) is not None:
            validation = f", validation {measure.words} {unit.value(value, 1 if unit is PERCENT else unit.decimals)}"
        show(f"{arm} (trial {won['number']}{validation}; {values}): {real}")
