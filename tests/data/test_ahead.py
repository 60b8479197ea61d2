"""Work that threads do ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from scl.data.ahead import ahead


@pytest.mark.parametrize(("threads", "waiting"), [(1, 1), (1, 2), (3, 5), (4, 100)])
def test_results_come_in_order_and_no_more_than_allowed_wait(threads: int, waiting: int) -> None:
    begun: list[int] = []

    def work(i: int) -> int:
        begun.append(i)
        return i * i

    used = 0
    for used, value in enumerate(ahead(work, range(20), threads, waiting), 1):
        assert value == (used - 1) ** 2
        assert len(begun) <= used + waiting - 1
    assert used == 20


def test_an_error_is_raised_at_its_place() -> None:
    results = ahead(lambda i: 1 // (3 - i), range(9), 2, 4)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)

    def items() -> Iterator[int]:
        yield 1
        raise KeyError

    with pytest.raises(KeyError):
        list(ahead(str, items(), 1, 2))


def test_nothing_goes_on_after_an_early_stop() -> None:
    before = threading.active_count()
    results = ahead(str, range(1000), 2, 3)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
