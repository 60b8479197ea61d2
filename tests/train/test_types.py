"""Trials and events cannot change; a trial has no checkpoints by default."""

from __future__ import annotations

import dataclasses

import pytest

from scl.study.config import Config
from scl.train.types import EpochDone, TrialEnded, TrialSpec


def test_trials_and_events_are_frozen() -> None:
    for thing in (TrialSpec("a", Config(), 0), EpochDone("a", {}), TrialEnded("a", {}, [])):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, dataclasses.fields(thing)[0].name, "b")


def test_a_trial_has_no_checkpoints_unless_it_has_a_folder() -> None:
    trial = TrialSpec("a", Config(), 0)
    assert (trial.files, trial.weights, trial.every_epoch) == (None, None, True)
    assert TrialEnded("a", {}, []).weights == {}
