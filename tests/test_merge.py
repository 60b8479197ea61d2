"""`scl merge`: parts of a study, trained apart, as one store."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scl.errors import UserError
from scl.merge import MARK, merge
from scl.store.editions import write_edition
from scl.store.files import Folder, open_folder
from scl.store.merging import NOT_NUMBERS
from scl.store.parts import write_part
from scl.store.results import Results, load
from scl.store.schema import SCHEMAS
from scl.store.study_file import read_study, write_study
from scl.store.tables import read_tables
from scl.students.student import load_student
from scl.train import checkpoint
from tests.support.pages import Page
from tests.support.parts import read_predictions
from tests.support.plans import SHORT, STUDY
from tests.support.studies import run_study

WHOLE = (*SHORT, "--seeds", "3")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study in a, b and c: seeds 0 and 1; seed 2 but for one arm; one arm of seeds 1 and 2. `whole`: in one run."""
    out = tmp_path_factory.mktemp("runs")
    for name, flags in {
        "a": ["--seed-list", "0-1"],
        "b": ["--seed-list", "2", "--arms", "kd"],
        "c": ["--seed-list", "2,1", "--arms", "at"],
        "whole": ["--seeds", "3"],
    }.items():
        assert run_study(STUDY, *SHORT, *flags, "--out", str(out / name)) == 0
    return out


@pytest.fixture
def parts(runs: Path, tmp_path: Path) -> list[str]:
    """A copy of a, b and c."""
    for name in "abc":
        shutil.copytree(runs / name, tmp_path / name)
    return [str(tmp_path / name) for name in "abc"]


def numbers(read: Results) -> pd.DataFrame:
    return read.trials.drop(columns=list(NOT_NUMBERS - {"study", "arm", "gap_closed"}))


def test_the_merged_store_is_that_of_one_run(
    runs: Path, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every number, bit by bit: trials, epochs, predictions, weights. Then nothing is left to train."""
    out = tmp_path / "all"
    assert merge(parts, str(out)) == 0
    assert "3 stores, 9 trials done, 9 planned" in capsys.readouterr().err
    for _ in range(2):  # the second time after the run of the whole study
        merged, whole = load(str(out / "tiny")), load(str(runs / "whole" / "tiny"))
        pd.testing.assert_frame_equal(numbers(merged), numbers(whole), check_exact=True)
        pd.testing.assert_frame_equal(merged.epochs, whole.epochs, check_exact=True)
        assert merged.plan_states().equals(whole.plan_states())
        stores = (open_folder(str(out / "tiny")), open_folder(str(runs / "whole" / "tiny")))
        one, two = (read_predictions(store).sort_values("trial_id", ignore_index=True) for store in stores)
        pd.testing.assert_frame_equal(one, two)
        assert run_study(STUDY, *WHOLE, "--out", str(out)) == 0
        assert "nothing to train" in capsys.readouterr().err
    for trial in merged.trials.itertuples():
        student, same = (load_student(str(p), trial.trial_id) for p in (out / "tiny", runs / "whole" / "tiny"))
        assert all(torch.equal(v, same.state_dict()[k]) for k, v in student.state_dict().items())
        assert (merged.logits(trial.trial_id) == whole.logits(trial.trial_id)).all()
    (teacher,) = (out / "teachers").iterdir()
    assert checkpoint.unpack((teacher / "teacher.safetensors").read_bytes())[1]["metrics"]["test_acc"] > 0
    page = (out / "tiny" / "report.html").read_text()
    assert "merged from 3 stores" in page
    assert "9 of 9 planned trials completed" in page
    study = read_study(open_folder(str(out / "tiny")))
    each = list(zip(parts, [[0, 1], [2], [1, 2]], strict=True))
    assert [(part["from"], part["seeds"]) for part in study["merged"]] == each
    assert [(look.get("part"), look["seeds"]) for look in study["looks"]] == [*each, (None, [0, 1, 2])]
    assert study["looks"][-1]["differences"] == whole.study["looks"][-1]["differences"]


def test_the_teachers_that_arms_name_come_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of parts by arms: each teacher, and who taught whom, as after one run."""
    kd = {"losses": {"kd": 1.0}}
    named = {"two": ("teacher", "vgg8"), "own": ("self",), "average": ("ema",)}
    arms = {"baseline": {}, **{arm: {**kd, "taught_by": by, "ema": 0.9} for arm, by in named.items()}}
    study = replace(STUDY, arms=arms)
    once = (*SHORT, "--seeds", "1")
    for name, chosen in (("a", "two"), ("b", "own,average")):
        assert run_study(study, *once, "--arms", chosen, "--out", str(tmp_path / name)) == 0
    assert merge([str(tmp_path / name) for name in "ab"], str(tmp_path / "all")) == 0
    capsys.readouterr()
    assert run_study(study, *once, "--out", str(tmp_path / "all")) == 0
    said = capsys.readouterr().err
    assert "nothing to train" in said
    assert "missing or damaged" not in said
    held = {name: {p.name for p in (tmp_path / name / "teachers").iterdir()} for name in ("a", "b", "all")}
    assert held["all"] == held["a"] | held["b"]
    assert len(held["all"]) == 3
    assert merge([str(tmp_path / name) for name in "ba"], str(tmp_path / "other")) == 0
    of_arms = [read_study(open_folder(str(tmp_path / n / "tiny")))["teacher"]["of_arms"] for n in ("all", "other")]
    assert [entry["arm"] for entry in of_arms[0]] == ["two", "own", "average"]
    assert sorted(map(json.dumps, of_arms[0])) == sorted(map(json.dumps, of_arms[1]))
    assert "“two”: the study’s teacher" in Page((tmp_path / "other" / "tiny" / "report.html").read_text()).text


def test_the_order_of_the_parts_changes_no_number(parts: list[str], tmp_path: Path) -> None:
    for name, order in (("one", parts), ("two", parts[::-1])):
        assert merge(order, str(tmp_path / name)) == 0
    one, two = (load(str(tmp_path / name / "tiny")) for name in ("one", "two"))
    pd.testing.assert_frame_equal(numbers(one), numbers(two), check_exact=True, check_like=True)  # columns in any order


def test_what_has_not_ended_comes_along_and_trains_later(
    parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part whose run was cut off: its checkpoints are copied, and the study's command trains the rest."""
    cut_off = open_folder(f"{parts[1]}/tiny")
    (lost,) = [t["trial_id"] for t in read_study(cut_off)["plan"] if t["arm"] == "kd"]
    tables = {}
    for file in SCHEMAS:
        (table,) = read_tables(cut_off, [], file)
        tables[file] = table.filter([i != lost for i in table["trial_id"].to_pylist()])
    write_edition(cut_off, tables, dict.fromkeys(SCHEMAS, ()))
    shutil.rmtree(f"{parts[1]}/tiny/checkpoints/{lost}")
    (cut_off / "checkpoints" / lost).write("epoch-00001.safetensors", b"0")
    out = tmp_path / "all"
    assert merge(parts, str(out)) == 0
    assert "8 trials done, 9 planned" in capsys.readouterr().err
    assert (out / "tiny" / "checkpoints" / lost / "epoch-00001.safetensors").read_bytes() == b"0"
    assert "1 missing" in (out / "tiny" / "report.html").read_text()
    assert run_study(STUDY, *WHOLE, "--out", str(out)) == 0
    assert "8 done, 1 to train" in capsys.readouterr().err


def test_a_network_that_one_part_has_lost_comes_from_another(
    parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = read_study(open_folder(f"{parts[2]}/tiny"))["plan"][0]["trial_id"]  # the baseline of seed 1, also in a
    Path(f"{parts[2]}/tiny/checkpoints/{twice}/student.safetensors").write_bytes(b"damaged")
    once = next(t["trial_id"] for t in read_study(open_folder(f"{parts[0]}/tiny"))["plan"] if t["seed"] == 0)
    Path(f"{parts[0]}/tiny/checkpoints/{once}/student.safetensors").unlink()
    assert merge(parts, str(tmp_path / "all")) == 0
    assert f"1 networks are missing or damaged in these stores, and cannot be exported: {once[:12]}" in (
        capsys.readouterr().err
    )
    load_student(str(tmp_path / "all" / "tiny"), twice)


# --- what is refused; nothing is written ----------------------------------------------------------------------------


def refused(parts: list[str], out: Path, message: str) -> None:
    with pytest.raises(UserError, match=message):
        merge(parts, str(out))
    assert not (out / "tiny").exists()


def test_a_trial_with_other_numbers(parts: list[str], tmp_path: Path) -> None:
    row = load(f"{parts[0]}/tiny").trials.iloc[0].dropna().to_dict()
    row |= {"test_acc": row["test_acc"] + 1e-9, "ended": pd.Timestamp.now("UTC").to_pydatetime()}
    row = {k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()}
    store = open_folder(f"{parts[1]}/tiny")
    write_part(store, row, [], None)
    at = rf"{row['arm']} seed {row['seed']} \({row['trial_id'][:12]}\) in {parts[0]} and {parts[1]}"
    refused(parts, tmp_path / "all", f"different numbers in several stores:\n  {at}")


def test_a_teacher_with_other_weights(parts: list[str], tmp_path: Path) -> None:
    (file,) = Path(parts[1]).glob("teachers/*/teacher.safetensors")
    tensors, record = checkpoint.unpack(file.read_bytes())
    file.write_bytes(checkpoint.pack({**tensors, "test_logits": tensors["test_logits"] + 1e-6}, record))
    refused(parts, tmp_path / "all", f"was trained twice, with different weights in {parts[0]} and {parts[1]}")


def test_a_teacher_beside_the_new_store_counts_too(parts: list[str], tmp_path: Path) -> None:
    """As when it is merged into the results of other studies."""
    shutil.copytree(f"{parts[0]}/teachers", tmp_path / "all" / "teachers")
    (file,) = (tmp_path / "all").glob("teachers/*/teacher.safetensors")
    tensors, record = checkpoint.unpack(file.read_bytes())
    file.write_bytes(checkpoint.pack({**tensors, "test_logits": tensors["test_logits"] + 1e-6}, record))
    refused(parts, tmp_path / "all", f"was trained twice, with different weights in {parts[0]} and --out")
    shutil.copytree(f"{parts[0]}/teachers", tmp_path / "all" / "teachers", dirs_exist_ok=True)
    assert merge(parts, str(tmp_path / "all")) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--limit", "70"], r"data\.limit: 60 in .*/a, 70 in .*/other"),
        (["--teacher-epochs", "2"], r"teacher\.config\.epochs: 1 in .*/a, 2 in .*/other"),
        (["--set", "weight.kd=2"], r"arms\.kd\.losses\.kd\.weight: 1\.0 in .*/a, 2\.0 in .*/other"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_another_study(flags: list[str], message: str, parts: list[str], tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    assert run_study(STUDY, *SHORT, "--seed-list", "2", "--arms", "kd", *flags, "--out", other) == 0
    refused([parts[0], other], tmp_path / "all", message)


def test_a_search(parts: list[str], tmp_path: Path) -> None:
    store = open_folder(f"{parts[1]}/tiny")
    write_study(store, {**read_study(store), "search_space": {"lr": {"low": 0.01, "high": 0.1}}})
    refused(parts, tmp_path / "all", "is a search, and searches cannot be merged")


def test_places_that_are_no_parts(parts: list[str], tmp_path: Path) -> None:
    refused([parts[0], f"{parts[0]}/tiny"], tmp_path / "all", f"{parts[0]}/tiny is the same store as {parts[0]}")
    refused([parts[0], str(tmp_path / "none")], tmp_path / "all", "no results in .*none")
    shutil.copytree(f"{parts[0]}/tiny", f"{parts[0]}/second")
    refused(parts, tmp_path / "all", f"holds several studies; name one of them, as in {parts[0]}/second")


def test_a_store_that_is_there_already(parts: list[str], tmp_path: Path) -> None:
    (tmp_path / "all" / "tiny").mkdir(parents=True)
    (tmp_path / "all" / "tiny" / "notes.txt").write_text("mine")
    for out in (tmp_path / "all", Path(parts[1])):
        before = sorted(out.rglob("*"))
        with pytest.raises(UserError, match=r"tiny exists already, and a merge makes a new store; name another --out"):
            merge(parts, str(out))
        assert sorted(out.rglob("*")) == before


# --- a merge that was killed ----------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def test_a_killed_merge_leaves_no_store_and_starts_over(
    runs: Path, parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each write in turn: until the last there is no study.json, and then the store is whole."""
    out, written, write = tmp_path / "all", 0, Folder.write

    def counted(self: Folder, name: str, content: bytes, durable: bool = False) -> None:
        nonlocal written
        written += 1
        if written == kill_at:
            raise Killed
        write(self, name, content, durable)

    monkeypatch.setattr(Folder, "write", counted)
    whole = load(str(runs / "whole" / "tiny"))
    kill_at = 4  # the fourth write, after a test of the folder, the lock and the mark
    while True:
        written = 0
        try:
            merge(parts, str(out))
            break
        except Killed:
            if (out / "tiny" / "study.json").exists():  # what comes after is the page
                break
            assert (out / "tiny" / MARK).exists()
            kill_at += 1
            with pytest.raises(UserError, match="no results in"):
                load(str(out / "tiny"))
    assert kill_at > 20
    pd.testing.assert_frame_equal(numbers(load(str(out / "tiny"))), numbers(whole), check_exact=True)
    assert json.loads((out / "tiny" / "study.json").read_bytes())["seeds"] == [0, 1, 2]
