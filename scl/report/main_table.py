"""The main table of a study: a row for each arm."""

from __future__ import annotations

import math

import pandas as pd

from scl import stats
from scl.report.facts import Facts
from scl.report.formatting import capital


def metric_heading(facts: Facts) -> str:
    """The heading of the columns of the metric."""
    return f"{capital(facts.measure.words)}, {facts.unit.name}"


def summary(facts: Facts) -> pd.DataFrame:
    """The main table, a row for each arm: the metric as it is stored (shares as fractions), NaN if the data do not
    support a number.

    Columns: `arm`, `n`, `METRIC_mean`, `_sd`, `_low`, `_high` (Student's 95 % interval, cut at what is possible);
    `pairs`, the seeds on which arm and baseline are compared; `difference`, `_low`, `_high` from the baseline
    (simultaneous interval at the level of the look) and `p`, by the rule that decides; `p_model` (Dunnett's in accuracy
    ~ arm + seed), `p_holm`, `d_z` (paired t tests by seed, Holm's correction); means of `agreement`, `params`, `macs`,
    `latency_ms` and, if the study bounds it, `file_bytes`.
    """
    columns = ["agreement", "params", "macs", "latency_ms", *(["file_bytes"] if "file_bytes" in facts.bounds else [])]
    costs = facts.completed.groupby("arm")[columns].mean().astype(float)
    in_model = {c.arm: c.p for c in facts.model.contrasts} if facts.model else {}
    rows = []
    for arm in facts.arms:
        mean = stats.mean_interval(facts.scores[arm].to_numpy() if arm in facts.scores else []).within(
            0, facts.unit.most
        )
        row = {"arm": arm, "n": mean.n}
        row |= {f"{facts.metric}_{name}": getattr(mean, name) for name in ("mean", "sd", "low", "high")}
        contrast, pair = facts.contrasts.get(arm), facts.paired.get(arm)
        row["pairs"] = contrast.n if contrast else 0
        row["difference"] = contrast.estimate if contrast else math.nan
        row |= {f"difference_{name}": getattr(contrast, name, math.nan) for name in ("low", "high")}
        p = contrast.p if contrast else math.nan
        # The model has a p even for an arm with one seed, whose scatter nobody knows.
        row |= {"p": p, "p_model": in_model.get(arm, math.nan) if math.isfinite(p) else math.nan}
        rows.append(row | {name: getattr(pair, name, math.nan) for name in ("p_holm", "d_z")})
    return pd.concat([pd.DataFrame(rows), costs.reindex(list(facts.arms)).reset_index(drop=True)], axis=1)
