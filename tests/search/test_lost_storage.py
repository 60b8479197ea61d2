"""A search whose storage fails: it ends with the cause, and asks the storage nothing more."""

from __future__ import annotations

from types import SimpleNamespace

import optuna
import pytest

from scl.search.lost_storage import ends_search_if_storage_fails


class Driver:
    def __init__(self, url: str | None) -> None:
        self.lost_storage, self.optuna, self.said = False, optuna, list[str]()
        self.plan = SimpleNamespace(options=SimpleNamespace(storage=url))
        self.halt = self.said.append
        self.calls = 0

    @ends_search_if_storage_fails("otherwise")
    def ask(self, error: Exception | None) -> str:
        self.calls += 1
        if error is not None:
            raise error
        return "answer"


@pytest.mark.parametrize(
    ("url", "named"), [(None, "optuna.journal"), ("postgresql://me:secret@host/db", "postgresql://")]
)
def test_the_search_ends_once_and_for_all(url: str | None, named: str) -> None:
    driver = Driver(url)
    assert driver.ask(None) == "answer"
    assert driver.ask(OSError(28, "No space left on device")) == "otherwise"
    assert driver.ask(None) == "otherwise"
    assert driver.calls == 2
    (said,) = driver.said
    assert named in said
    assert "finished trials are kept" in said
    assert "secret" not in said


def test_another_error_is_no_loss_of_the_storage() -> None:
    driver = Driver(None)
    with pytest.raises(ZeroDivisionError):
        driver.ask(ZeroDivisionError())
    assert driver.ask(None) == "answer"
