"""Environment variables for the length of a run."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from scl.run.process import environment


def test_every_variable_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCL_A", "a")
    monkeypatch.setenv("SCL_B", "b")
    monkeypatch.delenv("SCL_C", raising=False)
    before = dict(os.environ)
    with suppress(KeyError), environment({"SCL_A": "1"}, defaults={"SCL_B": "2", "SCL_C": "3"}):
        assert [os.environ[name] for name in ("SCL_A", "SCL_B", "SCL_C")] == ["1", "b", "3"]
        os.environ["SCL_D"] = "a library set it"
        del os.environ["SCL_B"]
        raise KeyError
    assert dict(os.environ) == before
