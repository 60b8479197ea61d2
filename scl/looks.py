"""Looking at a study while it grows: every look is kept, and one rule may add seeds without spoiling the interval."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd

from scl import results, stats
from scl.dunnett import t_critical
from scl.plan import Plan, with_arms
from scl.search import ARM


def scores(plan: Plan) -> pd.DataFrame:
    """Test accuracy of the plan's completed cells, a row a seed and a column an arm; a search's own trials left out."""
    rows = results.read_trials(plan.world.store)
    mine = {c.trial_id: c for c in plan.cells if c.arm != ARM}
    rows = rows[rows["trial_id"].isin(mine) & (rows["state"] == "completed") & rows["test_acc"].notna()]
    rows = rows.assign(arm=[mine[i].arm for i in rows["trial_id"]])
    return rows.pivot(index="seed", columns="arm", values="test_acc") if len(rows) else pd.DataFrame()


def differences(plan: Plan) -> dict[str, dict[str, float | None]]:
    """What a look shows: each arm against the baseline, with its simultaneous interval."""
    seen = scores(plan)
    baseline = plan.study.baseline
    if baseline not in seen or seen.shape[1] < 2:
        return {}
    contrasts = stats.against_baseline(seen, baseline).contrasts
    return {c.arm: {name: _finite(getattr(c, name)) for name in ("estimate", "low", "high", "p")} for c in contrasts}


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def tell_looks(record: dict[str, Any]) -> None:
    """Print the looks at a study that has grown."""
    looks = record["looks"]
    if len(looks) < 2:
        return
    print(f"this is look {len(looks)} at this study; adding seeds after looking is a look:", file=sys.stderr)
    for i, look in enumerate(looks, 1):
        shown = [f"{arm} {_points(d)}" for arm, d in list(look.get("differences", {}).items())[:6]]
        print(f"  {i}. seeds {spelled(look['seeds'])}: {', '.join(shown) or 'no differences'}", file=sys.stderr)
    if not record.get("stein"):
        print(
            "  such intervals cover less than 95 %; --interval adds seeds once, by a rule that keeps it",
            file=sys.stderr,
        )


def _points(d: dict[str, float | None]) -> str:
    """A difference in points, with its interval where there is one."""
    if d["low"] is None or d["high"] is None:
        return f"{100 * (d['estimate'] or 0.0):+.2f}"
    return f"{100 * (d['estimate'] or 0.0):+.2f} [{100 * d['low']:+.2f}, {100 * d['high']:+.2f}]"


def spelled(seeds: Sequence[int]) -> str:
    """0–4, or 0–2 and 7, for lists of seeds."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in runs)


def extended(plan: Plan) -> tuple[Plan, dict[str, Any] | None]:
    """After the pilot: the plan with as many more seeds of the two arms as Stein's rule asks for, and what it said."""
    one, two = plan.options.between or ("", "")
    pilot = plan.seeds
    seen = scores(plan)
    if one not in seen or two not in seen or len(seen[[one, two]].dropna()) < len(pilot):
        print(f"error: the pilot of {one!r} and {two!r} is not complete, so no seeds are added", file=sys.stderr)
        return plan, None
    apart = (seen[one] - seen[two]).loc[pilot]
    width, cap = plan.options.interval or 0.0, plan.options.max_seeds
    wanted, _ = stats.stein_seeds(apart.to_numpy(), width)
    n = max(len(pilot), min(wanted, cap))
    sd = float(apart.std(ddof=1))
    said: dict[str, Any] = {
        "between": [one, two],
        "width": width,
        "pilot": len(pilot),
        "pilot_sd": sd,
        "wanted": wanted,
        "cap": cap,
        "seeds": n,
    }
    print(
        f"pilot of {len(pilot)} seeds: {one} − {two} has sd {100 * sd:.2f} points; an interval "
        f"{100 * width:g} points wide takes {wanted} seeds"
        + (f", the cap is {cap}: the interval will be wider (--max-seeds)" if n < wanted else ""),
        file=sys.stderr,
    )
    seeds = list(range(pilot[0], pilot[0] + n))
    return with_arms(plan, {arm: plan.arms[arm] for arm in (one, two)}, seeds), said


def after_stein(plan: Plan, said: dict[str, Any]) -> dict[str, float | None]:
    """The mean difference over all seeds with the interval of the pilot's spread; prints it."""
    one, two = said["between"]
    seen = scores(plan)
    apart = (seen[one] - seen[two]).dropna()
    half = t_critical(said["pilot"] - 1) * said["pilot_sd"] / len(apart) ** 0.5
    mean = float(apart.mean())
    after: dict[str, float | None] = {"n": len(apart), "estimate": mean, "low": mean - half, "high": mean + half}
    print(f"{one} − {two}: {_points(after)} points, 95 % by Stein's two stages, n = {len(apart)}")
    return after


def tell_winners(record: dict[str, Any]) -> None:
    """Print what the search's maximum was and what it is worth: the winner on fresh seeds."""
    fresh = record["looks"][-1].get("differences", {})
    for arm, won in record["winners"].items():
        values = ", ".join(f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in won["params"].items())
        found = fresh.get(arm)
        real = f"{_points(found)} points of test accuracy to the baseline on fresh seeds" if found else "not run yet"
        print(f"{arm} (trial {won['number']}, validation {100 * won['val_acc']:.1f} %; {values}): {real}")
