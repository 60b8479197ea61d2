"""A small search, and what Optuna and the store know of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest

from scl.cli.exits import exit_code
from scl.cli.main import run_flags
from scl.plan.plan import Plan
from scl.search.driver import SearchDriver
from scl.search.journal import JOURNAL
from scl.store.files import open_folder
from scl.store.results import load
from scl.study.config import Config
from scl.study.identity import Trial
from scl.study.search import Search
from scl.study.space import Choice, Float
from scl.study.study import Study

ROOT = Path(__file__).parents[2]
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
    base=Config(model="plain3", width=0.125, batch_size=32, lr=0.05),
    teacher=Config(model="plain5", width=0.125, batch_size=32, lr=0.05),
    search=SEARCH,
)
# The study as a script, for processes that are killed.
SCRIPT = """
from scl.cli.main import main
from tests.support.searches import STUDY
main(STUDY)
"""


def search(out: Path, *flags: str, study: Study = STUDY) -> int:
    """Run the study's command line in this process; returns the exit code."""
    return exit_code(lambda: run_flags(study, "study.py", ["--out", str(out), *TINY, *flags]))


def known(out: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials of the one study in the journal, read with Optuna's own API."""
    backend = optuna.storages.journal.JournalFileBackend(str(out / "tiny" / JOURNAL))
    storage = optuna.storages.JournalStorage(backend)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def stored(out: Path) -> pd.DataFrame:
    """The rows of trials.parquet."""
    return load(str(out / "tiny")).trials


def reported(out: Path) -> int:
    """How many ends have been reported to Optuna, by the lines of its journal."""
    try:
        lines = (out / "tiny" / JOURNAL).read_text().splitlines()
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


def driver_of(plan: Plan, out: Path, search: Search) -> SearchDriver:
    """The driver of another search of a plan, in a folder of its own, which may be that of an earlier one."""
    (out / plan.study.name).mkdir(exist_ok=True)
    study, context = replace(plan.study, search=search), replace(plan.context, out=open_folder(out))
    return SearchDriver(replace(plan, study=study, context=context), pytest.fail)


def play(driver: SearchDriver, value: Callable[[Trial, int], float], most: int = 1000) -> list[Trial]:
    """Train what a driver suggests, by a function of trial and epoch: its val_acc. Returns what trained, at most so
    many trials."""
    trained: list[Trial] = []
    while len(trained) < most and (batch := driver.suggest(driver.batch)):
        for trial in batch[: most - len(trained)]:
            trained.append(trial)
            state = "completed"
            for epoch in range(1, trial.config.total_epochs + 1):
                at = value(trial, epoch)
                if driver.epoch(trial.trial_id, {"epoch": epoch, "val_acc": at, "val_loss": 1 - at}):
                    state = "pruned"
                    break
            driver.ended(trial.trial_id, state)
    return trained
