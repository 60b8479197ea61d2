"""A finished search that tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.searches import search


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search")
    assert search(out) == 0
    return out
