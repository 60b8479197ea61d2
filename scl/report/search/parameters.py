"""What a search varied, and the values of its trials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl.report.facts import Facts
from scl.report.search.objectives import objectives
from scl.store.schema import param_text
from scl.study.identity import stored_name


@dataclass(frozen=True)
class Parameter:
    """One searched parameter. frame: number, state, x (its value) and value (of the objective), a row for each trial
    that has one.

    log: searched on a logarithmic axis. choices: the values of a categorical parameter, as text. low, high: the ends of
    its range, NaN for a categorical one.
    """

    name: str
    log: bool
    choices: tuple[str, ...]
    frame: pd.DataFrame
    low: float = math.nan
    high: float = math.nan


def parameters(facts: Facts) -> list[Parameter]:
    """The search space of study.json, with the values of the trials in which they were searched.

    A field of the configuration has a value in every trial, so only the conditions of the space tell where it was one
    of the search.
    """
    aim, rows = objectives(facts)[0], facts.searched
    space = {str(name).removeprefix("param."): about for name, about in (facts.study.get("search_space") or {}).items()}
    known = {name: about for name, about in space.items() if f"param.{name}" in rows.columns}
    values = {name: _values(rows[f"param.{name}"], about) for name, about in known.items()}
    value = aim.unit * rows[aim.name].astype(float)
    out = []
    for name, about in known.items():
        choices = tuple(str(c) for c in about.get("choices") or ())
        there = values[name].notna() & _active(name, space, values, rows.index)
        there &= value.notna() & rows["state"].isin(["completed", "pruned"])
        frame = pd.DataFrame({"number": rows["number"], "state": rows["state"], "x": values[name], "value": value})[
            there
        ]
        ends = [math.nan if about.get(end) is None or choices else float(about[end]) for end in ("low", "high")]
        out.append(Parameter(name, bool(about.get("log")), choices, frame, *ends))
    return out


def _values(column: pd.Series, about: Mapping[str, Any]) -> pd.Series:
    """A column as texts of its choices, or as numbers: it is text if another arm has a word there."""
    choices = about.get("choices")
    return column.map(_texts(choices)) if choices else pd.to_numeric(column, errors="coerce")


def _active(
    name: str, space: Mapping[str, Mapping[str, Any]], values: Mapping[str, pd.Series], index: pd.Index
) -> pd.Series:
    """Whether a parameter was searched in each trial: one of the branches that hold it was taken, and was itself."""
    conditions = space[name].get("if")
    if not conditions:
        return pd.Series(True, index=index)
    found = pd.Series(False, index=index)
    for branch, choices in ((stored_name(branch), choices) for branch, choices in conditions.items()):
        if branch in values:
            found |= values[branch].isin([str(c) for c in choices]) & _active(branch, space, values, index)
        elif branch not in space:
            return pd.Series(True, index=index)  # nothing tells
    return found


def _texts(choices: list[Any]) -> dict[Any, str]:
    """Stored value → the text of the choice: 8.0 in a column of floats is the choice 8, "true" in one of text True."""
    stored = ((value, str(value), param_text(value)) for value in choices)
    return {spelled: str(value) for value, *texts in stored for spelled in (value, *texts)}
