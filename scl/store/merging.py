"""Several stores of one study as one: their rows, and their records. Reads alone; `scl.merge` writes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import combinations
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scl.errors import UserError
from scl.store.columns import joined
from scl.store.declaration import joined as joined_declarations
from scl.store.faults import tell
from scl.store.files import Folder
from scl.store.parts import part_names
from scl.store.schema import ADDED, SCHEMAS
from scl.store.tables import gather
from scl.study.identity import sha256
from scl.study.spelled import in_ranges

# What two trainings of one trial may differ in: names, times, the machine, what follows from other trials, and what
# stores of earlier versions lack.
NOT_NUMBERS = {
    "study", "arm", "error", "latency_ms", "train_seconds", "images_per_second", "device", "cohort_size", "restarts",
    "started", "ended", "run", "gap_closed", "ece_floor", "file_bytes", "logits_bytes",
    "energy_joules", "energy_source",
}  # fmt: skip
# The fields of a record that describe one run, kept for each part.
OF_A_RUN = (
    "command", "seeds", "git", "versions", "hardware", "slots", "cpus_per_trial", "device", "started", "ended",
    "wall_seconds",
)  # fmt: skip
MOST_NAMED = 8


class Conflict(UserError):
    """Stores that are not parts of one study: the message names what differs, and both values."""


# --- rows -----------------------------------------------------------------------------------------------------------


def merged_tables(
    parts: Mapping[str, Folder],
) -> tuple[dict[str, pa.Table], dict[str, str], dict[str, tuple[str, ...]]]:
    """The three tables with the rows of all parts; trial_id → the name of the part that its row comes from; and table →
    remarks that stay with its rows.

    A trial that several parts have is kept once: completed before pruned before failed, of these the latest. Rows are
    sorted by id, as those of one run are.

    Args:
        parts: name → store.

    Raises:
        Conflict: parts have different numbers for one trial, teacher or label.
    """
    gathered = {name: gather(store, part_names(store), *SCHEMAS) for name, store in parts.items()}
    for name, store in parts.items():
        tell(store, gathered[name].faults)
    read = {name: found.tables for name, found in gathered.items()}
    origin = {file: tuple(dict.fromkeys(r for g in gathered.values() for r in g.origin[file])) for file in SCHEMAS}
    chosen = _chosen({name: tables["trials"] for name, tables in read.items()})
    _check_equal_numbers(read)
    merged = {}
    for file, schema in SCHEMAS.items():
        taken, seen = [], set(chosen)  # `seen`: trials, then also the labels and teachers of earlier parts
        for name, tables in read.items():
            ids = _ids(tables[file])
            taken.append(
                tables[file].filter(pa.array([chosen.get(i) == name or i not in seen for i in ids], pa.bool_()))
            )
            seen.update(ids)
        table = joined([schema.empty_table(), *taken])
        order = {**dict.fromkeys(_ids(table), 2), **dict.fromkeys(chosen, 1), "labels": 0}
        keys = pa.table(
            {
                "kind": pa.array([order[i] for i in _ids(table)], pa.int8()),
                "id": table["trial_id"],
                "epoch": table["epoch"] if "epoch" in table.schema.names else pa.nulls(len(table), pa.int32()),
            }
        )
        merged[file] = table.take(pc.sort_indices(keys, [(key, "ascending") for key in keys.schema.names]))
    return merged, chosen, origin


def _chosen(trials: Mapping[str, pa.Table]) -> dict[str, str]:
    """trial_id → the part whose row stays."""
    rank = {"completed": 2, "pruned": 1}
    best: dict[str, tuple[tuple[int, bool, Any], str]] = {}
    for name, table in trials.items():
        for i, state, ended in zip(*(table[c].to_pylist() for c in ("trial_id", "state", "ended")), strict=True):
            key = (rank.get(state, 0), ended is not None, ended)
            if i not in best or key > best[i][0]:
                best[i] = key, name
    return {i: name for i, (_, name) in sorted(best.items())}


def _check_equal_numbers(read: Mapping[str, Mapping[str, pa.Table]]) -> None:
    """Raises Conflict if two parts have completed rows of one trial, or reference rows, with different numbers."""
    times = Counter(i for t in read.values() for i in {*_ids(t["trials"]), *_ids(t["predictions"])})
    several = pa.array([i for i, n in times.items() if n > 1], pa.string())
    columns = {
        f: set.intersection(*(set(t[f].schema.names) for t in read.values())) - NOT_NUMBERS - ADDED[f] for f in SCHEMAS
    }
    first: dict[str, tuple[str, list[Any]]] = {}  # id → part, its numbers
    wrong = []
    for name, tables in read.items():
        rows = {f: t.filter(pc.is_in(t["trial_id"], value_set=several)).to_pylist() for f, t in tables.items()}
        trials = {row["trial_id"]: row for row in rows["trials"]}
        numbers: dict[str, list[Any]] = {}
        for file in SCHEMAS:
            for row in sorted(rows[file], key=lambda row: row.get("epoch", 0)):
                if trials.get(row["trial_id"], {"state": "completed"})["state"] == "completed":
                    numbers.setdefault(row["trial_id"], []).append(_numbers(row, columns[file]))
        for i, found in numbers.items():
            other, before = first.setdefault(i, (name, found))
            if found != before:
                at = f"{trials[i]['arm']} seed {trials[i]['seed']} ({i[:12]})" if i in trials else _reference(i)
                wrong.append(f"{at} in {other} and {name}")
    if wrong:
        more = f"\n  and {len(wrong) - MOST_NAMED} more" * (len(wrong) > MOST_NAMED)
        raise Conflict(
            "the same trials have different numbers in several stores:\n  "
            + "\n  ".join(wrong[:MOST_NAMED])
            + more
            + "\nThey were trained by other code, on another type of processor, with other --cpus-per-trial, or on a "
            "GPU without --deterministic. Merge stores whose seeds do not overlap, or leave one of these out"
        )


def _ids(table: pa.Table) -> list[str]:
    return list(table["trial_id"].to_pylist())


def _reference(identity: str) -> str:
    return "the labels of the test images" if identity == "labels" else f"the predictions of teacher {identity[:12]}"


def _numbers(row: Mapping[str, Any], columns: Set[str]) -> dict[str, Any]:
    """These fields of a row. Floats are text, so that NaN equals NaN, and 0.0 is not -0.0."""
    return {k: repr(v) if isinstance(v, float) else v for k, v in row.items() if k in columns}


# --- records --------------------------------------------------------------------------------------------------------


def merged_record(records: Mapping[str, Mapping[str, Any]], command: str) -> dict[str, Any]:
    """The content of study.json for all parts together. Its last look is the merged one, still without differences.

    Args:
        records: name of a part → content of its study.json.
        command: the command line that merges.

    Raises:
        Conflict: the parts differ in what makes their trials comparable, or one is a search.
    """
    for name, record in records.items():
        if record.get("search_space"):
            raise Conflict(
                f"{name} is a search, and searches cannot be merged: each suggestion depends on the trials before it; "
                "run more --trials on one store instead"
            )
    for one, other in combinations(records, 2):
        _check_one_study(records, one, other)
    first, every = next(iter(records.values())), list(records.values())
    plan, sides = _merged_plan(records), [_comparable(record) for record in every]
    of_seed = {k: v for record in every for k, v in ((record.get("teacher") or {}).get("of_seed") or {}).items()}
    declared = joined_declarations(record.get("declaration") for record in every)
    merged = {
        **{
            k: v
            for k, v in first.items()
            if k not in ("stein", "sha256", "asked", "pictures", "declaration", *OF_A_RUN)
        },
        "arms": {arm: config for side in sides for arm, config in side["arms"].items()},
        "arm_levels": {k: v for record in every for k, v in (record.get("arm_levels") or {}).items()} or None,
        "teacher": {
            **(first.get("teacher") or {}),
            "ids": {k: v for side in sides for k, v in side["teacher"]["ids"].items()},
            "test_acc": {k: v for side in sides for k, v in side["teacher"]["test_acc"].items()},
            **_teachers_of_arms(every),
            **_teachers_effort(every),
            **({"of_seed": of_seed} if of_seed else {}),
        },
        **_declarations(every),
        **({"declaration": declared} if declared else {}),
        "plan": plan,
        "plan_id": sha256([trial["trial_id"] for trial in plan]),
        "seeds": sorted({trial["seed"] for trial in plan}),
        "command": command,
        **_asked(every, plan),
        **({"pictures": False} if any(record.get("pictures") is False for record in every) else {}),
        **{field: first.get(field) for field in ("slots", "cpus_per_trial")},
        # Of the merged runs together: what they have in common, and their time.
        **{field: _shared(every, field) for field in ("git", "versions", "hardware", "device")},
        "started": min(str(record.get("started")) for record in every),
        "wall_seconds": round(sum(float(record.get("wall_seconds") or 0) for record in every), 1),
        "merged": [
            {"from": name, **{field: record.get(field) for field in OF_A_RUN}, "looks": len(record.get("looks", []))}
            for name, record in records.items()
        ],
        "looks": _looks(records),
    }
    if all("ended" in record for record in every):
        merged["ended"] = max(str(record["ended"]) for record in every)
    return merged


def _check_one_study(records: Mapping[str, Mapping[str, Any]], one: str, other: str) -> None:
    """Raises Conflict with all differences of two parts, both values each."""
    a, b = (_comparable(records[name]) for name in (one, other))
    shared = a["arms"].keys() & b["arms"].keys()
    for side in (a, b):
        side["arms"] = {arm: config for arm, config in side["arms"].items() if arm in shared}
        side["teacher"]["ids"] = {
            k: v for k, v in side["teacher"]["ids"].items() if k in a["teacher"]["ids"] and k in b["teacher"]["ids"]
        }
    found = list(_differences("", a, b))
    causes = [each for each in found if not each[0].startswith(("teacher.ids", "teacher.test_acc"))] or found
    wrong = [f"{path}: {_shown(x)} in {one}, {_shown(y)} in {other}" for path, x, y in causes]
    if wrong:
        raise Conflict(
            f"{one} and {other} are not parts of one study:\n  " + "\n  ".join(wrong) + "\n"
            "Merge stores that the same study file and flags made, but for seeds, arms and places"
        )


def _comparable(record: Mapping[str, Any]) -> dict[str, Any]:
    """What parts of one study share."""
    data, teacher = record.get("data") or {}, record.get("teacher") or {}
    split = ("fingerprint", "train", "val", "test", "classes", "limit", "val_share", "split_seed")
    return {
        **{k: record.get(k) for k in ("study", "baseline", "metric", "direction", "scale", "published")},
        **{k: record.get(k) for k in ("roles", "margin", "planned_looks", "constraints")},
        "declared": {k: v for k, v in (record.get("declared") or {}).items() if k in ("arm", "against")} or None,
        "contrasts": {c["question"]: c["weights"] for c in record.get("contrasts") or []},
        "design": record.get("design"),
        "factors": record.get("factors"),
        "data": {k: data.get(k) for k in split},
        "teacher": {
            **{k: teacher.get(k) for k in ("source", "per_seed", "teachers")},
            "config": teacher.get("config") or {},
            "ids": dict(teacher.get("ids") or {}),
            "test_acc": {k: v for k, v in (teacher.get("test_acc") or {}).items() if v is not None},
        },
        "arms": dict(record.get("arms") or {}),
    }


def _differences(path: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    """The leaves in which two values differ, by path. Teachers' accuracies count where both are known."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [k for k in {**a, **b} if path != "teacher.test_acc" or (k in a and k in b)]
        for key in keys:
            yield from _differences(f"{path}.{key}" if path else key, a.get(key), b.get(key))
    elif a != b:
        yield path, a, b


def _shown(value: Any) -> str:
    if value is None:
        return "the default"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _merged_plan(records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The planned trials of all parts, seeds as paired blocks. Raises Conflict if an arm has two ids at a seed."""
    arms = list(dict.fromkeys(arm for record in records.values() for arm in record.get("arms") or {}))
    found: dict[tuple[int, str], tuple[str, str]] = {}
    named: dict[str, tuple[str, str]] = {}
    for name, record in records.items():
        for trial in record.get("plan", []):
            at, identity = (int(trial["seed"]), str(trial["arm"])), str(trial["trial_id"])
            before, other = found.setdefault(at, (identity, name))
            if before != identity:
                raise Conflict(
                    f"{at[1]} seed {at[0]} is trial {before[:12]} in {other} and {identity[:12]} in {name}: versions "
                    "of scl, or of a custom loss, with other results made them; run one of them again with this version"
                )
            arm, other = named.setdefault(identity, (at[1], name))
            if arm != at[1]:
                raise Conflict(
                    f"trial {identity[:12]} belongs to the arm {arm!r} in {other} and to {at[1]!r} in {name}; run one "
                    "of them again with the arm's present name: nothing trains, and the name is replaced"
                )
    order = {arm: i for i, arm in enumerate(arms)}
    ordered = sorted(found, key=lambda at: (at[0], order.get(at[1], len(order))))
    return [{"arm": arm, "seed": seed, "trial_id": found[seed, arm][0]} for seed, arm in ordered]


def _declarations(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the parts declared, which is the same, with the seeds that any of them had seen before."""
    seeds = {trial["seed"] for record in records for trial in record.get("plan", [])}
    arms = {arm for record in records for arm in record.get("arms") or {}}

    def joined_by_part(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        seen = sorted({seed for each in found for seed in each.get("seen", [])})
        late = {"seen": seen, "declared_after_look": not seeds.isdisjoint(seen)} if seen else {}
        return {k: v for k, v in found[0].items() if k not in ("lacks", "seen", "declared_after_look")} | late

    def by_question(field: str) -> list[dict[str, Any]] | None:
        found: dict[str, list[Mapping[str, Any]]] = {}
        for record in records:
            for contrast in record.get(field) or []:
                found.setdefault(contrast["question"], []).append(contrast)
        every = [joined_by_part(each) for each in found.values()]
        lacks = [[arm for arm in contrast["weights"] if arm not in arms] for contrast in every]
        return [c | ({"lacks": gone} if gone else {}) for c, gone in zip(every, lacks, strict=True)] or None

    declared = [record["declared"] for record in records if record.get("declared")]
    margin_seen = sorted({seed for record in records for seed in record.get("margin_seen") or []})
    intervals = [each for record in records for each in record.get("stein_declared") or []]
    return {
        "contrasts": by_question("contrasts"),
        "withdrawn": by_question("withdrawn"),
        "declared": joined_by_part(declared) if declared else None,
        "margin_seen": margin_seen,
        "margin_after_look": not seeds.isdisjoint(margin_seen),
        "stein_declared": [each for i, each in enumerate(intervals) if each not in intervals[:i]] or None,
    }


def _teachers_of_arms(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The teachers that arms of any part name, each once, with its accuracies if a part knows them."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        for entry in (record.get("teacher") or {}).get("of_arms") or []:
            before = found.setdefault((entry["arm"], entry["id"]), dict(entry))
            if before.get("test_acc") is None:
                before.update(entry)
    return {"of_arms": list(found.values())} if found else {}


def _teachers_effort(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Time and energy of the teachers of all parts."""
    found: dict[str, Any] = {}
    for name in ("train_seconds", "energy_joules"):
        known = {k: v for record in records for k, v in ((record.get("teacher") or {}).get(name) or {}).items()}
        found |= {name: known} if known else {}
    return found


def _asked(records: Sequence[Mapping[str, Any]], plan: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What one run over all parts would be asked for: what all parts were, with the seeds and arms of all. Nothing if a
    part does not say."""
    every = [record.get("asked") or {} for record in records]
    if not all("options" in asked for asked in every):
        return {}
    first, *others = [asked["options"] for asked in every]
    kept = {
        n: texts for n, texts in first.items() if n not in ("arms", "seeds") and all(o.get(n) == texts for o in others)
    }
    if all("arms" in options for options in (first, *others)):
        arms = dict.fromkeys(arm for options in (first, *others) for arm in options["arms"][0].split(","))
        kept["arms"] = [",".join(arms)]
    kept["seed_list"] = [in_ranges([*{int(trial["seed"]) for trial in plan}])]
    return {"asked": {**every[0], "options": kept}}


def _shared(records: Sequence[Mapping[str, Any]], field: str) -> Any:
    """A record's field if all agree, else of its entries those in which all agree."""
    values: list[Any] = [record.get(field) for record in records]
    if all(value == values[0] for value in values):
        return values[0]
    if not all(isinstance(value, dict) for value in values):
        return None
    return {k: v for k, v in values[0].items() if all(value.get(k) == v for value in values)} or None


def _looks(records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The looks at each part, by time; each names its part."""
    looks = [{**look, "part": look.get("part", name)} for name, r in records.items() for look in r.get("looks", [])]
    return sorted(looks, key=lambda look: str(look.get("when")))
