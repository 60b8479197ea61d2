"""study.json."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.errors import UserError
from scl.store.files import Folder
from scl.store.results import load
from scl.store.study_file import check_study, read_study, write_study


def test_no_store_and_a_broken_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has no study\.json"):
        load(str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.json").write_text("{}")
    with pytest.raises(UserError, match=r"its studies are \S+mine$"):
        load(str(tmp_path))
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"is damaged \(it is not JSON"):
        load(str(tmp_path))
    (tmp_path / "study.json").write_text('{"schema_version": 99}')
    with pytest.raises(UserError, match="a newer scl"):
        load(str(tmp_path))


def test_a_study_comes_back_as_it_was_written(store: Folder) -> None:
    study = {"schema_version": 1, "name": "é", "numbers": [1, 0.1, None], "nested": {"2": True}}
    write_study(store, study)
    assert read_study(store) == study
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_study(store, {"accuracy": float("nan")})
    assert read_study(store) == study


def test_a_changed_study_is_damaged_and_set_aside(store: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    check_study(store)
    store.write("study.json", store.read("study.json").replace(b"renamed", b"renamee"))
    with pytest.raises(UserError, match=r"study\.json is damaged \(its checksum does not match\); run the same"):
        read_study(store)
    check_study(store)
    assert not store.exists("study.json")
    (name,) = (store / "damaged").names()
    assert f"damaged/{name}" in capsys.readouterr().err
    check_study(store)


def test_a_study_of_a_newer_version_is_left_where_it_is(store: Folder) -> None:
    write_study(store, {"schema_version": 99})
    with pytest.raises(UserError, match=r"a newer scl wrote .*schema 99.*update scl"):
        check_study(store)
    assert store.exists("study.json")
