"""Stores and their pages that several tests of the report read."""

from __future__ import annotations

import pytest

from scl.report.facts import Facts
from scl.report.results import Results
from tests.support.pages import Page, built
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    gathered,
    make_search_store,
    make_self_taught_store,
    make_store,
)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str, Results]:
    """Five arms and seeds; one trial failed, one is missing, one was pruned."""
    states = {("kd", 3): "failed", ("channel", 4): "missing", ("spatial", 0): "pruned"}
    return built(make_store(tmp_path_factory.mktemp("plain"), ARMS, range(5), accuracy(EFFECTS), states))


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Arms with 0 to 16 self-taught neurons and both controls of equal width."""
    return gathered(make_self_taught_store(tmp_path_factory.mktemp("taught")))


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """A search of 120 trials with three winners on five fresh seeds."""
    return gathered(make_search_store(tmp_path_factory.mktemp("search"), 120))
