"""Shares of the loss terms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scl.report.blocks import Plot
from scl.report.facts import gather
from scl.report.questions import loss_shares
from scl.report.results import Results
from scl.store.results import read_results
from tests.support.pages import Page
from tests.support.synthetic import make_store


def test_numbers_of_shares_sum_to_one_and_follow_the_weighted_loss(plain: tuple[Page, str, Results]) -> None:
    study = plain[2]
    shown = {s.arm: s.share for s in loss_shares.shares(gather(study))}
    assert set(shown) == {"kd", "channel", "channel+spatial"}  # the synthetic arms with a second term
    assert shown["kd"].sum(axis=1).to_numpy() == pytest.approx(1.0)
    done = study.trials[(study.trials["state"] == "completed") & (study.trials["arm"] == "kd")]["trial_id"]
    last = study.epochs[study.epochs["trial_id"].isin(done) & (study.epochs["epoch"] == 6)]
    total = (last["weighted.ce"] + last["weighted.kd"]).mean()
    assert shown["kd"].loc[6, "kd"] == pytest.approx(last["weighted.kd"].mean() / total, rel=1e-5)


def test_more_arms_than_figures_and_terms_below_zero_are_said(tmp_path: Path) -> None:
    store = make_store(tmp_path, [f"arm {i}" for i in range(21)], [0], epochs=2)
    results = read_results(store)
    epochs = results.epochs.assign(**{"weighted.kd": -results.epochs["weighted.kd"]})
    panel = loss_shares.panel(gather(replace(results, epochs=epochs)))
    (plot,) = panel.blocks
    assert isinstance(plot, Plot)
    assert len(plot.figures) == loss_shares.MOST_SHARES
    assert "The first 12 of 14 arms with several terms are shown." in plot.caption
    assert "Terms below 0 count by their size." in plot.caption


def test_the_last_epoch_of_a_long_study_is_its_last(tmp_path: Path) -> None:
    facts = gather(read_results(make_store(tmp_path, ["baseline", "kd"], [0], epochs=601)))
    (shown,) = loss_shares.shares(facts)
    assert (shown.share.index[0], shown.share.index[-1]) == (1, 601)


def test_gradients_stand_beside_the_shares_where_they_were_measured(tmp_path: Path) -> None:
    results = read_results(make_store(tmp_path, ["baseline", "kd", "channel"], [0, 1], epochs=3))
    done = results.trials.set_index("trial_id")
    arm, seed = (results.epochs["trial_id"].map(done[column]) for column in ("arm", "seed"))
    of_kd = (0.5 * 4.0**seed * results.epochs["epoch"]).where(arm == "kd")  # seeds: 0.5 and 2, so 1 × epoch
    facts = gather(replace(results, epochs=results.epochs.assign(**{"share.kd": of_kd.astype("float32")})))
    (found,) = loss_shares.gradients(facts, ["kd", "channel"]).items()
    assert found[0] == "kd"
    assert found[1]["kd"].to_dict() == pytest.approx({1: 1.0, 2: 2.0, 3: 3.0})
    panel = loss_shares.panel(facts)
    losses, gradients = panel.blocks
    assert isinstance(losses, Plot)
    assert isinstance(gradients, Plot)
    keys = [column.key for column in losses.table.columns][1:]
    by_arm = {row.arm: dict(zip(keys, row.cells[1:], strict=True)) for row in losses.table.rows}
    assert by_arm["kd"]["last_gradient_kd"].value == pytest.approx(3.0)
    assert by_arm["channel"]["last_gradient_kd"].value is None
    assert gradients.titles == ["kd"]
    assert [row.cells[-1].shown for row in gradients.table.rows] == ["1", "2", "3"]
    assert "stronger than that of cross-entropy for kd in “kd”" in panel.answer
    assert "Term(share=0.3)" in gradients.caption


def test_a_store_without_measured_gradients_says_so(plain: tuple[Page, str, Results]) -> None:
    (plot,) = loss_shares.panel(plain[2].facts).blocks
    assert isinstance(plot, Plot)
    assert loss_shares.UNMEASURED in plot.caption
