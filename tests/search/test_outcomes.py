"""What the store knows of a search's trials."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from scl.search.outcomes import Outcome, kept_epoch, mean_of, outcomes, told
from scl.store.results import Results
from scl.study.config import Config
from scl.study.search import Search
from scl.study.space import Float
from scl.study.term import Term

SEARCH = Search({"lr": Float(0.1, 0.2)}, seeds=5)


def test_trials_of_a_store() -> None:
    trials = pd.DataFrame(
        {
            "trial_id": ["a", "b", "c"], "seed": [0, 1, 7], "state": ["completed", "failed", "completed"],
            "val_acc": [0.6000000001, None, 0.5], "params": [10, 10, 10], "latency_ms": [math.nan, 2.0, 1.0],
        }
    )  # fmt: skip
    epochs = pd.DataFrame(
        {"trial_id": ["a", "a", "c"], "epoch": [2, 1, 1], "val_acc": [0.6, 0.4, 0.5], "val_loss": [1.0, 2.0, 3.0]}
    )
    found = outcomes(Results(trials, epochs, {}), range(2), "val_acc")
    assert set(found) == {"a", "b"}
    # The row's accuracy is in full, that of an epoch is rounded.
    assert found["a"].course == {1: 0.4, 2: 0.6000000001}
    assert found["a"].last == {"params": 10.0, "val_acc": 0.6000000001, "val_loss": 1.0}
    assert (found["b"].state, found["b"].course, found["b"].last) == ("failed", {}, {"params": 10.0, "latency_ms": 2.0})
    by_loss = outcomes(Results(trials, epochs, {}), range(2), "val_loss")
    assert by_loss["a"].course == {1: 2.0, 2: 1.0}


def test_an_epoch_is_rounded_as_the_store_rounds_it() -> None:
    outcome = Outcome()
    assert outcome.epoch({"epoch": 3, "val_acc": 0.1, "val_loss": 0.1, "train_loss": 9.0}, "val_loss", Config()) == 0.1
    assert outcome.last == {"val_acc": 0.1, "val_loss": pytest.approx(0.1)}
    assert outcome.last["val_loss"] != 0.1
    assert outcome.course == {3: 0.1}
    assert math.isnan(outcome.epoch({"epoch": 4, "val_acc": 0.1}, "val_macro_f1", Config()))


def test_a_pruner_is_told_of_epochs_or_of_seeds() -> None:
    own = [Outcome("completed", {1: 0.1, 2: 0.2}, {"val_acc": 0.2}), Outcome("completed", {1: 0.3}, {"val_acc": 0.3})]
    assert told(SEARCH, own) == {1: 0.1, 2: 0.2}
    assert told(replace(SEARCH, pruner="wilcoxon"), [*own, Outcome()]) == {0: 0.2, 1: 0.3}
    assert mean_of(own) == {"val_acc": 0.25}
    assert mean_of([*own, Outcome()]) == {}


@pytest.mark.parametrize(
    ("patience", "before", "epoch"), [(0, 0, 4), (2, 0, 2), (2, 2, 3), (2, 4, 4)], ids=["last", "best", "later", "none"]
)
def test_a_trial_with_patience_counts_with_its_best_epoch(patience: int, before: int, epoch: int) -> None:
    curve = {1: 0.2, 2: 0.5, 3: 0.5, 4: 0.25}
    assert kept_epoch(patience, before, curve) == epoch
    terms = {"fsp": Term(1.0, stage="pretrain")} if before else {}
    config, live = Config(patience=patience, pretrain_epochs=before, losses=terms), Outcome()
    for e, accuracy in curve.items():
        live.epoch({"epoch": e, "val_acc": accuracy, "val_loss": float(e)}, "val_acc", config)
    assert live.last == {"val_acc": curve[epoch], "val_loss": float(epoch)}
    trials = pd.DataFrame({"trial_id": ["a"], "seed": [0], "state": ["completed"], "val_acc": [curve[epoch]],
                           "param.patience": [patience], "param.pretrain_epochs": [before]})  # fmt: skip
    about = {"epoch": [*curve], "val_acc": [*curve.values()], "val_loss": [1.0, 2.0, 3.0, 4.0]}
    epochs = pd.DataFrame({"trial_id": ["a"] * 4, **about})
    stored = outcomes(Results(trials, epochs, {}), range(1), "val_acc")["a"]
    assert (stored.last, stored.course) == (live.last, live.course)
