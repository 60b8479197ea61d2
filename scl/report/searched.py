"""The configurations of a search as rows: means over their seeds, what they optimise, and whether they keep limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from scl.report.formatting import capital, plural
from scl.store.results import Results
from scl.study.limits import METRICS, in_words, kept

SEARCH = "search"  # the arm of a search's own trials in the store
INFEASIBLE = "infeasible"  # the state of a completed configuration that breaks a constraint
SAMPLERS = {
    "tpe": "TPE",
    "gp": "a Gaussian process",
    "cmaes": "CMA-ES",
    "random": "chance",
    "qmc": "a sequence of low discrepancy (QMC)",
}
PRUNERS = {
    "halving": "successive halving",
    "hyperband": "Hyperband",
    "median": "the median rule",
    "wilcoxon": "Wilcoxon's signed-rank test over seeds",
}


def searched(results: Results) -> pd.DataFrame:
    """The configurations of a search in the order of suggestion, a row each; empty if the study has no search.

    If the plan lists trials of the search, only those count; otherwise all trials of its arm do. Metrics that
    trials.parquet lacks are those of the last epoch. With several seeds, numbers are means over them.
    """
    trials = results.trials
    if trials["number"].isna().all() and not results.study.get("search_space"):
        return trials.iloc[:0]
    rows = trials[trials["arm"] == SEARCH]
    planned = {trial["trial_id"] for trial in results.study.get("plan") or [] if trial["arm"] == SEARCH}
    if planned:
        rows = rows[rows["trial_id"].isin(planned)]
    rows = _with_metrics(rows, results.epochs)
    if rows["number"].isna().all():
        rows = rows.assign(number=range(len(rows))).reset_index(drop=True)
    else:
        rows = rows.dropna(subset=["number"]).sort_values(["number", "seed"], kind="stable").reset_index(drop=True)
    about = results.study.get("search") or {}
    seeds = int(about.get("seeds") or 1)
    if seeds > 1:
        by_seed = ((about.get("pruner") or {}).get("name")) == "wilcoxon"
        rows = _means(rows, seeds, by_seed)
    rows = _with_labels(rows, results.study.get("search_space") or {})
    return _judged(rows, about.get("constraints") or {})


def _with_metrics(rows: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    lacking = [name for name in METRICS if name not in rows.columns and name in epochs.columns]
    if not lacking:
        return rows
    last = epochs[epochs["trial_id"].isin(rows["trial_id"])].sort_values("epoch")
    last = last.drop_duplicates("trial_id", keep="last").set_index("trial_id")
    return rows.assign(**{name: rows["trial_id"].map(last[name]) for name in lacking})


def _means(rows: pd.DataFrame, seeds: int, by_seed: bool) -> pd.DataFrame:
    """One row for each number. A configuration whose seeds are not all there was pruned if a pruner skips seeds
    (`by_seed`), and is otherwise unfinished and left out."""
    found = []
    for _, own in rows.groupby("number", sort=True):
        states = set(own["state"])
        state = next((s for s in ("failed", "pruned") if s in states), "completed")
        if state == "completed" and len(own) < seeds:
            if not by_seed:
                continue
            state = "pruned"
        row = own.iloc[0].to_dict()
        row |= {n: own[n].mean() for n in own.columns if is_numeric_dtype(own[n]) and not n.startswith("param.")}
        row |= {"ended": own["ended"].max()} if "ended" in own else {}
        found.append({**row, "state": state})
    return pd.DataFrame(found, columns=rows.columns).astype({"number": rows["number"].dtype}, errors="ignore")


def _with_labels(rows: pd.DataFrame, space: Mapping[str, Any]) -> pd.DataFrame:
    """A column `param.NAME` for each branch whose name is a label: the branch whose parameters a row has."""
    for label, about in space.items():
        if f"param.{label}" in rows.columns or not about.get("choices"):
            continue
        taken = pd.Series([None] * len(rows), index=rows.index, dtype=object)
        size = pd.Series(-1, index=rows.index)
        for choice in about["choices"]:
            fits = pd.Series(True, index=rows.index)
            names = [n for n, other in space.items() if choice in (other.get("if") or {}).get(label, [])]
            fixed = (about.get("sets") or {}).get(str(choice), {})
            for name in names:
                fits &= rows.get(f"param.{name}", pd.Series(None, index=rows.index)).notna()
            for name, value in fixed.items():
                fits &= rows.get(f"param.{name}", pd.Series(None, index=rows.index)) == value
            better = fits & (size < len(names) + len(fixed))
            taken[better], size[better] = choice, len(names) + len(fixed)
        rows = rows.assign(**{f"param.{label}": taken})
    return rows


def _judged(rows: pd.DataFrame, limits: Mapping[str, float]) -> pd.DataFrame:
    if not limits:
        return rows
    values = rows[[name for name in limits if name in rows.columns]].to_dict("records")
    known = [{n: v for n, v in row.items() if v is not None and v == v} for row in values]
    breaks = [state == "completed" and not kept(limits, row) for state, row in zip(rows["state"], known, strict=True)]
    return rows.assign(state=rows["state"].mask(pd.Series(breaks, index=rows.index), INFEASIBLE))


def method(about: Mapping[str, Any]) -> str:
    """How the search chose: sampler, pruner, seeds, constraints and its end."""
    pruner = about.get("pruner") or {}
    said = [f"Configurations were suggested by {SAMPLERS.get(about['sampler'], about['sampler'])}"]
    name = str(pruner.get("name", ""))
    said.append(f"weak ones stopped early by {PRUNERS.get(name, name)}" if name else "none was stopped early")
    text = f"{said[0]}, and {said[1]}."
    if (seeds := int(about.get("seeds") or 1)) > 1:
        text += f" Each trained on {seeds} seeds, one after the other, and its value is their mean."
    if limits := about.get("constraints"):
        text += f" They had to keep {in_words(limits)}."
        if count := int(about.get("untrained") or 0):
            text += f" {capital(plural(count, 'suggestion'))} broke that by the cost of the network and did not train."
    if ended := about.get("terminated"):
        text += f" The search ended early: {ended}."
    return text
