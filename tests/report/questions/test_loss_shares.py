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
