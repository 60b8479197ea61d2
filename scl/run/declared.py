"""What a run declares before it trains: contrasts, roles, margin, looks, and the pair of Stein's interval.

study.json keeps each declaration with `seen`: the seeds whose results the store had when it was first made. It came
after a look if the present plan has one of these seeds. New seeds make a late declaration an early one.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from scl.errors import UserError
from scl.plan.plan import Plan, with_arms
from scl.report.formatting import format_seeds, listing, name_of
from scl.store.schema import now
from scl.store.tables import read_trials
from scl.study.config import Config
from scl.study.contrasts import direction
from scl.study.identity import Trial, sha256
from scl.study.metrics import DEFAULT


def declarations(plan: Plan, earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of study.json for what is declared.

    Args:
        earlier: the present content of study.json; empty if there is none.
    """
    seen = _Seen(plan)
    contrasts, withdrawn = _contrasts(plan, earlier, seen)
    same_metric = earlier.get("metric", DEFAULT) == plan.study.metric
    kept = earlier.get("margin") if same_metric else None  # a margin is in the unit of its metric
    margin = kept if plan.options.margin is None else plan.options.margin
    margin_seen = earlier.get("margin_seen", []) if margin == earlier.get("margin") else seen.of(plan.arms)
    looks = _planned_looks(plan, earlier)
    return {
        "contrasts": contrasts or None,
        "withdrawn": withdrawn or None,
        "roles": plan.study.arm_roles or None,
        "margin": margin,
        "margin_seen": margin_seen,
        "margin_after_look": _overlap(margin_seen, plan),
        "planned_looks": looks,
        "declared": _against_teacher(plan, earlier, seen),
        **_metric_after_look(plan, earlier, seen, same_metric),
        "stein_declared": _intervals(plan, earlier) or None,
    }


def _metric_after_look(plan: Plan, earlier: Mapping[str, Any], seen: _Seen, same: bool) -> dict[str, Any]:
    """The seeds whose results were there when the metric was chosen, if any. The first run of a store chooses it."""
    known = (earlier.get("metric_seen") or []) if same or not earlier else seen.of(plan.arms)
    return {"metric_seen": known, "metric_after_look": _overlap(known, plan)} if known else {}


def remarks(record: Mapping[str, Any], arms: Collection[str]) -> list[str]:
    """What a run says about its declarations before it trains.

    arms: of the study; contrasts of a search's winners lack them until the search has ended.
    """
    out = []
    contrasts = record["contrasts"] or []
    if late := [c["question"] for c in contrasts if c.get("declared_after_look")]:
        out.append(f"declared after results were seen: {listing(late)}; --seed-list with new seeds asks anew")
    out += [
        f"not answered: {name_of(c['question'])} needs {listing(absent)}, not part of this run"
        for c in contrasts
        if (absent := [arm for arm in c.get("lacks", []) if arm in arms])
    ]
    if record.get("metric_after_look"):
        out.append("the metric was chosen after results were seen")
    if record["margin_after_look"]:
        out.append("the margin was chosen after results were seen")
    planned, seeds = record["planned_looks"], record["seeds"]
    if planned and seeds and len(seeds) not in planned:
        numbers = ", ".join(map(str, planned))
        out.append(f"{len(seeds)} seeds are not one of the planned looks ({numbers}): the page reports this look too")
    return out


def check_declarations(plan: Plan, earlier: Mapping[str, Any]) -> None:
    """Raises UserError for looks, or a pair of --interval, that are chosen after their results were seen."""
    _check_looks(plan, earlier)
    _check_interval(plan, earlier)


class _Seen:
    """The seeds at which the store has results of an arm with these data and teachers, planned or not."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    def nothing(self) -> bool:
        """True if no trial has completed in this store, with whichever settings."""
        return self._rows.empty

    @functools.cached_property
    def _rows(self) -> pd.DataFrame:
        rows = read_trials(self.plan.context.store)
        return rows[rows["state"] == "completed"]

    @functools.cached_property
    def _by_arm(self) -> dict[str, set[int]]:
        known, found = set(self._rows["trial_id"]), dict[str, set[int]]()
        for trial in trials_at(self.plan, self.plan.arms, map(int, self._rows["seed"].unique())):
            if trial.trial_id in known:
                found.setdefault(trial.arm, set()).add(trial.seed)
        return found

    def of(self, arms: Iterable[str]) -> list[int]:
        """The seeds at which one of these arms has a result."""
        return sorted(set[int]().union(*map(self._of, arms)))

    def of_all(self, arms: Iterable[str]) -> list[int]:
        """The seeds at which each of these arms has a result."""
        return sorted(set.intersection(*map(self._of, arms)))

    def _of(self, arm: str) -> set[int]:
        if arm in self.plan.arms:
            return self._by_arm.get(arm, set())
        # The run does not have the arm, so its name alone says which rows are its own.
        return set(map(int, self._rows.loc[self._rows["arm"] == arm, "seed"]))


def trials_at(plan: Plan, arms: Mapping[str, Config], seeds: Iterable[int]) -> list[Trial]:
    """The trials of these arms at these seeds, planned or not."""
    wanted = set(seeds)
    trials = with_arms(plan, arms, sorted(wanted)).trials if wanted else []
    return [trial for trial in trials if trial.arm in arms and trial.seed in wanted]


def _overlap(seen: Iterable[int], plan: Plan) -> bool:
    return not set(seen).isdisjoint(plan.seeds)


def _contrasts(
    plan: Plan, earlier: Mapping[str, Any], seen: _Seen
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The contrasts of the study, and those of earlier runs that it does not have, although the store has results."""
    before = {direction(c["weights"]): c for name in ("withdrawn", "contrasts") for c in earlier.get(name) or []}
    found = []
    for question, weights in plan.study.contrast_weights.items():
        known = before.pop(direction(weights), None)
        seeds = seen.of(weights) if known is None else known.get("seen", [])
        contrast: dict[str, Any] = {"question": question, "weights": weights}
        if lacks := [arm for arm in weights if arm not in plan.arms]:
            contrast["lacks"] = lacks
        if seeds:
            contrast |= {"seen": seeds, "declared_after_look": _overlap(seeds, plan)}
        found.append(contrast)
    gone = [{k: c[k] for k in ("question", "weights", "seen") if k in c} for c in before.values()]
    return found, gone if gone and not seen.nothing else []


def _against_teacher(plan: Plan, earlier: Mapping[str, Any], seen: _Seen) -> dict[str, Any] | None:
    arm, before = plan.study.against_teacher, earlier.get("declared") or {}
    if not arm:
        return None
    seeds = before.get("seen", []) if before.get("arm") == arm else seen.of([arm])
    late = {"seen": seeds, "declared_after_look": _overlap(seeds, plan)} if seeds else {}
    return {"arm": arm, "against": "teacher", **late}


# --- looks ------------------------------------------------------------------------------------------------------------


def _planned_looks(plan: Plan, earlier: Mapping[str, Any]) -> list[int] | None:
    return list(plan.options.looks) if plan.options.looks else earlier.get("planned_looks")


def _check_looks(plan: Plan, earlier: Mapping[str, Any]) -> None:
    asked, declared = _planned_looks(plan, earlier), earlier.get("planned_looks")
    if asked == declared or _Seen(plan).nothing:
        return
    given = f"--looks {','.join(map(str, asked or []))}: {plan.context.store} has results already"
    if declared:
        own = ",".join(map(str, declared))
        raise UserError(
            f"{given}, and declared looks at {own} seeds before; other looks, chosen after results were seen, would "
            f"not keep the error at 5 %. Give --looks {own} or leave it out, or start anew in another --out"
        )
    raise UserError(
        f"{given}, and looks are declared before the first one. Leave --looks out, and the page counts every look; or "
        "start anew in another --out"
    )


# --- Stein's interval -------------------------------------------------------------------------------------------------


def declared_interval(plan: Plan, earlier: Mapping[str, Any]) -> dict[str, Any] | None:
    """The earlier declaration that equals that of this run, whichever arm is named first; None if there is none."""
    mine = _interval(plan)
    return next((known for known in _known_intervals(plan, earlier) if _same(known, mine)), None)


def pilot_of(plan: Plan) -> list[int]:
    """The seeds of the pilot of `--interval`, also in a plan with the seeds that its rule has added."""
    return list(plan.options.seed_list or range(plan.options.seeds or plan.study.seeds))


def _interval(plan: Plan) -> dict[str, Any]:
    """What `--interval` declares: the pair, the width, the most seeds, and the seeds and trials of the pilot."""
    pair, pilot = list(plan.options.between or ()), pilot_of(plan)
    trials = trials_at(plan, {arm: plan.arms[arm] for arm in pair}, pilot)
    return {
        "between": pair,
        "width": plan.options.interval,
        "cap": plan.options.max_seeds,
        "pilot_seeds": pilot,
        "trials": sha256(sorted(trial.trial_id for trial in trials)),
        **({"metric": plan.study.metric} if plan.study.metric != DEFAULT else {}),
    }


def _same(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return sorted(one["between"]) == sorted(two["between"]) and all(
        one.get(name) == two.get(name) for name in ("width", "cap", "pilot_seeds", "trials", "metric")
    )


def _known_intervals(plan: Plan, earlier: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The declarations of earlier runs. One of a version that kept no list is read from its result."""
    known, result = list(earlier.get("stein_declared") or []), earlier.get("stein") or {}
    if result and not known and plan.options.interval is not None:
        about = {name: result.get(name) for name in ("between", "width", "cap")}
        known.append({**_interval(plan), **about, "pilot_seeds": list(range(result.get("pilot", 0)))})
    return known


def _intervals(plan: Plan, earlier: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All declarations of `--interval` in this store, that of this run among them."""
    known = _known_intervals(plan, earlier)
    if plan.options.interval is None or declared_interval(plan, earlier):
        return known
    return [*known, {**_interval(plan), "when": now().isoformat()}]


def _check_interval(plan: Plan, earlier: Mapping[str, Any]) -> None:
    """Stein's interval keeps its level if pair, width and pilot were fixed before the pair's results were seen."""
    if plan.options.interval is None or declared_interval(plan, earlier):
        return
    pair, pilot = list(plan.options.between or ()), pilot_of(plan)
    seen = _Seen(plan).of_all(pair)
    # The rule adds the seeds that follow the pilot's, so these must be new as well.
    if not seen or seen[-1] < pilot[0]:
        return
    known = [d for d in _known_intervals(plan, earlier) if sorted(d["between"]) == sorted(pair)]
    if known:
        last = known[-1]
        why = (
            f"for this pair the store declared --interval {last['width']:g} --max-seeds {last['cap']} with the pilot "
            f"seeds {format_seeds(last['pilot_seeds'])}, and another choice after results were seen would not keep "
            "95 %. Give these"
        )
    else:
        why = (
            f"the store has its results at seeds {format_seeds(seen)}, from a run that had not declared this pair, and "
            "an interval by Stein's rule covers 95 % only if the pair was chosen before its pilot was seen. Declare it "
            "with the first run, in another --out"
        )
    fresh = f"{seen[-1] + 1}-{seen[-1] + len(pilot)}"
    raise UserError(
        f"--interval {plan.options.interval:g} --between {','.join(pair)}: {why}, or take new seeds, as in "
        f"--seed-list {fresh}"
    )
