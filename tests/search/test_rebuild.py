"""A search whose storage was lost, cut off, damaged or exchanged: the store knows all of it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest

from scl.errors import UserError
from scl.plan.plan import Plan
from scl.search import rebuild
from scl.search.driver import SearchDriver
from scl.search.journal import JOURNAL
from scl.search.winners import winners_of
from scl.store.study_file import read_study, write_study
from tests.support.searches import STUDY, TINY, known, search, stored
from tests.support.studies import planned

FLIPS = 40


@pytest.fixture(scope="module")
def finished(done: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, bytes]:
    """The plan of a finished search in a folder of this module, and its journal."""
    out = tmp_path_factory.mktemp("rebuilt")
    shutil.copytree(done, out, dirs_exist_ok=True)
    return planned(STUDY, out, *TINY), (out / "tiny" / JOURNAL).read_bytes()


def journal(plan: Plan) -> Path:
    return Path(plan.context.store.path) / JOURNAL


@cache
def numbers(out: str) -> dict[int, str]:
    """The trial of each number in the results, which no test here changes."""
    rows = stored(Path(out))
    return dict(rows[rows["arm"] == "search"].set_index("number")["trial_id"])


def opened(plan: Plan) -> SearchDriver:
    """A search that continues, and agrees with the store in all that matters."""
    driver = SearchDriver(plan, pytest.fail)
    assert {number: trial_id for trial_id, number in driver.numbers.items()} == numbers(plan.context.out.path)
    assert driver.to_go == 0
    assert winners_of(driver) == winners_of(driver)
    trials = driver.study.get_trials()
    assert [trial.number for trial in trials] == list(range(6))
    return driver


@pytest.fixture(scope="module")
def before(finished: tuple[Plan, bytes]) -> object:
    """The winners by a journal that is whole."""
    plan, content = finished
    journal(plan).write_bytes(content)
    return winners_of(opened(plan))


def empty(content: bytes) -> bytes:
    return b""


def another_search(content: bytes) -> bytes:
    return content.replace(b'"tiny-', b'"other-')


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(share * len(content))]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes | None], bool | None]] = {  # and whether the journal is set aside
    "deleted": (lambda content: None, False),
    "empty": (empty, False),
    **{f"cut at {share}": (cut(share), None) for share in (0.01, 0.2, 0.4, 0.6, 0.8, 0.99)},
    "cut between lines": (lambda content: b"".join(content.splitlines(True)[:20]), False),
    "of another search": (another_search, False),
    "a line is no JSON": (lambda content: content.replace(b'{"op_code":5', b'{"op_code"-5', 1), True),
    "the last line is no JSON": (lambda content: content[:-3] + b"x}\n", True),
    "a key is lost": (lambda content: content.replace(b'"trial_id"', b'"trial_ie"', 1), True),
    "a value is another": (lambda content: content.replace(b'"state":1,"values":[0.', b'"state":1,"values":[1.'), True),
    "zeros": (lambda content: bytes(len(content)), False),  # a line that was not written to its end
    "text": (lambda content: b"nothing of Optuna's\n", True),
    "JSON": (lambda content: b"[1, 2]\n", True),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_is_built_anew(
    damage: str, finished: tuple[Plan, bytes], before: object, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, content = finished
    damaged, aside = DAMAGES[damage][0](content), DAMAGES[damage][1]
    journal(plan).unlink(missing_ok=True)
    if damaged is not None:
        journal(plan).write_bytes(damaged)
    driver = opened(plan)
    said = capsys.readouterr().err
    assert winners_of(driver) == before
    assert aside in (None, "optuna.journal (" in said and "moved to" in said), said
    assert damage == "cut at 0.99" or "trials of the results; they were added" in said
    driver.total += 1
    (fresh,) = driver.suggest(1)
    assert driver.numbers[fresh.trial_id] == 6
    # Once is enough.
    capsys.readouterr()
    SearchDriver(plan, pytest.fail)
    assert capsys.readouterr().err == ""


def test_flipped_bits_change_no_number(finished: tuple[Plan, bytes], before: object) -> None:
    plan, content = finished
    draw = random.Random(1)
    for _ in range(FLIPS):
        flipped = bytearray(content)
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        journal(plan).write_bytes(bytes(flipped))
        assert winners_of(opened(plan)) == before
    shutil.rmtree(journal(plan).parent / "damaged")


@pytest.fixture
def database(finished: tuple[Plan, bytes], tmp_path: Path) -> Iterator[tuple[Plan, Path, bytes]]:
    """A plan whose search is in a file of SQLite, that file and its content. The store knows that it is its own."""
    plan, file = finished[0], tmp_path / "optuna.db"
    url = f"sqlite:///{file}"
    plan = replace(plan, options=replace(plan.options, storage=url))
    record = read_study(plan.context.store)
    write_study(plan.context.store, {**record, "search": {**record["search"], "storage": url}})
    opened(plan)
    yield plan, file, file.read_bytes()
    write_study(plan.context.store, record)


SQLITE: dict[str, tuple[Callable[[bytes], bytes | None], bool]] = {
    "deleted": (lambda content: None, False),
    "empty": (empty, False),
    **{f"cut at {share}": (cut(share), True) for share in (0.001, 0.1, 0.5, 0.9)},
    "text": (lambda content: b"nothing of Optuna's\n" * 99, True),
}


@pytest.mark.parametrize("damage", SQLITE)
def test_a_damaged_file_of_sqlite_is_built_anew(
    damage: str, database: tuple[Plan, Path, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, file, content = database
    damaged, aside = SQLITE[damage][0](content), SQLITE[damage][1]
    capsys.readouterr()
    file.unlink()
    if damaged is not None:
        file.write_bytes(damaged)
    opened(plan)
    said = capsys.readouterr().err
    assert "trials of the results; they were added" in said
    assert (f"; moved to {file}.damaged-" in said) == aside
    assert [path.read_bytes() for path in file.parent.glob("*.damaged-*")] == ([damaged] if aside else [])


def test_a_database_of_others_is_not_moved(
    database: tuple[Plan, Path, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """One that this store did not use, and one that holds another search too."""
    plan, file, content = database
    url = f"sqlite:///{file}"
    storage = optuna.storages.RDBStorage(url)
    optuna.create_study(storage=storage, study_name="other")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE trial_values SET value = 0.99")
        connection.commit()
    with pytest.raises(UserError, match=r"another val_acc than in the results.*Name another --storage, or none"):
        SearchDriver(plan, pytest.fail)
    write_study(plan.context.store, {**read_study(plan.context.store), "search": {"storage": "optuna.journal"}})
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"is damaged .*Move it away or name another --storage"):
        SearchDriver(plan, pytest.fail)
    assert file.read_bytes() == content[: len(content) // 2]


def test_numbers_with_gaps_and_repeats_are_kept(finished: tuple[Plan, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Suggestions that repeated another have no row; a search that once forgot gave numbers twice."""
    plan, content = finished
    journal(plan).write_bytes(content)
    driver = SearchDriver(plan, pytest.fail)
    numbers = dict(zip((each.key for each in driver.stored), (0, 3, 4, 4, 2, None), strict=True))
    read = rebuild.stored_configurations

    def renumbered(*arguments: Any) -> list[rebuild.Stored]:
        found = [replace(each, number=numbers[each.key]) for each in read(*arguments)]
        return sorted(found, key=lambda each: (each.number is None, each.number))

    monkeypatch.setattr("scl.search.driver.stored_configurations", renumbered)
    for again in (False, True):
        if not again:
            journal(plan).unlink()
        driver = SearchDriver(plan, pytest.fail)
        assert set(driver.numbers) == set(numbers)
        assert {driver.numbers[i] for i, n in numbers.items() if n in (0, 2, 3)} == {0, 2, 3}
        assert sorted(driver.numbers.values()) == [0, 2, 3, 4, 5, 6]
        assert driver.suggested == 7


def test_a_search_whose_journal_was_deleted_goes_on(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    before = stored(tmp_path)
    (tmp_path / "tiny" / JOURNAL).unlink()
    assert search(tmp_path, "--trials", "8") == 0
    after = stored(tmp_path)
    assert sorted(after[after["arm"] == "search"]["number"]) == list(range(8))
    kept = after[after["trial_id"].isin(before["trial_id"])]
    assert list(kept["ended"]) == list(before["ended"])
    assert [trial.number for trial in known(tmp_path)] == list(range(8))
