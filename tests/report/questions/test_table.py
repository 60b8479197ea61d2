"""The main table, computed again from Parquet, and the table beside published figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference
from statsmodels.formula.api import ols
from statsmodels.stats.multitest import multipletests

from scl.report.facts import gather
from scl.report.questions import table
from scl.report.results import Results
from tests.support.pages import Page, built
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    make_store,
)


def test_main_table_computed_again_from_parquet(plain: tuple[Page, str, Results]) -> None:
    page, _, study = plain
    done = study.trials[study.trials["state"] == "completed"]
    rows = {row["data-arm"][0]: row for row in page.tables["main-table"]}
    assert list(rows) == ARMS
    raw = {}
    for arm, row in rows.items():
        x = done.loc[done["arm"] == arm, "test_acc"].to_numpy()
        low, high = reference.t.interval(0.95, len(x) - 1, x.mean(), reference.sem(x))
        expected = {"n": len(x), "test_acc_mean": x.mean(), "test_acc_sd": x.std(ddof=1), "test_acc_low": low}
        expected |= {"test_acc_high": high, "params": done.loc[done["arm"] == arm, "params"].mean()}
        if arm != "baseline":
            wide = done.pivot(index="seed", columns="arm", values="test_acc")
            both = wide[[arm, "baseline"]].dropna()
            raw[arm] = reference.ttest_rel(both[arm], both["baseline"]).pvalue
            step = both[arm] - both["baseline"]
            expected["difference"] = step.mean()
            expected["d_z"] = step.mean() / step.std()
        for column, value in expected.items():
            assert float(str(row[column][1])) == pytest.approx(value, rel=1e-9), (arm, column)
    adjusted = multipletests(list(raw.values()), method="holm")[1]
    assert [float(str(rows[arm]["p_holm"][1])) for arm in raw] == pytest.approx(list(adjusted), rel=1e-9)


def test_simultaneous_intervals_of_the_table_are_those_of_the_rule(plain: tuple[Page, str, Results]) -> None:
    """The rule written out: differences by seed, the pooled variance or the arm's own, and scipy's multivariate t."""
    page, _, study = plain
    done = study.trials[study.trials["state"] == "completed"]
    wide = done.pivot(index="seed", columns="arm", values="test_acc")
    apart = wide[ARMS[1:]].sub(wide["baseline"], axis=0)
    n, own = apart.count(), apart.var()
    pooled = float((own * (n - 1)).sum() / (n - 1).sum())
    se = np.sqrt(np.maximum(own, pooled) / n)
    rows = {row["data-arm"][0]: row for row in page.tables["main-table"]}
    low, high, p = (
        np.array([float(str(rows[a][c][1])) for a in ARMS[1:]]) for c in ("difference_low", "difference_high", "p")
    )
    assert (low + high) / 2 == pytest.approx(apart.mean().to_numpy())
    critical = (high - low) / 2 / se
    assert critical.to_numpy() == pytest.approx(np.full(4, critical.iloc[0]), rel=1e-9)
    comparison = study.facts.comparison
    assert comparison is not None
    assert 3 <= comparison.df <= 8 * 4 / 7 * 4
    shape = np.full((4, 4), 0.5) + 0.5 * np.eye(4)

    def inside(edge: float) -> float:
        ends = np.full(4, edge)
        return reference.multivariate_t.cdf(ends, shape=shape, df=comparison.df, lower_limit=-ends, random_state=9)

    assert inside(critical.iloc[0]) == pytest.approx(0.95, abs=1e-3)
    for t, shown in zip(np.abs(apart.mean() / se), p, strict=True):
        assert shown == pytest.approx(1 - inside(t), abs=1e-3)


def test_the_models_p_is_dunnetts(plain: tuple[Page, str, Results]) -> None:
    """statsmodels' estimates and errors, and scipy's multivariate t at the correlations of the design."""
    page, _, study = plain
    done = study.trials[study.trials["state"] == "completed"]
    model = ols("test_acc ~ C(arm, Treatment('baseline')) + C(seed)", done).fit()
    names = [f"C(arm, Treatment('baseline'))[T.{arm}]" for arm in ARMS[1:]]
    covariance = model.cov_params().loc[names, names].to_numpy()
    se = np.sqrt(np.diag(covariance))
    rows = {row["data-arm"][0]: row for row in page.tables["main-table"]}
    for arm, estimate, error in zip(ARMS[1:], model.params[names], se, strict=True):
        edge = np.full(4, abs(estimate) / error)
        inside = reference.multivariate_t.cdf(
            edge, shape=covariance / np.outer(se, se), df=model.df_resid, lower_limit=-edge, random_state=9
        )
        assert float(str(rows[arm]["p_model"][1])) == pytest.approx(1 - inside, abs=1e-3)


def test_shown_digits_are_the_rounded_values(plain: tuple[Page, str, Results]) -> None:
    """360 test images: one is worth 0.28 points, so one decimal is shown."""
    for row in plain[0].tables["main-table"]:
        shown, exact = row["test_acc_mean"]
        assert shown == f"{100 * float(str(exact)):.1f}"
        if row["difference"][1]:
            assert row["difference"][0].replace("−", "-") == f"{100 * float(row['difference'][1]):+.1f}"


def test_published_figures_stand_beside_what_came_out(tmp_path: Path) -> None:
    published = {
        "accuracy": {"teacher": 0.75, "kd": 0.71, "at": 0.6},
        "source": "Of a <paper>.",
        "otherwise": {"at": "best"},
    }
    _, html, study = built(make_store(tmp_path, ARMS[:2], range(3), accuracy(EFFECTS), published=published))
    scores = study.trials.query("arm == 'kd'").sort_values("seed")["test_acc"].to_numpy()
    (shown,) = [b for b in table.panel(gather(study)).blocks if getattr(b, "label", "") == "Beside published figures"]
    teacher, kd, absent = (
        {c.key: cell for c, cell in zip(shown.columns, row.cells, strict=True)} for row in shown.rows
    )
    assert kd["mean"].value == pytest.approx(scores.mean())
    assert kd["difference"].value == pytest.approx(scores.mean() - 0.71)
    low, high = reference.t.interval(0.95, 2, loc=scores.mean(), scale=reference.sem(scores))
    assert (kd["low"].value, kd["high"].value) == pytest.approx((low - 0.71, high - 0.71))
    assert teacher["difference"].value == pytest.approx(0.74 - 0.75)
    assert absent["n"].value == 0
    assert absent["how"].shown == "best"
    assert "Of a &lt;paper&gt;." in html
    assert "Beside published figures" not in built(make_store(tmp_path / "none", ARMS[:2], range(3)))[1]
