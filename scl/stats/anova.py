"""Analysis of variance of factorial studies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scl.stats.intervals import NO_SPREAD


@dataclass(frozen=True)
class Anova:
    """Type-II analysis of variance.

    table: indexed by terms (a factor, `a × b`, `seed`, `residual`), columns `sum_sq, df, F, p, eta_sq` (partial η²).
    why_not: why the table is empty or lacks interactions; else "".
    """

    table: pd.DataFrame
    why_not: str = ""


def anova(long: pd.DataFrame, factors: Sequence[str]) -> Anova:
    """Type-II ANOVA of `y` on the factors and their two-way interactions, with the seed as a block (by statsmodels).

    An interaction is left out if missing combinations make it inseparable from the other terms.

    Args:
        long: a row per observation, with columns `y`, `seed` and one per factor.
    """
    from statsmodels.formula.api import ols  # takes over a second to import, and few studies are factorial  # noqa: PLC0415
    from statsmodels.stats.anova import anova_lm  # noqa: PLC0415

    empty = pd.DataFrame(columns=["sum_sq", "df", "F", "p", "eta_sq"])
    usable = [f for f in factors if long[f].nunique() > 1]
    if not usable or long["seed"].nunique() < 2:
        return Anova(empty, "an analysis of variance needs a factor with two levels and two seeds")
    # The formula uses short names, because a factor's name may contain any character.
    data = pd.DataFrame({"y": long["y"].to_numpy(dtype=float), "seed": long["seed"].astype(str).to_numpy()})
    named = {f"f{i}": factor for i, factor in enumerate(usable)}
    for short, factor in named.items():
        data[short] = long[factor].astype(str).to_numpy()
    terms, names, gaps = [f"C({s})" for s in named], list(named.values()), []

    def model(terms: list[str]) -> Any:
        return ols("y ~ " + " + ".join([*terms, "C(seed)"]), data)

    for i, (a, one) in enumerate(named.items()):
        for b, other in list(named.items())[i + 1 :]:
            term = f"C({a}):C({b})"
            exog = model([*terms, term]).exog
            # Full rank means: the combinations with results determine this term beside the terms before it.
            if np.linalg.matrix_rank(exog) < exog.shape[1]:
                gaps.append(f"{one} × {other}")
            else:
                terms.append(term)
                names.append(f"{one} × {other}")
    fit = model(terms).fit()
    if fit.df_resid < 1 or fit.mse_resid < NO_SPREAD:
        return Anova(empty, "no residual is left to estimate the error from")
    # By name, because statsmodels lists interactions last, in whatever order the formula has them.
    raw = anova_lm(fit, typ=2)
    table = raw.loc[[*terms, "C(seed)", "Residual"]].rename(columns={"PR(>F)": "p"})
    table.index = pd.Index([*names, "seed", "residual"])
    table["eta_sq"] = table["sum_sq"] / (table["sum_sq"] + table.loc["residual", "sum_sq"])
    table.loc["residual", "eta_sq"] = math.nan
    missing = f"no interaction of {', '.join(gaps)}: some combinations have no result" if gaps else ""
    return Anova(table[["sum_sq", "df", "F", "p", "eta_sq"]], missing)
