"""Rows and records of several stores as one, from made-up stores."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scl.errors import UserError
from scl.store.files import Folder, open_folder
from scl.store.merging import Conflict, merged_record, merged_tables
from scl.store.parts import write_part
from scl.store.schema import now
from scl.store.tables import compact, write_reference_predictions

RECORD: dict[str, Any] = {
    "schema_version": 1,
    "study": "s",
    "baseline": "baseline",
    "metric": "test_acc",
    "arms": {"baseline": {"epochs": 2}, "kd": {"epochs": 2, "losses": {"kd": {"weight": 0.9}}}},
    "design": "arms",
    "data": {"fingerprint": "f1", "val_share": 0.1, "split_seed": 0, "limit": None},
    "teacher": {
        "config": {"epochs": 3},
        "per_seed": False,
        "source": "trained here",
        "ids": {"all": "t"},
        "test_acc": {"all": 0.9},
    },
    "git": {"commit": "c", "dirty": False},
    "versions": {"torch": "2", "python": "3"},
    "command": "s.py",
    "started": "2026-01-01T00:00:00+00:00",
    "ended": "2026-01-01T00:01:00+00:00",
    "wall_seconds": 60.0,
}


def record(*seeds: int, when: str = "2026-01-01", arms: tuple[str, ...] = ("baseline", "kd")) -> dict[str, Any]:
    plan = [{"arm": arm, "seed": seed, "trial_id": f"{arm}-{seed}"} for seed in seeds for arm in arms]
    about = copy.deepcopy(RECORD)
    about["arms"] = {arm: about["arms"][arm] for arm in arms}
    return {**about, "seeds": list(seeds), "plan": plan, "looks": [{"when": when, "seeds": list(seeds)}]}


def put(store: Folder, trial: str, state: str = "completed", labels: int = 3, **changed: Any) -> None:
    """A row with epochs and predictions; `changed`: columns of the trial, or `loss` of its epochs."""
    loss, predicted = changed.pop("loss", 1.5), changed.pop("predicted", np.arange(labels))
    arm, _, seed = trial.partition("-")
    row = {
        "trial_id": trial, "study": "s", "arm": arm, "config_id": arm, "seed": int(seed), "state": state,
        "teacher_id": "t", "test_acc": 0.5, "ece": float("nan"), "param.lr": 0.1, "train_seconds": 1.0, "ended": now(),
    }  # fmt: skip
    epochs = [{"trial_id": trial, "epoch": e, "train_loss": loss, "term.kd": float("nan")} for e in (1, 2)]
    write_part(store, {**row, **changed}, epochs, predicted if state == "completed" else None)


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Folder]:
    """A has baseline and kd at seed 0; B at seed 1, in tables."""
    stores = {name: open_folder(str(tmp_path / name)) for name in "AB"}
    for seed, store in enumerate(stores.values()):
        for arm in ("baseline", "kd"):
            put(store, f"{arm}-{seed}")
        write_reference_predictions(store, {"labels": np.arange(3), "t": np.ones(3, int)})
    compact(stores["B"], {})
    return stores


# --- rows -----------------------------------------------------------------------------------------------------------


def test_the_rows_of_all_parts_are_sorted_by_id(parts: dict[str, Folder]) -> None:
    for order in (parts, dict(reversed(parts.items()))):
        tables, chosen, _ = merged_tables(order)
        assert chosen == {"baseline-0": "A", "baseline-1": "B", "kd-0": "A", "kd-1": "B"}
        assert tables["trials"]["trial_id"].to_pylist() == list(chosen)
        assert tables["epochs"]["epoch"].to_pylist() == [1, 2] * 4
        assert tables["epochs"]["trial_id"].to_pylist()[::2] == list(chosen)
        assert tables["predictions"]["trial_id"].to_pylist() == ["labels", *chosen, "t"]


def test_a_trial_of_several_parts_is_kept_once(parts: dict[str, Folder]) -> None:
    put(parts["B"], "kd-0", train_seconds=9.0, device="cuda", arm="renamed", restarts=3, ece_floor=0.04)
    tables, chosen, _ = merged_tables(parts)
    assert len(tables["trials"]) == 4
    assert len(tables["epochs"]) == 8
    assert chosen["kd-0"] == "B"  # the latest


@pytest.mark.parametrize(("first", "second", "kept"), [("failed", "completed", "B"), ("completed", "failed", "A")])
def test_a_completed_row_is_kept_before_a_failed_one(first: str, second: str, kept: str, tmp_path: Path) -> None:
    stores = {name: open_folder(str(tmp_path / name)) for name in "AB"}
    put(stores["A"], "kd-0", first, test_acc=0.1 if first == "failed" else 0.5, loss=float(first == "failed"))
    put(stores["B"], "kd-0", second, test_acc=0.1 if second == "failed" else 0.5, loss=float(second == "failed"))
    tables, chosen, _ = merged_tables(stores)
    assert chosen == {"kd-0": kept}
    assert tables["trials"]["test_acc"].to_pylist() == [0.5]
    assert tables["epochs"]["train_loss"].to_pylist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "changed",
    [
        {"test_acc": float(np.nextafter(0.5, 1))},
        {"val_acc": 0.1},
        {"teacher_test_acc": 0.2},
        {"ece": 0.1},
        {"epochs": 3},
        {"loss": 1.25},
        {"predicted": np.array([0, 1, 1])},
        {"predicted": None},
    ],
    ids=str,
)
def test_different_numbers_of_one_trial_are_refused_by_name(changed: dict[str, Any], parts: dict[str, Folder]) -> None:
    put(parts["B"], "kd-0", **changed)
    with pytest.raises(Conflict, match=r"different numbers in several stores:\n  kd seed 0 \(kd-0\) in A and B\n"):
        merged_tables(parts)


def test_many_different_trials_are_counted(parts: dict[str, Folder]) -> None:
    for seed in range(10, 22):
        for store, accuracy in zip(parts.values(), (0.1, 0.2), strict=True):
            put(store, f"kd-{seed}", test_acc=accuracy)
    with pytest.raises(Conflict, match="and 4 more\n"):
        merged_tables(parts)


@pytest.mark.parametrize(("identity", "named"), [("labels", "the labels of the test images"), ("t", "teacher t")])
def test_labels_and_teachers_predictions_must_agree(identity: str, named: str, parts: dict[str, Folder]) -> None:
    write_reference_predictions(parts["B"], {identity: np.array([2, 2, 2])})
    with pytest.raises(Conflict, match=f"{named} in A and B"):
        merged_tables(parts)


def test_a_column_that_one_part_lacks_is_no_difference(parts: dict[str, Folder]) -> None:
    """Such as one that a later version has added."""
    put(parts["B"], "kd-0", **{"param.added": 1.0})
    assert merged_tables(parts)[1]["kd-0"] == "B"


# --- records --------------------------------------------------------------------------------------------------------


def test_a_record_covers_all_seeds_and_names_its_parts() -> None:
    later = record(2, 3, when="2026-01-02", arms=("kd", "baseline")) | {
        "started": "2025-01-01T00:00:00+00:00",
        "git": {"commit": "d", "dirty": False},
        "versions": {"torch": "2", "python": "4"},
        "stein": {"n": 5},
    }
    merged = merged_record({"A": record(0, 1), "B": later}, "scl merge A B --out C")
    assert merged["seeds"] == [0, 1, 2, 3]
    assert [(t["seed"], t["arm"]) for t in merged["plan"]] == [(s, a) for s in range(4) for a in ("baseline", "kd")]
    assert merged["command"] == "scl merge A B --out C"
    assert (merged["started"], merged["wall_seconds"]) == ("2025-01-01T00:00:00+00:00", 120.0)
    assert (merged["git"], merged["versions"]) == ({"dirty": False}, {"torch": "2"})  # what all parts share
    assert [(p["from"], p["seeds"], p["git"]["commit"]) for p in merged["merged"]] == [
        ("A", [0, 1], "c"), ("B", [2, 3], "d"),
    ]  # fmt: skip
    assert [(look["part"], look["seeds"]) for look in merged["looks"]] == [("A", [0, 1]), ("B", [2, 3])]
    assert "stein" not in merged


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ({"seeds": ["2"], "lr": ["0.1"]}, {"seed_list": ["2-3"], "lr": ["0.1"]}, {"lr": ["0.1"]}),
        ({"arms": ["kd"], "device": ["cpu"]}, {"arms": ["at,kd"], "device": ["cuda"]}, {"arms": ["kd,at"]}),
        ({"arms": ["kd"], "deterministic": []}, {"deterministic": []}, {"deterministic": []}),
        (None, {"lr": ["0.1"]}, None),
    ],
)
def test_one_run_over_all_parts_is_asked_for(
    one: dict[str, list[str]] | None, other: dict[str, list[str]], together: dict[str, list[str]] | None
) -> None:
    parts = {
        name: record(*seeds) | ({} if options is None else {"asked": {"script": "s.py", "options": options}})
        for name, seeds, options in (("A", (0, 1), one), ("B", (2, 3), other))
    }
    merged = merged_record(parts, "")
    expected = None if together is None else {"script": "s.py", "options": {**together, "seed_list": ["0-3"]}}
    assert merged.get("asked") == expected


def test_arms_and_teachers_of_seeds_are_joined() -> None:
    one, two = record(0, arms=("baseline",)), record(1)
    for seed, part in enumerate((one, two)):
        part["teacher"] |= {"per_seed": True, "ids": {str(seed): f"t{seed}"}, "test_acc": {str(seed): 0.8 + seed / 10}}
    merged = merged_record({"A": one, "B": two}, "")
    assert list(merged["arms"]) == ["baseline", "kd"]
    assert merged["teacher"]["ids"] == {"0": "t0", "1": "t1"}
    assert merged["teacher"]["test_acc"] == {"0": 0.8, "1": 0.9}
    assert len(merged["plan"]) == 3


def test_parts_with_several_teachers_share_them_by_the_teachers_seed() -> None:
    one, two, other = record(0), record(1), record(2)
    ids = {"ids": {"0": "t0", "1": "t1"}, "test_acc": {"0": 0.8, "1": 0.9}}
    one["teacher"] |= {**ids, "teachers": 2, "of_seed": {"0": 0}}
    two["teacher"] |= {**ids, "teachers": 2, "of_seed": {"1": 1}}
    merged = merged_record({"A": one, "B": two}, "")["teacher"]
    assert merged["of_seed"] == {"0": 0, "1": 1}
    assert (merged["ids"], merged["teachers"]) == (ids["ids"], 2)
    assert "of_seed" not in merged_record({"A": record(0), "B": record(1)}, "")["teacher"]
    with pytest.raises(Conflict, match=r"teacher\.teachers: 2 in A, the default in C"):
        merged_record({"A": one, "C": other}, "")


def test_the_teachers_that_arms_name_are_joined_and_known_accuracies_kept() -> None:
    """Of parts by arms and by seeds: each entry once, as in the record of one run."""
    both = {"arm": "kd", "by": ["teacher", "vgg8"], "id": "k0", "members": ["t", "v"]}
    own = {"arm": "own", "by": ["self"], "id": "s0", "members": ["s0"], "test_acc": 0.7, "each": [0.7]}
    known = {**both, "test_acc": 0.8, "each": [0.9, 0.6]}
    later = {**both, "id": "k1", "test_acc": 0.6, "each": [0.5, 0.6]}
    parts = {"A": record(0), "B": record(0), "C": record(1), "D": record(2)}
    for part, entries in zip(parts.values(), ([both], [own, known], [later], []), strict=True):
        part["teacher"] |= {"of_arms": entries} if entries else {}
    assert merged_record(parts, "")["teacher"]["of_arms"] == [known, own, later]
    assert "of_arms" not in merged_record({"A": record(0), "B": record(1)}, "")["teacher"]


def test_a_run_that_did_not_end_leaves_no_end() -> None:
    cut_off = {k: v for k, v in record(1).items() if k not in ("ended", "wall_seconds")}
    merged = merged_record({"A": record(0), "B": cut_off}, "")
    assert "ended" not in merged
    assert merged["merged"][1]["ended"] is None


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(about: dict[str, Any]) -> None:
        *folders, last = path.split("/")
        for name in folders:
            about = about[name]
        about[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("study", "other"), r'study: "s" in A, "other" in B'),
        (_set("baseline", "kd"), r'baseline: "baseline" in A, "kd" in B'),
        (_set("metric", "val_acc"), r'metric: "test_acc" in A, "val_acc" in B'),
        (_set("data/fingerprint", "f2"), r'data.fingerprint: "f1" in A, "f2" in B'),
        (_set("data/split_seed", 1), "data.split_seed: 0 in A, 1 in B"),
        (_set("data/val_share", 0.2), "data.val_share: 0.1 in A, 0.2 in B"),
        (_set("data/limit", 100), "data.limit: the default in A, 100 in B"),
        (_set("teacher/config/epochs", 4), "teacher.config.epochs: 3 in A, 4 in B"),
        (_set("teacher/per_seed", True), "teacher.per_seed: false in A, true in B"),
        (_set("teacher/source", "file"), 'teacher.source: "trained here" in A, "file" in B'),
        (_set("teacher/ids/all", "u"), 'teacher.ids.all: "t" in A, "u" in B'),
        (_set("teacher/test_acc/all", 0.8), "teacher.test_acc.all: 0.9 in A, 0.8 in B"),
        (_set("arms/kd/epochs", 5), "arms.kd.epochs: 2 in A, 5 in B"),
        (_set("arms/kd/losses/kd/weight", 1), "arms.kd.losses.kd.weight: 0.9 in A, 1 in B"),
        (_set("arms/kd/lr", 1), "arms.kd.lr: the default in A, 1 in B"),
        (_set("declared", {"arm": "kd"}), "declared: the default in A"),
        (_set("scale", "full"), 'scale: the default in A, "full" in B'),
        (_set("contrasts", [{"question": "q", "weights": {"a": 1}}]), 'contrasts.q: the default in A, {"a": 1} in B'),
        (_set("roles", {"kd": "control"}), 'roles: the default in A, {"kd": "control"} in B'),
        (_set("margin", 0.01), "margin: the default in A, 0.01 in B"),
        (_set("planned_looks", [3, 5]), r"planned_looks: the default in A, \[3, 5\] in B"),
        (_set("search_space", {"lr": {}}), "B is a search, and searches cannot be merged"),
        (_set("plan", [{"arm": "kd", "seed": 0, "trial_id": "x"}]), "kd seed 0 is trial kd-0 in A and x in B"),
        (_set("plan", [{"arm": "new", "seed": 0, "trial_id": "kd-0"}]), "arm 'kd' in A and to 'new' in B"),
    ],
)  # fmt: skip
def test_stores_of_different_studies_are_refused_with_both_values(
    change: Callable[[dict[str, Any]], None], message: str
) -> None:
    other = record(1)
    change(other)
    with pytest.raises(UserError, match=message):
        merged_record({"A": record(0), "B": other}, "")


def test_declarations_are_kept_with_the_seeds_that_any_part_had_seen() -> None:
    contrast = {"question": "q", "weights": {"kd": 1.0, "baseline": -1.0}}
    lacking = {"question": "r", "weights": {"kd": 1.0, "at": -1.0}, "lacks": ["kd", "at"]}
    declared = {"arm": "kd", "against": "teacher"}
    same = {"roles": {"kd": "reference"}, "margin": 0.01, "planned_looks": [2, 4], "declared": declared}
    one = record(0, arms=("baseline",)) | same | {"contrasts": [{**contrast, "lacks": ["kd"]}, lacking]}
    late = {"seen": [1, 9], "declared_after_look": True}
    interval = {"between": ["kd", "baseline"], "width": 0.1, "cap": 9, "pilot_seeds": [7], "trials": "x"}
    two = record(1) | same | {"contrasts": [{**contrast, **late}, lacking], "margin_seen": [9]}
    two |= {"declared": {**declared, **late}, "stein_declared": [interval]}
    merged = merged_record({"A": one, "B": two}, "")
    assert merged["contrasts"] == [{**contrast, **late}, {**lacking, "lacks": ["at"]}]
    assert (merged["declared"], merged["stein_declared"]) == ({**declared, **late}, [interval])
    assert {name: merged[name] for name in same} == {**same, "declared": {**declared, **late}}
    assert (merged["margin_seen"], merged["margin_after_look"]) == ([9], False)


def test_every_two_parts_are_compared() -> None:
    """An arm of the second and third part alone, too."""
    parts = {"A": record(0, arms=("baseline",)), "B": record(1), "C": record(2)}
    _set("arms/kd/epochs", 5)(parts["C"])
    with pytest.raises(Conflict, match=r"arms\.kd\.epochs: 2 in B, 5 in C"):
        merged_record(parts, "")


def test_all_differences_are_named_but_not_what_follows_from_them() -> None:
    other = record(1)
    for path in ("data/fingerprint", "teacher/ids/all", "arms/kd/epochs"):
        _set(path, "x")(other)
    with pytest.raises(Conflict) as refused:
        merged_record({"A": record(0), "B": other}, "")
    assert "data.fingerprint" in str(refused.value)
    assert "arms.kd.epochs" in str(refused.value)
    assert "teacher.ids" not in str(refused.value)
