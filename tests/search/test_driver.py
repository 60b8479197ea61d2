"""Searches: what Optuna and the store agree on, and what is never trained twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from benchmarks.chaos import descendants, read
from scl.store.results import load
from scl.study.space import Choice, Float
from tests.support.searches import ROOT, SCRIPT, SEARCH, STUDY, TINY, known, reported, search, stored


def test_store_and_optuna_agree(done: Path) -> None:
    trials, rows = known(done), stored(done)
    mine = rows[rows["arm"] == "search"].sort_values("number").reset_index(drop=True)
    assert list(mine["number"]) == [t.number for t in trials] == list(range(6))
    assert rows["trial_id"].is_unique
    states = {"COMPLETE": "completed", "PRUNED": "pruned"}
    assert [states[t.state.name] for t in trials] == list(mine["state"])
    for trial, row in zip(trials, mine.to_dict("records"), strict=True):
        assert trial.user_attrs["trial_id"] == row["trial_id"]
        assert trial.params == {name: row[f"param.{name}"] for name in SEARCH.space}
        assert max(trial.intermediate_values) == row["epochs"]
        assert trial.intermediate_values[row["epochs"]] == row["val_acc"]
        if row["state"] == "completed":
            assert trial.value == row["val_acc"]
        else:
            assert row["epochs"] < 4
    assert trials[0].params == SEARCH.start[0]


def test_again_trains_nothing_and_more_continue(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["cp", "-r", str(done / "tiny"), str(done / "teachers"), str(tmp_path)], check=True)
    before = stored(tmp_path)
    assert search(tmp_path) == 0
    assert "nothing to train" in capsys.readouterr().err
    assert search(tmp_path, "--trials", "9") == 0
    after = stored(tmp_path)
    kept = after[after["trial_id"].isin(before["trial_id"])]
    assert list(kept["ended"]) == list(before["ended"])
    assert len(known(tmp_path)) == 9
    assert (after["arm"] == "search").sum() == 9


def test_a_search_that_was_cut_off_continues_under_its_numbers(tmp_path: Path) -> None:
    assert search(tmp_path, "--time-budget", "0.01") == 3
    budget = 1.0
    for _ in range(30):
        code = search(tmp_path, "--time-budget", str(budget))
        if code != 3:
            break
        budget += 0.5
    assert code == 0
    trials, rows = known(tmp_path), stored(tmp_path)
    assert len(trials) == 6
    assert all(t.state.is_finished() for t in trials)
    assert len({t.user_attrs["trial_id"] for t in trials}) == 6
    assert (rows["arm"] == "search").sum() == 6
    assert rows["trial_id"].is_unique


def test_a_repeated_suggestion_is_answered_from_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = replace(STUDY, search=replace(SEARCH, space={"self_taught": Choice((0, 4))}, start=(), winners=1,
                                          template={"losses": {"kd": 1.0}}, prune=False))  # fmt: skip
    assert search(tmp_path, study=small) == 0
    trials, rows = known(tmp_path), stored(tmp_path)
    assert len(trials) == 6
    mine = rows[rows["arm"] == "search"]
    assert len(mine) == 2
    values = {t.params["self_taught"]: t.value for t in trials}
    assert all(t.value == values[t.params["self_taught"]] for t in trials)
    assert values == dict(zip(mine["param.self_taught"], mine["val_acc"], strict=True))
    assert load(str(tmp_path / "tiny")).study["search"]["repeated"] == 4
    assert capsys.readouterr().err.count("] search · trial") == 2


def test_a_trial_that_diverges_has_failed(tmp_path: Path) -> None:
    wild = replace(SEARCH, space={"lr": Float(1e29, 1e30)}, start=(), trials=3, template={"losses": {"kd": 1.0}})
    assert search(tmp_path, study=replace(STUDY, search=wild)) == 1
    assert Counter(t.state.name for t in known(tmp_path)) == {"FAIL": 3}
    rows = stored(tmp_path)
    assert set(rows[rows["arm"] == "search"]["state"]) == {"failed"}
    assert (rows["arm"] == "baseline").sum() == 2


def test_values_that_exclude_each_other_have_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nesterov needs a momentum: each value is valid, one pair is not."""
    space = {"nesterov": Choice((True, False)), "momentum": Choice((0.0, 0.9)), "lr": Float(0.01, 0.1)}
    odd = replace(SEARCH, space=space, start=({"nesterov": True, "momentum": 0.0, "lr": 0.05},),
                  template={"losses": {"kd": 1.0}, "nesterov": False})  # fmt: skip
    assert search(tmp_path, study=replace(STUDY, search=odd)) == 0
    assert "search: trial 0 cannot be built: nesterov needs a momentum" in capsys.readouterr().err
    trials = known(tmp_path)
    assert len(trials) == 6
    assert trials[0].state.name == "FAIL"
    assert search(tmp_path, study=replace(STUDY, search=odd)) == 0
    assert len(known(tmp_path)) == 6


def test_earlier_results_start_a_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = replace(STUDY, search=replace(SEARCH, prune=False))  # so that more than the start complete
    earlier = tmp_path / "earlier"
    assert search(earlier, "--trials", "3", study=whole) == 0
    flags = ["--trials", "3", "--epochs", "3", "--start-from", str(earlier / "tiny")]
    assert search(tmp_path, *flags) == 0
    rows = stored(earlier)
    best = rows[rows["state"] == "completed"].sort_values("val_acc", ascending=False)
    inside = [{name: row[f"param.{name}"] for name in SEARCH.space} for row in best.to_dict("records")]
    first = known(tmp_path)
    assert first[0].params == SEARCH.start[0]
    assert first[1].params in inside
    assert search(tmp_path, "--start-from", str(tmp_path / "nowhere")) == 2
    assert "no results in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--storage", "nonsense"], "not a database URL"),
        (["--storage", "postgresql+psycopg://me:secret@127.0.0.1:1/none"], "Optuna cannot open it"),
        (["--fix", "k=3"], "unknown parameter 'k'"),
        (["--fix", "self_taught=5"], "valid: 0, 4"),
        (["--val", "0"], "selects on validation"),
        (["--interval", "0.1", "--between", "a,b"], "studies of arms"),
    ],
)
def test_bad_flags(flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path, *flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "secret" not in error


def test_a_misspelt_space_is_refused_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = replace(STUDY, search=replace(SEARCH, space={"weigth.kd": Float(0.1, 1.0)}, start=()))
    assert search(tmp_path, study=wrong) == 2
    assert "weigth.kd" in capsys.readouterr().err
    assert not (tmp_path / "tiny").exists()


def test_a_storage_that_fails_during_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Finished trials are kept, the run ends with a message, and the same command continues."""
    tell, calls = optuna.Study.tell, []

    def lost(self: optuna.Study, *arguments: object, **more: object) -> object:
        calls.append(arguments)
        if len(calls) > 2:
            raise optuna.exceptions.StorageInternalError("the server closed the connection")
        return tell(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(optuna.Study, "tell", lost)
    assert search(tmp_path) == 1
    said = capsys.readouterr().err
    assert "storage optuna.journal was lost (the server closed the connection)" in said
    monkeypatch.undo()
    assert search(tmp_path) == 0
    assert len(known(tmp_path)) == 6
    assert stored(tmp_path)["trial_id"].is_unique


@pytest.mark.slow
@pytest.mark.parametrize("where", [["--inline"], []])
def test_a_search_that_is_killed_twice_finishes(where: list[str], tmp_path: Path) -> None:
    """A real process, killed with SIGKILL, inline and on Ray."""
    flags = [f for f in TINY if f != "--inline"] + where + ["--trials", "12", "--epochs", "8"]
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), "--out", str(tmp_path), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for at in (3, 8):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while reported(tmp_path) < at and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert last.returncode == 0, last.stderr
    trials, rows = known(tmp_path), stored(tmp_path)
    assert len(trials) == len({json.dumps(t.params, sort_keys=True) for t in trials}) == 12
    assert all(t.state.name in ("COMPLETE", "PRUNED") for t in trials)
    mine = rows[rows["arm"] == "search"]
    assert sorted(mine["number"]) == list(range(12))
    assert rows["trial_id"].is_unique


@pytest.mark.slow
def test_a_search_survives_its_workers(tmp_path: Path) -> None:
    """Killed workers resume where they were, and no trial is lost or doubled."""
    flags = [f for f in TINY if f != "--inline"] + ["--trials", "9", "--epochs", "30"]
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), "--out", str(tmp_path), *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while reported(tmp_path) < 2 and process.poll() is None:
        time.sleep(0.02)
    killed: list[int] = []
    while not killed and process.poll() is None:  # a worker's title is its cohort, or the name of its actor
        titles = {pid: read(f"/proc/{pid}/cmdline") for pid in descendants(process.pid)}
        killed = [pid for pid, title in titles.items() if title.startswith(("ray::search · trial", "ray::Cohort"))]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=400)
    assert killed
    assert process.returncode == 0, errors
    rows = stored(tmp_path)
    mine = rows[rows["arm"] == "search"]
    assert sorted(mine["number"]) == list(range(9))
    assert rows["trial_id"].is_unique
    assert set(mine["state"]) <= {"completed", "pruned"}
    assert mine["restarts"].max() >= 1
    assert len(known(tmp_path)) == 9
