"""Finding studies and trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.errors import UserError
from scl.store.files import Folder, open_folder
from scl.store.lookup import find_trial, stores
from scl.store.parts import write_part
from scl.store.results import read_results
from scl.store.schema import now
from scl.store.study_file import write_study


@pytest.fixture
def results(tmp_path: Path) -> str:
    """Two studies: `one` with arms kd and one/kd, `two` with arm kd; seeds 0 and 1."""
    for study, arms in (("one", ["kd", "one/kd"]), ("two", ["kd"])):
        folder = open_folder(str(tmp_path / study))
        plan = [
            {"arm": arm, "seed": seed, "trial_id": f"{study}-{arm.replace('/', '+')}-{seed}"}
            for arm in arms
            for seed in (0, 1)
        ]
        for trial in plan:
            write_part(folder, {**trial, "state": "completed", "ended": now()}, [], None)
        write_study(folder, {"schema_version": 1, "plan": plan})
    return str(tmp_path)


def test_stores_of_a_folder_of_results_and_of_one_study(results: str) -> None:
    assert list(stores(results)) == ["one", "two"]
    assert list(stores(f"{results}/one")) == ["one"]
    with pytest.raises(UserError, match=r"no results in .*nowhere; run a study first"):
        stores(f"{results}/nowhere")


@pytest.mark.parametrize(
    ("trial", "trial_id"),
    [
        ("two/kd/1", "two-kd-1"),
        ("one/kd/0", "one-kd-0"),
        ("one/one/kd/0", "one-one+kd-0"),
        ("two-kd-0", "two-kd-0"),
        ("two-kd-1", "two-kd-1"),
        ("one-o", None),
        ("kd/0", None),
        ("two/kd/7", None),
        ("three/kd/0", None),
        ("", None),
    ],
)
def test_a_trial_is_found_by_study_arm_and_seed_or_by_its_id(results: str, trial: str, trial_id: str | None) -> None:
    if trial_id is None:
        with pytest.raises(UserError):
            find_trial(results, trial)
    else:
        assert find_trial(results, trial)[2]["trial_id"] == trial_id


def test_what_is_unclear_is_explained(results: str) -> None:
    with pytest.raises(UserError, match="is in several studies; give one of: one/kd/0, two/kd/0"):
        find_trial(results, "kd/0")
    with pytest.raises(UserError, match="give STUDY/ARM/SEED or the beginning of an id; studies: one, two"):
        find_trial(results, "three/kd/0")
    two = f"{results}/two"
    with pytest.raises(UserError, match="trial 'two-': 2 ids begin with it; give more characters"):
        find_trial(two, "two-")
    with pytest.raises(UserError, match=r"unknown trial 'dk/0' \(did you mean 'kd/0'\?\); valid: kd/0, kd/1"):
        find_trial(two, "dk/0")


def test_a_study_without_ended_trials_says_so(store: Folder) -> None:
    with pytest.raises(UserError, match="no trial of this study has ended yet"):
        read_results(store).find("kd/0")


@pytest.mark.parametrize("place", ["", "/nowhere", "/two"], ids=["results", "no results", "another study"])
def test_a_folder_is_no_trial(results: str, place: str) -> None:
    """As `scl show results/ablation`, which leaves RESULTS to its default."""
    with pytest.raises(UserError, match=r"one' is a folder, and no trial; give a trial after it, as ARM/SEED"):
        find_trial(f"{results}{place}", f"{results}/one")
