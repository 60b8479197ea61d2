"""declared.json: its hash, and what a reader says if it was changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scl.store.declaration import NAME, hash_fits, joined, parts_of, read_declaration, signed, write_declaration
from scl.store.files import Folder, open_folder

CONTENT: dict[str, Any] = {
    "study": "s", "baseline": "baseline", "arms": {"baseline": {}, "k\u00fc": {"lr": 0.1}}, "seeds": [0, 1],
    "plan": [{"arm": "baseline", "seed": 0, "trial_id": "a"}], "metric": "test_acc", "rule": {"seeds": 2},
    "when": "2026-01-01T00:00:00+00:00", "contrasts": [],
}  # fmt: skip


def store_with(out: Path, declared: dict[str, Any]) -> Folder:
    store = open_folder(str(out))
    write_declaration(store, declared)
    return store


def test_the_hash_is_that_of_the_canonical_json_by_the_standard_library_alone(tmp_path: Path) -> None:
    store_with(tmp_path, signed(CONTENT))
    found = json.loads((tmp_path / NAME).read_text(encoding="utf-8"))
    given = found.pop("sha256")
    assert hashlib.sha256(json.dumps(found, sort_keys=True, separators=(",", ":")).encode()).hexdigest() == given
    assert found == CONTENT


def test_an_untouched_declaration_has_no_faults(tmp_path: Path) -> None:
    declared = signed(CONTENT)
    found = read_declaration(store_with(tmp_path, declared), {"declaration": declared})
    assert found is not None
    assert found.intact
    assert not found.faults
    assert (found.when, found.signature, found.parts) == (CONTENT["when"], declared["sha256"], (declared,))
    assert read_declaration(open_folder(str(tmp_path / "other")), {}) is None


def edited(**fields: Any) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | fields)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (edited(seeds=[0, 1, 2]), "the file was changed after it was written"),
        (edited(sha256="0" * 64), "the file was changed after it was written"),
        (edited(sha256=None), "the file was changed after it was written"),
        (edited(parts=[3]), "the file was changed after it was written"),
        (lambda text: json.dumps(signed(CONTENT | {"metric": "test_loss"})), "is another declaration"),
        (lambda text: text[:-9], "cannot be read"),
        (lambda text: "[1]", "cannot be read"),
        (lambda text: '{"seeds": NaN}', "cannot be read"),
        (None, "is missing; study.json has its content"),
    ],
)
def test_a_changed_file_is_named_and_the_copy_in_the_study_counts(
    edit: Callable[[str], str] | None, said: str, tmp_path: Path
) -> None:
    declared = signed(CONTENT)
    store, file = store_with(tmp_path, declared), tmp_path / NAME
    if edit:
        file.write_text(edit(file.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        file.unlink()
    found = read_declaration(store, {"declaration": declared})
    assert found is not None
    assert found.parts == (declared,)
    assert found.intact
    (fault,) = found.faults
    assert said in fault


@pytest.mark.parametrize(
    ("study", "said", "seeds"),
    [
        ({}, ["study.json does not have the declaration"], [0, 1]),
        ({"declaration": signed(CONTENT) | {"seeds": [0]}}, ["study.json does not fit"], [0]),
    ],
)
def test_a_changed_or_lost_copy_is_named(study: dict[str, Any], said: list[str], seeds: Any, tmp_path: Path) -> None:
    found = read_declaration(store_with(tmp_path, signed(CONTENT)), study)
    assert found is not None
    assert found.parts[0]["seeds"] == seeds
    assert all(any(text in fault for fault in found.faults) for text in said)


def test_fields_of_another_type_are_left_out_and_too_little_is_nothing(tmp_path: Path) -> None:
    found = read_declaration(store_with(tmp_path, signed(CONTENT | {"contrasts": [{"question": 3}], "git": 1})), {})
    assert found is not None
    assert found.parts[0]["contrasts"] == []
    assert "git" not in found.parts[0]
    nothing = read_declaration(store_with(tmp_path, signed({"seeds": "all"})), {})
    assert nothing is not None
    assert not nothing.parts
    assert nothing.faults


def test_the_declarations_of_several_stores_are_parts_of_one() -> None:
    one, two = signed(CONTENT), signed(CONTENT | {"seeds": [2, 3]})
    assert joined([None, None]) is None
    assert joined([one, None, one]) == one
    both = joined([one, two, None])
    assert both is not None
    assert hash_fits(both)
    assert parts_of(both) == [one, two]
    assert joined([both, one]) == both
