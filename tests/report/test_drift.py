"""Shares of the gradient that ended far from what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scl.report.drift import drifted, drifts
from scl.report.facts import Facts, gather
from scl.report.limits import limits
from scl.store.results import read_results
from scl.study.config import Config
from scl.study.identity import requested
from scl.study.term import Term
from tests.support.synthetic import make_store

EPOCHS = 4


def facts_of(folder: Path, arms: dict[str, dict[str, Any]], measured: dict[str, dict[str, list[float]]]) -> Facts:
    """A study of two seeds. measured: arm → term → its share in each epoch; seed 0 a half of it, seed 1 twice that."""
    names = ["baseline", *arms]
    results = read_results(make_store(folder, names, [0, 1], epochs=EPOCHS))
    trials = results.trials.set_index("trial_id")
    arm, seed = (results.epochs["trial_id"].map(trials[column]) for column in ("arm", "seed"))
    epochs = results.epochs
    for term in sorted({term for of in measured.values() for term in of}):
        column = np.full(len(epochs), np.nan, "float32")
        for name, of in measured.items():
            for epoch, value in enumerate(of.get(term, []), 1):
                at = (arm == name) & (epochs["epoch"] == epoch)
                column[at] = (value * 4.0**seed / 2)[at]
        epochs = epochs.assign(**{f"share.{term}": column})
    configs = {"baseline": {}, **{name: requested(Config(**of)) for name, of in arms.items()}}
    return gather(replace(results, epochs=epochs, study={**results.study, "arms": configs}))


KD = {"losses": {"kd": Term(share=0.3)}}
FIXED = "The weight behind a share of the gradient is fixed after the first steps, and gradients have moved since: "
INSTEAD = " share, or give a weight instead."


@pytest.mark.parametrize(
    ("arms", "measured", "said"),
    [
        (
            {"a": {"losses": {"kd": Term(share=1.0)}}},
            {"a": {"kd": [1.0, 5.0, 20.0, 36.0]}},
            "kd in “a” was asked for a share of 1 and came to 36 in epoch 4; ask for a lower",
        ),
        (
            {"a": KD},
            {"a": {"kd": [0.3, 0.2, 0.1, 0.05]}},
            "kd in “a” was asked for a share of 0.3 and came to 0.05 in epoch 4; ask for a higher",
        ),
        ({"a": KD}, {"a": {"kd": [0.3, 9.0, 9.0, 0.89]}}, ""),  # the last epoch counts
        ({"a": KD}, {"a": {"kd": [0.3, 9.0, 9.0, 0.91]}}, "came to 0.91 in epoch 4; ask for a lower"),
        ({"a": KD}, {"a": {"kd": [0.3, 0.3, 0.3, 0.101]}}, ""),
        ({"a": KD}, {"a": {"kd": [0.3, 0.3, 0.3, 0.099]}}, "came to 0.099 in epoch 4; ask for a higher"),
        ({"a": KD}, {"a": {"kd": [0.3, 0.3, 0.3, 0.0]}}, "came to 0 in epoch 4; ask for a higher"),
        ({"a": KD}, {"a": {"kd": [0.3, 2.0]}}, "came to 2 in epoch 2; ask for a lower"),  # measured no longer
        ({"a": KD}, {}, ""),  # nothing was measured
        ({"a": {"losses": {"kd": 0.3}}}, {"a": {"kd": [1.0, 9.0, 9.0, 9.0]}}, ""),  # a weight has no share
        ({"a": {"losses": {"kd": Term(4.0, share=0.3)}}}, {"a": {"kd": [1.2, 1.2, 1.2, 3.5]}}, ""),
        (
            {"a": {"losses": {"kd": Term(4.0, share=0.3)}}},
            {"a": {"kd": [1.2, 1.2, 1.2, 3.7]}},
            "a share of 1.2 and came to 3.7",
        ),
        ({"a": {"losses": {"kd": Term(share=0.8, warmup=8)}}}, {"a": {"kd": [0.1, 0.2, 0.3, 0.4]}}, ""),
        (
            {"a": {"losses": {"kd": Term(share=0.8, warmup=8)}}},
            {"a": {"kd": [0.1, 0.2, 0.3, 1.3]}},
            "a share of 0.4 and came to 1.3",
        ),
        (
            {
                "a": {
                    "losses": {"kd": Term(share=0.8, warmup=4), "fsp": Term(1.0, stage="pretrain")},
                    "pretrain_epochs": 2,
                }
            },
            {"a": {"kd": [np.nan, np.nan, 0.2, 1.3]}},
            "a share of 0.4 and came to 1.3",
        ),
        (
            {"a": {"losses": {"kd": Term(share=0.3), "at": Term(share=2.0)}}, "b": KD, "c": KD},
            {"a": {"kd": [0.3, 0.3, 0.3, 3.0], "at": [2.0, 2.0, 2.0, 0.5]}, "b": {"kd": [0.3] * 4}, "c": {}},
            "at in “a” was asked for a share of 2 and came to 0.5 in epoch 4 and kd in “a” was asked for a share of "
            "0.3 and came to 3 in epoch 4; ask for a higher or a lower",
        ),
        (
            dict.fromkeys("abcdefghij", KD),
            {name: {"kd": [0.3, 0.3, 0.3, 3.0]} for name in "abcdefghij"},
            "more did alike; ask for a lower",
        ),
    ],
)
def test_a_share_that_ended_far_from_what_was_asked_is_said(
    arms: dict[str, Any], measured: dict[str, Any], said: str, tmp_path: Path
) -> None:
    facts = facts_of(tmp_path, arms, measured)
    text = drifted(facts)
    if not said:
        assert text == ""
    else:
        assert text.startswith(FIXED)
        assert text.endswith(f"{said}{INSTEAD}" if "ask for" in said else INSTEAD)
        assert said in text
    assert dict(limits(facts)).get("Gradient shares", "") == text


def test_the_last_value_is_the_geometric_mean_over_seeds(tmp_path: Path) -> None:
    (found,) = drifts(facts_of(tmp_path, {"a": KD}, {"a": {"kd": [0.3, 0.4, 0.5, 0.6]}}))
    assert (found.arm, found.term, found.asked, found.epoch, found.is_far) == ("a", "kd", 0.3, 4, False)
    assert found.last == pytest.approx(0.6)
