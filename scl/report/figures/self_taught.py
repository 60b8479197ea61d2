"""How accuracy responds to the count of self-taught neurons, beside networks of the same width.

A family holds the arms that differ in nothing but the count and in who is guided: one set of transfer losses, one
student, one recipe. Its k = 0 arm belongs to every guided series; arms without a transfer loss are its control.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl import stats
from scl.report.facts import Facts
from scl.report.figures.lines import Line, draw_lines
from scl.report.theme import Figure

# What may differ inside a family: the count, who is guided, and the objective's weights and options.
_INSIDE = ("self_taught", "guided", "connector", "self_taught_from", "ce")

FREE = "self-taught"
ALL = "control: same width, all guided"
ALL_CONNECTED = "control: same width, all guided, connector"
FREE_CONNECTED = "self-taught, connector"
TAKEN = "self-taught, taken from the width"
UNGUIDED = "control: same width, no guidance"
MUTED = "self-taught zeroed at the test"
KINDS = (FREE, FREE_CONNECTED, TAKEN, ALL, ALL_CONNECTED, UNGUIDED)


@dataclass(frozen=True)
class Family:
    """series: kind → count of self-taught neurons → arm. title: its losses, and what sets it apart from others."""

    title: str
    series: Mapping[str, Mapping[int, str]]

    @property
    def counts(self) -> list[int]:
        return sorted({k for arms in self.series.values() for k in arms})

    @property
    def controls(self) -> list[str]:
        """The controls of equal width that are there, at any count above 0."""
        return [kind for kind in (ALL, ALL_CONNECTED, UNGUIDED) if any(k > 0 for k in self.series.get(kind, {}))]


@dataclass(frozen=True)
class Pair:
    """A self-taught arm (kind says which) against a control of equal width: paired differences by seed, fractions."""

    kind: str
    count: int
    control: str
    paired: stats.Paired


def families(facts: Facts) -> tuple[Family, ...]:
    """Families with self-taught neurons among the arms that learnt; a family needs two counts."""
    if "param.self_taught" not in facts.completed:
        return ()
    settings = facts.completed[facts.completed["arm"].isin(facts.drawn)].drop_duplicates("arm").set_index("arm")
    settings["count"] = [_count(value) for value in settings["param.self_taught"]]
    settings = settings[settings["count"] >= 0]
    params = [c for c in settings.columns if c.startswith("param.")]
    weights = [c for c in params if c.startswith("param.weight.")]
    losses = {c.removeprefix("param.weight.") for c in weights}
    outside = [
        c
        for c in params
        if c not in weights
        and c.removeprefix("param.") not in _INSIDE
        and c.removeprefix("param.").split(".")[0] not in losses
    ]
    varied = [c for c in outside if settings[c].nunique(dropna=False) > 1]
    # context → names of the losses → arm → its row
    grouped: dict[tuple[Any, ...], dict[tuple[str, ...], dict[str, Any]]] = {}
    for arm, row in settings.iterrows():
        context = tuple(None if pd.isna(row[c]) else row[c] for c in varied)
        guided_by = tuple(sorted(c.removeprefix("param.weight.") for c in weights if row[c] > 0))
        grouped.setdefault(context, {}).setdefault(guided_by, {})[str(arm)] = row
    out = []
    for context, by_losses in grouped.items():
        unguided = {int(row["count"]): arm for arm, row in by_losses.get((), {}).items()}
        apart = [f"{c.removeprefix('param.')} {v}" for c, v in zip(varied, context, strict=True) if v is not None]
        for guided_by, rows in by_losses.items():
            series: dict[str, dict[int, str]] = {}
            for arm, row in rows.items():
                count = int(row["count"])
                series.setdefault(_kind(row) if count else FREE, {}).setdefault(count, arm)
            if not guided_by or not any(k > 0 for arms in series.values() for k in arms):
                continue
            if 0 in series.get(FREE, {}):
                for kind in series:
                    series[kind].setdefault(0, series[FREE][0])
            if unguided:
                series[UNGUIDED] = unguided
            ordered = {kind: dict(sorted(series[kind].items())) for kind in KINDS if kind in series}
            family = Family(", ".join([" + ".join(guided_by), *apart[:3]]), ordered)
            if len(family.counts) > 1:
                out.append(family)
    return tuple(out)


def _count(value: Any) -> int:
    """k, where every guided layer has the same; −1 where layers differ (`0/8/8`) or nothing is known."""
    parts = set(str(value).split("/"))
    try:
        return int(float(parts.pop())) if len(parts) == 1 else -1
    except (ValueError, OverflowError):
        return -1


def _kind(row: Any) -> str:
    connected = row.get("param.connector") == "always"
    if row.get("param.guided") == "all":
        return ALL_CONNECTED if connected else ALL
    if row.get("param.self_taught_from") == "taken":
        return TAKEN
    return FREE_CONNECTED if connected else FREE


# All channels guided takes a connector where a loss wants equal channels: so beside the plain arm stands one that
# has a connector too, and is compared with the same control.
_COMPARED = ((FREE, ALL), (FREE_CONNECTED, ALL), (FREE_CONNECTED, ALL_CONNECTED), (FREE, UNGUIDED))


def equal_width(facts: Facts, family: Family) -> tuple[Pair, ...]:
    """Each self-taught arm minus its controls of the same count, by seed, with Holm's correction over all of them."""
    found = []
    for count in family.counts[1:] if family.counts[0] == 0 else family.counts:
        for kind, control in _COMPARED:
            arm, other = (family.series.get(name, {}).get(count) for name in (kind, control))
            if arm is not None and other is not None:
                (pair,) = stats.paired(facts.scores[[other, arm]], other)
                found.append(Pair(kind, count, control, pair))
    adjusted = stats.holm([f.paired.p for f in found])
    return tuple(
        dataclasses.replace(f, paired=dataclasses.replace(f.paired, p_holm=float(p)))
        for f, p in zip(found, adjusted, strict=True)
    )


def responses(facts: Facts, family: Family) -> tuple[Line, ...]:
    """The family as lines over its counts: mean accuracy in % with Student's 95 % interval."""
    at = {count: i for i, count in enumerate(family.counts)}

    def line(kind: str, arms: Mapping[int, str], colour: int, joined: bool = True) -> Line:
        means = tuple(stats.mean_interval(100 * facts.scores[arm].to_numpy()) for arm in arms.values())
        return Line(kind, tuple(at[k] for k in arms), means, colour, joined)

    out = [
        line(kind, family.series[kind], -1 if kind == UNGUIDED else i)
        for i, kind in enumerate(KINDS)
        if kind in family.series
    ]
    if "test_acc_muted" in facts.completed:
        muted = facts.completed.dropna(subset=["test_acc_muted"]).groupby("arm")["test_acc_muted"]
        zeroed = {
            k: stats.mean_interval(100 * muted.get_group(arm).to_numpy(dtype=float))
            for k, arm in family.series.get(FREE, {}).items()
            if k > 0 and arm in muted.groups
        }
        if zeroed:
            out.append(Line(MUTED, tuple(at[k] for k in zeroed), tuple(zeroed.values()), len(KINDS) + 1, joined=False))
    return tuple(out)


def draw_responses(lines: tuple[Line, ...], counts: list[int], teacher: float) -> Figure:
    levels = [str(k) for k in counts]
    return draw_lines(lines, levels, "self-taught neurons of each guided layer", "test accuracy, %", teacher=teacher)
