"""Logits of trials: their file, its checksum, and what readers say without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from scl.errors import UserError
from scl.store.files import Folder, open_folder
from scl.store.logits import LOGITS, bytes_of, logits_fault, lost_logits, pack_logits, read_logits
from scl.store.results import Results

RNG = np.random.default_rng(0)
TEST, VAL = (RNG.normal(0, 5, (n, 7)).astype(np.float32) for n in (40, 11))
LABELS = {"test": RNG.integers(0, 7, 40), "val": RNG.integers(0, 7, 11)}
ROW = {"trial_id": "t0", "arm": "kd", "seed": 0, "state": "completed", "logits_bytes": 100.0}


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    folder = open_folder(str(tmp_path))
    packed = pack_logits({"test": (TEST, LABELS["test"]), "val": (VAL, LABELS["val"])})
    (folder / "checkpoints" / "t0").write(LOGITS, packed)
    return folder


def results(store: Folder | None, **columns: object) -> Results:
    plan = [{"arm": "kd", "seed": 0, "trial_id": "t0"}]
    return Results(pd.DataFrame([{**ROW, **columns}]), pd.DataFrame(), {"plan": plan}, store=store)


@pytest.mark.parametrize(("part", "logits"), [("test", TEST), ("val", VAL)])
def test_logits_come_back_as_float16(store: Folder, part: str, logits: np.ndarray) -> None:
    found, labels = read_logits(store, "t0", part)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, logits.astype(np.float16))
    np.testing.assert_array_equal(labels, LABELS[part])
    np.testing.assert_array_equal(results(store).logits("kd/0", part), found)
    np.testing.assert_array_equal(results(store).logits("t", part), found)


def test_any_reader_of_parquet_reads_the_file(store: Folder) -> None:
    table = pq.read_table(f"{store.path}/checkpoints/t0/{LOGITS}")
    assert table.schema.names == ["part", "label", "logits"]
    assert table["part"].to_pylist() == ["test"] * 40 + ["val"] * 11


def test_logits_beyond_float16_stay_finite_and_keep_their_order(tmp_path: Path) -> None:
    store = open_folder(str(tmp_path))
    wide = np.array([[-1e9, 0.0, 1e9]], dtype=np.float32)
    (store / "checkpoints" / "t0").write(LOGITS, pack_logits({"test": (wide, np.array([2]))}))
    found, _ = read_logits(store, "t0", "test")
    assert np.isfinite(found).all()
    assert found.argmax() == 2
    assert len(read_logits(store, "t0", "val")[0]) == 0  # a run without validation images


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    return content[:300] + bytes([content[300] ^ 1]) + content[301:]


@pytest.mark.parametrize(
    ("change", "fault"),
    [(cut, "is damaged: it is cut off"), (flipped, "is damaged: its checksum does not match"), (None, "is missing")],
)
def test_lost_logits_are_found(store: Folder, change: object, fault: str) -> None:
    files = store / "checkpoints" / "t0"
    content = files.read(LOGITS)
    files.remove(LOGITS)
    if callable(change):
        files.write(LOGITS, change(content))
    assert logits_fault(store, "t0") == fault
    assert lost_logits(store, [ROW], thorough=True) == {"t0": fault}
    assert lost_logits(store, [ROW]) == ({} if change else {"t0": fault})
    with pytest.raises(UserError, match=fault):
        results(store).logits("kd/0")


@pytest.mark.parametrize("row", [{"logits_bytes": np.nan}, {"state": "pruned"}, {"state": "failed"}])
def test_trials_without_logits_have_lost_none(tmp_path: Path, row: dict[str, object]) -> None:
    assert lost_logits(open_folder(str(tmp_path)), [{**ROW, **row}], thorough=True) == {}


def test_what_is_not_there_is_explained(store: Folder) -> None:
    with pytest.raises(UserError, match="--no-logits"):
        results(store, logits_bytes=np.nan).logits("kd/0")
    with pytest.raises(UserError, match=r"unknown part 'train'.*test, val"):
        results(store).logits("kd/0", "train")
    with pytest.raises(UserError, match="unknown trial 'sp/0'"):
        results(store).logits("sp/0")


def test_their_size_before_compression() -> None:
    packed = pack_logits({"test": (np.zeros((1000, 10), np.float32), np.zeros(1000, np.int64))})
    assert len(packed) < bytes_of(1, 1000, 10) == 20_000
