"""A finished search that tests read, and a plan whose search may be exchanged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from scl.plan.plan import Plan
from tests.support.searches import STUDY, TINY, search
from tests.support.studies import planned


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search")
    assert search(out) == 0
    return out


@pytest.fixture(scope="session")
def many_seeds(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan with the teachers of six seeds."""
    assert STUDY.search is not None
    study = replace(STUDY, search=replace(STUDY.search, seeds=6))
    return planned(study, tmp_path_factory.mktemp("many seeds"), *TINY, "--epochs", "8")


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's storage in memory, one for each store: a journal waits for the disk."""
    known: dict[str, Any] = {}
    monkeypatch.setattr(
        "scl.search.journal._journal",
        lambda _, store: known.setdefault(str(store), optuna.storages.InMemoryStorage()),
    )
