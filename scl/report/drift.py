"""Terms whose gradient ended far from the share that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from scl.report.epochs import epochs_by_arm
from scl.report.facts import Facts
from scl.report.findings import MOST_NAMED
from scl.report.formatting import enumerated, name_of, plain

FAR = 3.0  # times the asked share, or a part of it: beyond, the page says so


class Drift(NamedTuple):
    """A term of an arm. asked: its share of the gradient, with weight and warm-up, in the last epoch in which it was
    measured. last: what was measured then, the geometric mean over completed trials."""

    arm: str
    term: str
    asked: float
    last: float
    epoch: int

    @property
    def is_far(self) -> bool:
        return not self.asked / FAR <= self.last <= self.asked * FAR


def drifts(facts: Facts) -> list[Drift]:
    """Every measured term with a share, in the order of arms."""
    arms: Mapping[str, Any] = facts.study.get("arms") or {}
    asked = {
        (arm, name): (config, term)
        for arm, config in arms.items()
        for name, term in (config.get("losses") or {}).items()
        if term.get("share") is not None and f"share.{name}" in facts.results.epochs.columns
    }
    if not asked:
        return []
    columns = list(dict.fromkeys(f"share.{name}" for _, name in asked))
    rows = epochs_by_arm(facts, list(dict.fromkeys(arm for arm, _ in asked)), columns)
    found = []
    for (arm, name), (config, term) in asked.items():
        known = rows.loc[rows["arm"] == arm, ["epoch", f"share.{name}"]].dropna()
        if known.empty:
            continue
        epoch = int(known["epoch"].max())
        with np.errstate(divide="ignore"):  # a share of 0 is one
            last = float(np.exp(np.log(known.loc[known["epoch"] == epoch, f"share.{name}"]).mean()))
        found.append(Drift(arm, name, _asked(config, term, epoch), last, epoch))
    return found


def _asked(config: Mapping[str, Any], term: Mapping[str, Any], epoch: int) -> float:
    """The share of a term that an epoch was to have: a weight beside it multiplies it, and so does a warm-up."""
    warmup = term.get("warmup") or 0
    ramp = min(1.0, (epoch - (config.get("pretrain_epochs") or 0)) / warmup) if warmup else 1.0
    return float(term["share"] * term.get("weight", 1.0) * ramp)


def drifted(facts: Facts) -> str:
    """What a reader must know of shares that ended far from what was asked for, and what to do; "" if none did."""
    far = [drift for drift in drifts(facts) if drift.is_far]
    if not far:
        return ""
    said = [
        f"{plain(d.term)} in {name_of(d.arm)} was asked for a share of {d.asked:.3g} and came to {d.last:.3g} in epoch "
        f"{d.epoch:,}"
        for d in far[:MOST_NAMED]
    ]
    said += [f"{len(far) - MOST_NAMED} more did alike"] if len(far) > MOST_NAMED else []
    sides = dict.fromkeys("lower" if d.last > d.asked else "higher" for d in far)
    return (
        "The weight behind a share of the gradient is fixed after the first steps, and gradients have moved since: "
        f"{enumerated(said)}; ask for a {' or a '.join(sides)} share, or give a weight instead."
    )
