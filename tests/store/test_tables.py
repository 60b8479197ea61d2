"""Tables and parts together."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scl.errors import RunFailed, UserError
from scl.store import checksums, editions, parts
from scl.store.checksums import from_part, to_parquet, to_part
from scl.store.files import Folder
from scl.store.parts import write_part
from scl.store.results import read_results
from scl.store.schema import ADDED, EPOCHS, PREDICTIONS, now
from scl.store.tables import compact, mend, read_tables, read_trials, reference_rows, write_reference_predictions
from scl.study.config import Config
from scl.study.identity import canonical_json
from scl.study.params import column, params
from scl.study.term import Term
from tests.support.parts import put_part, read_predictions

ROW = {"arm": "a", "seed": 0, "state": "completed", "ended": now()}


def test_parts_are_read_with_and_without_compaction(store: Folder) -> None:
    put_part(store, "t0")
    put_part(store, "t1", "failed", epochs=1)
    before = read_results(store)
    compact(store, before.study)
    after = read_results(store)
    assert (store / "parts").names() == []
    for one in (before, after):
        assert list(one.trials["trial_id"]) == ["t0", "t1"]
        assert len(one.epochs) == 3
        assert list(one.plan_states()["state"]) == ["completed", "failed", "missing"]
    assert set(after.trials["arm"]) == {"renamed"}
    assert pq.read_schema(Path(store.path) / "epochs.parquet").field("term.kd").type == "float"


def test_a_later_success_replaces_a_failure_and_its_epochs(store: Folder) -> None:
    put_part(store, "t0", "failed", accuracy=0.1, epochs=1)
    compact(store, {})
    put_part(store, "t0", accuracy=0.9, epochs=3)
    read = read_results(store)
    assert list(read.trials["test_acc"]) == [0.9]
    assert list(read.epochs["epoch"]) == [1, 2, 3]


def test_a_failure_never_replaces_a_success(store: Folder) -> None:
    put_part(store, "t0", accuracy=0.9)
    compact(store, {})
    put_part(store, "t0", "failed", accuracy=0.1, epochs=1)
    compact(store, {})
    read = read_results(store)
    assert list(read.trials["test_acc"]) == [0.9]
    assert len(read.epochs) == 2


BEFORE, AFTER = now() - timedelta(days=400), now() + timedelta(days=400)  # by a clock that was wrong


@pytest.mark.parametrize("between", ["no compaction", "compaction", "compaction of both"])
@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"run": 1, "ended": AFTER}, {"run": 2, "ended": BEFORE}),
        ({"run": 9, "ended": AFTER}, {"run": 10, "ended": BEFORE}),
        ({"ended": AFTER}, {"run": 1, "ended": BEFORE}),  # a version that did not count runs wrote the first
        ({"run": 3, "ended": AFTER}, {"run": 4, "ended": None}),
        ({"ended": BEFORE}, {"ended": AFTER}),
    ],
)
@pytest.mark.parametrize("state", ["pruned", "failed"])
def test_the_row_of_the_later_run_counts_whatever_clocks_say(
    state: str, earlier: dict[str, Any], later: dict[str, Any], between: str, store: Folder
) -> None:
    put_part(store, "t0", "failed", accuracy=0.1, epochs=1, **earlier)
    if between != "no compaction":
        compact(store, {})
    put_part(store, "t0", state, accuracy=0.2, epochs=2, **later)
    if between == "compaction of both":
        compact(store, {})
        compact(store, {})
    read = read_results(store)
    assert [(row["state"], row["test_acc"]) for row in read.trials.to_dict("records")] == [(state, 0.2)]
    assert len(read.epochs) == 2


def test_a_part_without_a_count_is_later_than_the_table(store: Folder) -> None:
    put_part(store, "t0", "failed", accuracy=0.1, ended=AFTER)
    compact(store, {})
    put_part(store, "t0", "pruned", accuracy=0.2, ended=BEFORE)
    assert list(read_trials(store)["state"]) == ["pruned"]


def test_a_table_of_an_earlier_version_has_no_count_and_needs_none(store: Folder) -> None:
    put_part(store, "t0")
    compact(store, {})
    old = pq.ParquetFile(Path(store.path) / "trials.parquet").read().drop_columns(["run"])
    for folder in (store, store / "copies"):
        folder.write("trials.parquet", to_parquet(old))
    read = read_results(store)
    assert read.remarks == ()
    assert read.trials["run"].isna().all()


def test_compaction_killed_before_it_removed_its_parts_duplicates_nothing(store: Folder) -> None:
    put_part(store, "t0")
    (name,) = (store / "parts").names()
    content = (store / "parts").read(name)
    compact(store, {})
    (store / "parts").write(name, content)
    read = read_results(store)
    assert len(read.trials) == 1
    assert len(read.epochs) == 2
    assert len(read_predictions(store)) == 1


def test_parts_of_several_kinds_keep_their_order(store: Folder) -> None:
    """Rows come in the order of the names of the parts, whatever columns they have."""
    for i, term in enumerate(["kd", "at", "kd", "at", "kd"]):
        row = {**ROW, "trial_id": f"t{i}", f"param.{term}": 1.0}
        rows = [{"trial_id": f"t{i}", "epoch": e, f"term.{term}": float(i)} for e in (1, 2)]
        write_part(store, row, rows, np.array([i]) if i != 1 else None)
    for _ in range(2):
        read = read_results(store)
        assert list(read.trials["trial_id"]) == [f"t{i}" for i in range(5)]
        assert list(read.epochs["trial_id"]) == [f"t{i}" for i in range(5) for _ in (1, 2)]
        assert read.epochs["term.kd"].dropna().tolist() == [0, 0, 2, 2, 4, 4]
        assert [p.tolist() for p in read_predictions(store)["predicted"]] == [[0], [2], [3], [4]]
        compact(store, {})


def test_other_columns_of_later_code_join_as_nulls(store: Folder) -> None:
    put_part(store, "t0")
    compact(store, {})
    row = {**ROW, "trial_id": "t1", "param.k": 3}
    write_part(store, row, [{"trial_id": "t1", "epoch": 1, "term.at": 2.0}], None)
    read = read_results(store)
    assert read.trials["param.k"].isna().tolist() == [True, False]
    assert read.epochs["term.at"].notna().sum() == 1


@dataclass(frozen=True)
class Edit:
    """What somebody did to trials.parquet. moved: a writer moves it aside if there is a copy, or if there is none."""

    change: Callable[[bytes], bytes]
    says: str
    moved: bool = True
    used: bool = False  # without a copy, its rows are read


def as_pandas_writes(content: bytes) -> bytes:
    frame = pq.ParquetFile(pa.BufferReader(content)).read().to_pandas().assign(test_acc=0.99)
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def with_column(name: str, values: pa.Array | None, checked: bool) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
        at = table.schema.get_field_index(name)
        table = table.remove_column(at) if values is None else table.set_column(at, name, values)
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(None), buffer)
        return to_parquet(table) if checked else buffer.getvalue()

    return change


EDITS = {
    "one byte": Edit(lambda content: content[:-1] + b"x", "cut off"),
    "truncated": Edit(lambda content: content[:200], "cut off"),
    "empty": Edit(lambda content: b"", "cut off"),
    "text": Edit(lambda content: b"trial_id,arm\nt0,a\n" * 3, "cut off"),
    "a bit of a page": Edit(lambda content: content[:60] + bytes([content[60] ^ 1]) + content[61:], "does not match"),
    "pandas": Edit(as_pandas_writes, "another program than scl wrote it", used=True),
    "no trial_id": Edit(with_column("trial_id", None, True), "no table of trials: it has no column 'trial_id'"),
    "text seeds": Edit(with_column("seed", pa.array(["x"]), True), "its column 'seed' is of type string, not int64"),
    "epochs": Edit(lambda content: to_parquet(EPOCHS.empty_table()), "no table of trials: it has no column 'arm'"),
}


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("copy", [True, False], ids=["copy", "no copy"])
def test_an_edited_table_is_named_and_its_copy_is_used(
    store: Folder, name: str, copy: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader changes nothing. A writer puts the copy in its place, and moves the file aside."""
    edit = EDITS[name]
    put_part(store, "t0")
    compact(store, {})
    if not copy:
        (store / "copies").remove("trials.parquet")
    content, edited = store.read("trials.parquet"), edit.change(store.read("trials.parquet"))
    store.write("trials.parquet", edited)
    before = files(store)
    read = read_results(store)
    assert files(store) == before
    assert read.trials["test_acc"].tolist() == ([0.5] if copy else [0.99] if edit.used else [])
    (remark,) = read.remarks
    assert remark.startswith("trials.parquet: ")
    assert edit.says in remark
    assert f"{store}/{remark}" in capsys.readouterr().err
    mend(store)
    if copy:
        assert store.read("trials.parquet") == content
        assert read_results(store).remarks == ()
    assert len((store / "damaged").names()) == (copy or not edit.used)
    compact(store, {})
    assert store.read("trials.parquet") == (store / "copies").read("trials.parquet")
    assert bool(read_results(store).remarks) == (edit.used and not copy)  # rows of unknown origin stay marked


def files(store: Folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(store.path).rglob("*") if path.is_file()}


@pytest.mark.parametrize("lacking", ["teacher_kl", "number", "restarts", "param.lr", "ece_floor"])
def test_a_table_that_lacks_what_later_ones_have_is_read(store: Folder, lacking: str) -> None:
    put_part(store, "t0")
    compact(store, {})
    for folder in (store, store / "copies"):
        folder.write("trials.parquet", with_column(lacking, None, True)(folder.read("trials.parquet")))
    read = read_results(store)
    assert read.trials["trial_id"].tolist() == ["t0"]
    told = not lacking.startswith("param.") and lacking not in ADDED["trials"]
    assert [lacking in remark for remark in read.remarks] == [True] * told


@pytest.mark.parametrize(
    "values",
    [
        (None, 2),
        (2, None),
        (True, 2),
        (True, "word"),
        (2, "word"),
        (0.5, "word"),
        (2, 0.5),
        (2**62 + 1, 0.5),
        (None, True, 2, 0.5, "word", [1, 2], {"a": 1}),
    ],
    ids=repr,
)
def test_an_option_may_be_of_another_type_in_each_arm(store: Folder, values: tuple[Any, ...]) -> None:
    """Neither as parts, nor as a table and a part, in any order, is a value lost or a row unreadable."""
    texts = {value if isinstance(value, str) else canonical_json(value) for value in values}
    texts = {"2.0", "0.5"} if values == (2, 0.5) else texts
    for i, value in enumerate(values):
        config = Config(losses={"m": Term(1.0, loss=loss, options={"option": value})})
        row = {**ROW, "trial_id": f"t{i}", **{column(name): v for name, v in params(config).items()}}
        write_part(store, row, [], None)
        if i == 0:
            compact(store, {})
    for _ in range(2):
        read = read_results(store)
        found = read.trials["param.m.option"].tolist()
        assert read.remarks == ()
        assert {v if isinstance(v, str) else canonical_json(v) for v in found} == texts
        compact(store, {})


def loss(student: Any, teacher: Any, option: Any = 0) -> Any:
    return student


@pytest.mark.parametrize("error", [MemoryError, pa.lib.ArrowMemoryError, PermissionError])
@pytest.mark.parametrize("at", ["trials.parquet", "parts"])
def test_what_could_not_be_read_is_not_damaged(
    store: Folder, at: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_part(store, "t0")
    compact(store, {})
    put_part(store, "t1")
    before = files(store)

    def fails(*arguments: object) -> None:
        raise error(13, "Permission denied") if error is PermissionError else error("no memory")

    read = Folder.read

    def refuse(self: Folder, name: str) -> bytes:
        if at in f"{self.path}/{name}":
            fails()
        return read(self, name)

    with monkeypatch.context() as patch:
        if error is PermissionError:
            patch.setattr(Folder, "read", refuse)
        elif at == "parts":
            patch.setattr(parts, "from_part", fails)
        else:
            patch.setattr(editions, "from_parquet", fails)
        for work in (read_results, read_trials, mend, lambda s: compact(s, {})):
            with pytest.raises(RunFailed, match=rf"{at}.*(not enough memory|you have no permission)"):
                work(store)
    assert files(store) == before


@pytest.mark.parametrize("part", [True, False], ids=["part", "table"])
def test_a_file_of_a_newer_version_stays_where_it_is(
    store: Folder, part: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checksums, "SCHEMA_VERSION", 2)
        put_part(store, "t0")
        if not part:
            compact(store, {})
    before = files(store)
    for work in (read_results, mend, lambda s: compact(s, {})):
        with pytest.raises(UserError, match=r"a newer scl wrote .*its schema is 2, this version reads 1"):
            work(store)
    assert files(store) == before


@pytest.mark.parametrize("when", range(6))
def test_a_reader_beside_a_run_that_compacts_misses_nothing(
    store: Folder, when: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run compacts just before the reader's read number `when`: of two parts, and of three tables."""
    put_part(store, "t0")
    compact(store, {})
    put_part(store, "t1")
    put_part(store, "t2")
    names = (store / "parts").names()
    read, reads = Folder.read, iter(range(100))

    def beside(self: Folder, name: str) -> bytes:
        if next(reads) == when:
            monkeypatch.setattr(Folder, "read", read)
            compact(store, {})
        return read(self, name)

    monkeypatch.setattr(Folder, "read", beside)
    tables = read_tables(store, names, "trials", "epochs", "predictions")
    for table in tables:
        assert sorted(set(table["trial_id"].to_pylist())) == ["t0", "t1", "t2"]
    assert len(tables[1]) == 6


def test_a_part_that_is_none_stays_and_hides_no_other(store: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    place = store / "parts"
    put_part(store, "t0")
    place.write("foreign-1.arrows.zst", to_part(pa.table({"a": [1]})))
    put_part(store, "t1")
    nameless = from_part(place.read(place.names()[-1])).drop_columns(["arm"])
    place.write("nameless-1.arrows.zst", to_part(nameless))
    place.write("notes.txt", b"mine")
    Path(place.path, "folder.arrows.zst").mkdir()
    compact(store, {})
    read = read_results(store)
    assert read.trials["trial_id"].tolist() == ["t0", "t1"]
    assert place.names() == ["foreign-1.arrows.zst", "nameless-1.arrows.zst", "notes.txt"]
    said = capsys.readouterr().err
    for name in (*place.names(), "folder.arrows.zst"):
        assert f"{store}/parts/{name}: it is no" in said or f"{store}/parts/{name}: it is a folder" in said


def test_the_gap_closed_is_counted_from_the_same_seeds_baseline(store: Folder) -> None:
    accuracies = {("base", 0): 0.5, ("kd", 0): 0.6, ("base", 1): 0.7, ("kd", 1): 0.65, ("base", 2): 0.9, ("kd", 2): 1.0}
    plan = []
    for (arm, seed), accuracy in accuracies.items():
        row = {"trial_id": f"{arm}{seed}", "arm": arm, "seed": seed, "state": "completed", "ended": now()}
        write_part(store, {**row, "test_acc": accuracy, "teacher_test_acc": 0.8}, [], None)
        plan.append({"arm": arm, "seed": seed, "trial_id": f"{arm}{seed}"})
    for _ in range(2):
        compact(store, {"plan": plan, "baseline": "base"})
        closed = read_trials(store).set_index("trial_id")["gap_closed"]
        assert closed[["kd0", "kd1"]].tolist() == pytest.approx([1 / 3, -0.5])
        assert closed[["base0", "base1", "base2", "kd2"]].isna().all()  # at seed 2 the teacher is below the baseline
    compact(store, {"plan": plan[:2], "baseline": "base"})
    assert read_trials(store).set_index("trial_id")["gap_closed"]["kd1"] == pytest.approx(-0.5)  # left as it was


def test_reference_predictions_are_added_and_replaced(store: Folder) -> None:
    put_part(store, "t0")
    write_reference_predictions(store, {"labels": np.arange(3), "teacher": np.arange(4)})
    write_reference_predictions(store, {"labels": np.arange(5)})
    found = read_predictions(store).set_index("trial_id")["predicted"]
    assert sorted(found.index) == ["labels", "t0", "teacher"]
    assert found["labels"].tolist() == [0, 1, 2, 3, 4]


def test_predictions_of_many_trials_are_not_made_lists() -> None:
    images, trials = 10_000, 100
    row = pa.array(np.zeros(images, np.uint16))
    names = [*map(str, range(trials)), "teacher"]
    offsets = pa.array(range(0, (trials + 2) * images, images), pa.int32())
    predicted = pa.ListArray.from_arrays(offsets, pa.concat_arrays([row] * len(names)))
    table = pa.Table.from_arrays([pa.array(names), predicted], schema=PREDICTIONS)
    tracemalloc.start()
    try:
        assert reference_rows(table, ["teacher", "another"]) == {"teacher": [0] * images}
        assert reference_rows(table, []) == {}
        assert tracemalloc.get_traced_memory()[1] < 10 * 8 * images  # all of them would be 100 lists
    finally:
        tracemalloc.stop()
