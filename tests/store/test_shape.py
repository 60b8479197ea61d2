"""The fields of study.json: what does not fit is left out and named; what scl wrote fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scl.store.shape import STUDY, fitted
from tests.support.edits import WRONG
from tests.support.synthetic import ARMS, make_store

ROOT = Path(__file__).parents[2]
STORES = sorted([*ROOT.glob("tests/golden/*/study.json"), *ROOT.glob("benchmarks/results/*/study.json")])


def golden() -> dict[str, Any]:
    return dict(json.loads((ROOT / "tests" / "golden" / "search" / "study.json").read_text()))


@pytest.mark.parametrize("path", STORES, ids=lambda path: path.parent.name)
def test_what_earlier_versions_wrote_fits(path: Path) -> None:
    study = json.loads(path.read_text())
    assert len(STORES) > 3
    assert repr(fitted(study)) == repr((study, []))  # 1.0 does not become 1


def test_what_this_version_writes_fits(small: Path, tmp_path: Path) -> None:
    make_store(tmp_path / "made", ARMS)
    for path in (small, tmp_path / "made"):
        study = json.loads((path / "study.json").read_text())
        assert fitted(study) == (study, [])


@pytest.mark.parametrize("field", STUDY.of)
def test_a_field_of_another_type_is_left_out_and_named(field: str) -> None:
    study = golden()
    for kind, value in WRONG.items():
        found, problems = fitted(study | {field: value})
        kept = found.get(field, ...)
        assert {k: v for k, v in found.items() if k != field} == {k: v for k, v in study.items() if k != field}
        assert (kept == value) == (not problems), (kind, kept)
        assert all(problem.startswith(field) for problem in problems)


@pytest.mark.parametrize(
    ("field", "value", "kept", "says"),
    [
        ("plan", [{"arm": "a", "seed": 0, "trial_id": "t"}, {"arm": "a", "seed": 0}], 1, "plan[1] has no trial_id"),
        ("plan", [{"arm": "a", "seed": "0", "trial_id": "t"}], 0, "plan[0].seed must be a whole number, got '0'"),
        ("plan", [{"arm": "a", "seed": True, "trial_id": "t"}], 0, "plan[0].seed must be a whole number, got True"),
        ("looks", "twice", None, "looks must be a list, got 'twice'"),
        ("looks", [{"when": "now", "seeds": {"0": 1}}], 0, "looks[0].seeds must be a list or a whole number"),
        ("arms", {"a": {"losses": {"kd": 1}}}, {"a": {"losses": {}}}, "arms.a.losses.kd must be a dict, got 1"),
        ("data", {"test": 1e400}, {}, "data.test must be a whole number, got inf"),
        ("data", {"test": 10**30}, {}, "data.test must be a whole number"),
        ("teacher", {"test_acc": {"all": "x", "0": 0.5}}, {"test_acc": {"0": 0.5}}, "teacher.test_acc.all must be"),
        ("published", {"source": "x"}, None, "published has no accuracy"),
        ("search_space", {"lr": 3}, {}, "search_space.lr must be a dict, got 3"),
        # A contrast without one of its weights is another contrast.
        ("contrasts", [{"question": "q", "weights": {"a": 1, "b": -1, "c": "x"}}], 0, "contrasts[0].weights.c must be"),
        ("contrasts", [{"question": "q", "weights": {"a": 1, "b": -0.5}}], 0, "of two arms or more that sum to 0, got"),
        ("contrasts", [{"question": "q", "weights": {}}], 0, "must be weights of two arms or more"),
        ("contrasts", [{"weights": {"a": 1, "b": -1}}], 0, "contrasts[0] has no question"),
        ("margin", 1.5, None, "margin must be a fraction above 0 and below 1"),
        ("planned_looks", [5, 3], None, "planned_looks must be numbers of seeds that rise, from 2"),
        ("planned_looks", [3, "5"], None, "planned_looks[1] must be a whole number"),
        ("stein", {"between": ["a"], "width": 0.1}, None, "stein.between must be two arms"),
    ],
)
def test_the_smallest_part_is_left_out(field: str, value: Any, kept: Any, says: str) -> None:
    found, (problem,) = fitted({field: value})
    left = found.get(field)
    assert (len(left) if isinstance(kept, int) and isinstance(left, list) else left) == kept
    assert says in problem
