"""Importances of searched parameters."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from scl.report.blocks import Note, Plot
from scl.report.facts import Facts
from scl.report.questions import importance
from tests.support.pages import built
from tests.support.synthetic import (
    SPACE,
    gathered,
    make_search_store,
    rewrite_trials,
)


def test_importances_of_an_additive_function_are_its_shares_of_variance(tmp_path: Path) -> None:
    """val = a·u + b·v with u, v uniform: shares a² var(u) and b² var(v) of the whole."""
    facts = gathered(make_search_store(tmp_path, 400, noise=0.0005))
    table, n, left_out = importance.importances(facts)
    done = facts.searched[facts.searched["state"] == "completed"]
    assert n == min(len(done), importance.MOST_FITTED)
    assert left_out == []
    kd = (2 / 3) ** 2 * 3**2 / 12
    lr = (1 / 2.5) ** 2 * (math.log10(0.3) + 3) ** 2 / 12
    noise = 0.05**2
    assert table.loc["weight.kd", "fanova"] == pytest.approx(kd / (kd + lr + noise), abs=0.06)
    assert table.loc["lr", "fanova"] == pytest.approx(lr / (kd + lr + noise), abs=0.06)
    assert table.loc[["kd.temperature", "self_taught"], "fanova"].max() < 0.02
    assert list(table.index[:2]) == ["weight.kd", "lr"]
    assert table["ped"].idxmax() == "weight.kd"
    assert table["ped"].sum() == pytest.approx(1)
    assert importance.importances(facts)[0].equals(table)


def test_a_conditional_parameter_has_no_importance_and_is_named(tmp_path: Path) -> None:
    store = make_search_store(tmp_path, 60)
    store = rewrite_trials(
        store, lambda t: t.assign(**{"param.kd.temperature": t["param.kd.temperature"].where(t["number"] % 2 == 0)})
    )
    facts = gathered(store)
    table, _, left_out = importance.importances(facts)
    assert left_out == ["kd.temperature"]
    assert set(table.index) == set(SPACE) - {"kd.temperature"}
    page, _, _ = built(store)
    assert "fewer than 100, this is only a hint" in page.text


@pytest.mark.parametrize(("trials", "completed"), [(1, 1), (2, 2), (22, 19)])
def test_few_trials_have_no_importances(tmp_path: Path, trials: int, completed: int) -> None:
    facts = gathered(make_search_store(tmp_path, trials))
    panel = importance.panel(facts)
    assert not [b for b in panel.blocks if isinstance(b, Plot) and b.id == "importance"]
    texts = [b.text for b in panel.blocks if isinstance(b, Note)]
    assert texts == [f"No importances: they need at least 20 completed trials, and this search has {completed}."]
    if completed < 10:
        (slices,) = [b for b in panel.blocks if isinstance(b, Plot)]
        assert {row.cells[-1].shown for row in slices.table.rows} == {"–"}  # there is no best tenth


def test_a_search_without_optuna_says_so(searched: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    shown = importance.panel(searched)
    assert any("optuna" in getattr(b, "text", "") for b in shown.blocks)
