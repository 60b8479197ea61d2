"""Searches: what Optuna and the store agree on, what is never trained twice, what is re-run on fresh seeds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import fsspec
import optuna
import pandas as pd
import pytest
from pyarrow import fs

from scl import cli, exits, results
from scl.config import Config, UserError
from scl.optuna_storage import load_optuna, masked, mend
from scl.space import Choice, Float, Search
from scl.storage import Folder
from scl.study import Study

ROOT = Path(__file__).parents[1]
TINY = ["--inline", "--limit", "60", "--epochs", "4", "--teacher-epochs", "1", "--seeds", "2"]
SEARCH = Search(
    space={
        "weight.kd": Float(0.1, 10.0, log=True),
        "kd.temperature": Float(1.0, 8.0),
        "self_taught": Choice((0, 4)),
        "lr": Float(0.01, 0.1, log=True),
    },
    trials=6,
    winners=2,
    batch=3,
    start=({"weight.kd": 1.0, "kd.temperature": 4.0, "self_taught": 0, "lr": 0.05},),
)
STUDY = Study(
    name="tiny",
    question="?",
    arms={"baseline": {}},
    base=Config(student="plain3", width=0.125, batch_size=32, lr=0.05),
    teacher=Config(student="plain5", width=0.125, batch_size=32, lr=0.05),
    search=SEARCH,
)


def search(out: Path, *flags: str, study: Study = STUDY) -> int:
    """Run in this process, as `main` does."""
    options = cli.Options(**vars(cli.parser(study).parse_args(["--out", str(out), *TINY, *flags])))
    return exits.guarded(lambda: cli.run(study, options))


def known(out: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials of the one study in the journal, by Optuna's own API."""
    backend = optuna.storages.journal.JournalFileBackend(str(out / "tiny" / "optuna.journal"))
    storage = optuna.storages.JournalStorage(backend)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def stored(out: Path) -> pd.DataFrame:
    return results.load(str(out / "tiny")).trials


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search")
    assert search(out) == 0
    return out


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


def test_winners_are_fixed_by_validation_and_run_again_on_fresh_seeds(done: Path) -> None:
    rows = stored(done)
    study = results.load(str(done / "tiny")).study
    fresh = rows[rows["arm"] != "search"]
    assert set(fresh["seed"]) == {1000, 1001}
    assert Counter(fresh["arm"]) == dict.fromkeys(["baseline", *study["winners"]], 2)
    tried = rows[(rows["arm"] == "search") & (rows["state"] == "completed")]
    first = study["winners"]["winner-1"]
    assert first["val_acc"] == tried["val_acc"].max()
    config = rows[rows["trial_id"] == first["trial_id"]]["config_id"].iloc[0]
    assert set(fresh[fresh["arm"] == "winner-1"]["config_id"]) == {config}
    assert study["search_space"]["self_taught"] == {"choices": [0, 4]}
    assert study["search_space"]["weight.kd"] == {"low": 0.1, "high": 10.0, "log": True}
    assert study["objectives"] == {"val_acc": "maximize"}
    assert fresh["number"].isna().all()
    assert fresh["latency_ms"].notna().all()


def test_again_trains_nothing_and_more_goes_on(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_search_that_was_cut_off_goes_on_under_its_numbers(tmp_path: Path) -> None:
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
    assert results.load(str(tmp_path / "tiny")).study["search"]["repeated"] == 4
    assert capsys.readouterr().err.count("] search · trial") == 2


def test_what_diverges_is_told_as_failed(tmp_path: Path) -> None:
    wild = replace(SEARCH, space={"lr": Float(1e29, 1e30)}, start=(), trials=3, template={"losses": {"kd": 1.0}})
    assert search(tmp_path, study=replace(STUDY, search=wild)) == 1
    assert Counter(t.state.name for t in known(tmp_path)) == {"FAIL": 3}
    rows = stored(tmp_path)
    assert set(rows[rows["arm"] == "search"]["state"]) == {"failed"}
    assert (rows["arm"] == "baseline").sum() == 2


def test_values_that_do_not_go_together_are_told_as_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nesterov needs a momentum: each value is fine, one pair is not."""
    space = {"nesterov": Choice((True, False)), "momentum": Choice((0.0, 0.9)), "lr": Float(0.01, 0.1)}
    odd = replace(SEARCH, space=space, start=({"nesterov": True, "momentum": 0.0, "lr": 0.05},),
                  template={"losses": {"kd": 1.0}, "nesterov": False})  # fmt: skip
    assert search(tmp_path, study=replace(STUDY, search=odd)) == 0
    assert "search: trial 0 cannot be: nesterov needs a momentum" in capsys.readouterr().err
    trials = known(tmp_path)
    assert len(trials) == 6
    assert trials[0].state.name == "FAIL"
    assert search(tmp_path, study=replace(STUDY, search=odd)) == 0
    assert len(known(tmp_path)) == 6


def test_two_objectives_give_a_front(tmp_path: Path) -> None:
    two = replace(STUDY, search=replace(SEARCH, objectives=("val_acc", "macs")))
    assert search(tmp_path, study=two) == 0
    trials = known(tmp_path)
    assert Counter(t.state.name for t in trials) == {"COMPLETE": 6}
    rows = stored(tmp_path).set_index("trial_id")
    for trial in trials:
        row = rows.loc[trial.user_attrs["trial_id"]]
        assert trial.values == [row["val_acc"], row["macs"]]
    won = results.load(str(tmp_path / "tiny")).study["winners"]
    chosen = rows.loc[[w["trial_id"] for w in won.values()]]
    tried = rows[rows["arm"] == "search"]
    for _, w in chosen.iterrows():
        better = tried[(tried["val_acc"] >= w["val_acc"]) & (tried["macs"] <= w["macs"])]
        assert ((better["val_acc"] == w["val_acc"]) & (better["macs"] == w["macs"])).all()


def test_earlier_results_start_a_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = replace(STUDY, search=replace(SEARCH, prune=False))  # so that others than the start have completed
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


def test_a_plan_of_a_search_touches_nothing(tmp_path: Path, done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path, "--plan") == 0
    assert "6 of 6 trials to go" in capsys.readouterr().out
    assert not (tmp_path / "tiny").exists() or not list((tmp_path / "tiny").iterdir())
    assert search(done, "--plan") == 0
    assert "0 of 6 trials to go" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--storage", "nonsense"], "not a database URL"),
        (["--storage", "postgresql+psycopg://me:secret@127.0.0.1:1/none"], "Optuna cannot open it"),
        (["--fix", "k=3"], "unknown parameter 'k'"),
        (["--fix", "self_taught=5"], "valid are 0, 4"),
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


def test_a_database_belongs_to_one_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    assert search(tmp_path / "one", "--storage", url, "--trials", "2") == 0
    assert search(tmp_path / "one", "--storage", url, "--trials", "3") == 0
    assert search(tmp_path / "two", "--storage", url, "--trials", "3") == 2
    assert f"results are in {tmp_path}/one/tiny" in capsys.readouterr().err
    (name,) = optuna.get_all_study_names(url)
    assert len(optuna.load_study(study_name=name, storage=url).trials) == 3


def test_passwords_are_hidden() -> None:
    assert masked("search.py --storage postgresql://me:s3cret@host:5432/db --seeds 2") == (
        "search.py --storage postgresql://me:***@host:5432/db --seeds 2"
    )
    assert masked("s3://bucket/a:b") == "s3://bucket/a:b"


def test_a_torn_journal_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"

    def storage() -> optuna.storages.JournalStorage:
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))

    study = optuna.create_study(storage=storage(), study_name="s")
    study.tell(study.ask(), 1.0)
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "work')
    (tmp_path / "optuna.journal.lock").symlink_to(path)
    mend(path)
    again = optuna.load_study(storage=storage(), study_name="s")
    again.tell(again.ask(), 2.0)
    assert [t.value for t in optuna.load_study(storage=storage(), study_name="s").trials] == [1.0, 2.0]


SCRIPT = """
from tests.test_search import STUDY
from scl.cli import main
main(STUDY)
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", [["--inline"], []])
def test_killed_twice_and_finished(where: list[str], tmp_path: Path) -> None:
    """A real process, killed for good in the midst, on Ray and in process."""
    flags = [f for f in TINY if f != "--inline"] + where + ["--trials", "12", "--epochs", "8"]
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), "--out", str(tmp_path), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for at in (3, 8):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while told(tmp_path) < at and process.poll() is None:
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


def told(out: Path) -> int:
    """How many ends Optuna has been told of, by the journal's lines."""
    try:
        lines = (out / "tiny" / "optuna.journal").read_text().splitlines()
    except FileNotFoundError:
        return 0
    ends = 0
    for line in lines:
        try:
            operation = json.loads(line)
        except ValueError:
            continue
        ends += operation.get("op_code") == 6 and operation.get("state") in (1, 2, 3)
    return ends


def test_a_search_needs_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="pip install optuna"):
        load_optuna()


def test_in_an_object_store_the_journal_is_kept_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is not of this machine: no file can be appended to, so the journal is put back whole."""
    there = fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("file", auto_mkdir=True)))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("scl.runner.open_folder", lambda place: Folder(there, str(tmp_path / "store" / "out")))
    assert search(tmp_path, "--trials", "3") == 0
    kept = tmp_path / "store" / "out" / "tiny" / "optuna.journal"
    assert kept.exists()
    shutil.rmtree(tmp_path / "home")  # another machine goes on
    assert search(tmp_path, "--trials", "5") == 0
    assert len(known(tmp_path / "store" / "out")) == 5


@pytest.mark.slow
def test_a_search_survives_its_workers(tmp_path: Path) -> None:
    """Workers that are killed start again where they were, and no trial is lost or doubled."""
    flags = [f for f in TINY if f != "--inline"] + ["--trials", "9", "--epochs", "30"]
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), "--out", str(tmp_path), *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while told(tmp_path) < 2 and process.poll() is None:
        time.sleep(0.02)
    killed: list[int] = []
    while not killed and process.poll() is None:  # between two reports a worker goes by the name of its actor alone
        killed = [pid for pid in descendants(process.pid) if "ImplicitFunc" in title(pid)]
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


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """Processes that this one started, and those that they started."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found[1:]


def test_a_storage_that_is_lost_in_the_midst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was searched is kept, the run ends with a message, and the same command goes on."""
    tell, told = optuna.Study.tell, []

    def lost(self: optuna.Study, *arguments: object, **more: object) -> object:
        told.append(arguments)
        if len(told) > 2:
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
