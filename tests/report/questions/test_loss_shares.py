"""Shares of the loss terms."""

from __future__ import annotations

import pytest

from scl.report.facts import gather
from scl.report.questions import loss_shares
from scl.report.results import Results
from tests.support.pages import Page


def test_numbers_of_shares_sum_to_one_and_follow_the_weighted_loss(plain: tuple[Page, str, Results]) -> None:
    study = plain[2]
    shown = {s.arm: s.share for s in loss_shares.shares(gather(study))}
    assert set(shown) == {"kd", "channel", "channel+spatial"}  # the synthetic arms with a second term
    assert shown["kd"].sum(axis=1).to_numpy() == pytest.approx(1.0)
    done = study.trials[(study.trials["state"] == "completed") & (study.trials["arm"] == "kd")]["trial_id"]
    last = study.epochs[study.epochs["trial_id"].isin(done) & (study.epochs["epoch"] == 6)]
    total = (last["weighted.ce"] + last["weighted.kd"]).mean()
    assert shown["kd"].loc[6, "kd"] == pytest.approx(last["weighted.kd"].mean() / total, rel=1e-5)
