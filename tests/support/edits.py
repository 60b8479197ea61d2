"""What others do to a store: a list of edits, and the commands that read a store."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import scl
from scl.cli import command
from scl.cli.exits import exit_code
from scl.store.checksums import from_parquet, to_parquet, to_part
from scl.store.files import open_folder
from scl.store.shape import STUDY
from scl.store.study_file import write_study
from tests.support.studies import SMALL, run_study

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Edit:
    """A change of a store's folder. names: what the message names; empty if nothing is wrong after the edit."""

    do: Callable[[Path], object]
    names: str = ""


# --- study.json --------------------------------------------------------------------------------------------------


def study_with(fields: Mapping[str, Any], checked: bool = False) -> Callable[[Path], None]:
    """study.json with some fields replaced, `...` removes one; by an editor, or by a program that knows checksums."""

    def do(store: Path) -> None:
        study = json.loads((store / "study.json").read_text())
        study = {k: v for k, v in (study | fields).items() if v is not ... and k != "sha256"}
        if checked:
            write_study(open_folder(str(store)), study)
        else:
            (store / "study.json").write_text(json.dumps(study))

    return do


def within(field: str, inside: Mapping[str, Any]) -> Callable[[Path], None]:
    """The same for what lies in a dict, or in the first dict of a list."""

    def do(store: Path) -> None:
        value = json.loads((store / "study.json").read_text())[field]
        first = value[0] if isinstance(value, list) else value
        changed = {k: v for k, v in (first | inside).items() if v is not ...}
        study_with({field: [changed, *value[1:]] if isinstance(value, list) else changed})(store)

    return do


def written(name: str, content: bytes | Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def do(store: Path) -> None:
        path = store / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content(path.read_bytes()))

    return do


def removed(*names: str) -> Callable[[Path], None]:
    def do(store: Path) -> None:
        for name in names:
            shutil.rmtree(store / name) if (store / name).is_dir() else (store / name).unlink()

    return do


def replaced_by(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else than a file, or than a folder, under this name."""

    def do(store: Path) -> None:
        if (store / name).exists():
            removed(name)(store)
        (store / name).parent.mkdir(exist_ok=True)
        make(store / name)

    return do


WRONG: dict[str, Any] = {"null": None, "text": "x", "number": 7, "list": [1], "dict": {"a": 1}, "items": [{"b": "x"}]}
FIELD_EDITS = {
    f"study {field} {kind}": Edit(study_with({field: value}), "study.json")
    for field in STUDY.of
    for kind, value in WRONG.items()
    if (field, kind) != ("schema_version", "number")  # that is a newer version
}
STUDY_EDITS = {
    **{f"study without {field}": Edit(study_with({field: ...}), "study.json") for field in STUDY.of},
    "study without checksum": Edit(study_with({}), "study.json"),
    "study with one letter changed": Edit(
        written("study.json", lambda text: text.replace(b"baseline", b"baselime", 1)), "study.json"
    ),
    "study cut off": Edit(written("study.json", lambda text: text[: len(text) // 2]), "study.json"),
    "study empty": Edit(written("study.json", b""), "study.json"),
    "study binary": Edit(written("study.json", bytes(range(256))), "study.json"),
    "study a list": Edit(written("study.json", b"[1, 2]"), "study.json"),
    "study null": Edit(written("study.json", b"null"), "study.json"),
    "study nested deeply": Edit(written("study.json", b"[" * 100_000), "study.json"),
    "study with NaN": Edit(written("study.json", b'{"wall_seconds": NaN}'), "study.json"),
    "study with 1e999": Edit(study_with({"wall_seconds": 10**400}), "study.json"),
    "study with half a character": Edit(study_with({"question": "\ud800", "command": "\udfff"}), "study.json"),
    "study newer": Edit(study_with({"schema_version": 99}, True), "schema 99"),
    "study a folder": Edit(replaced_by("study.json", Path.mkdir), "study.json"),
    "study a pipe": Edit(replaced_by("study.json", os.mkfifo), "study.json"),
    "study checked, looks text": Edit(study_with({"looks": "x"}, True), "looks"),
    "study checked, plan of texts": Edit(study_with({"plan": ["a", "b"]}, True), "plan"),
    "study checked, arms text": Edit(study_with({"arms": "x"}, True), "arms"),
    "arms of texts": Edit(study_with({"arms": {"baseline": "x", "scl": 1}}), "arms.baseline"),
    "losses of texts": Edit(study_with({"arms": {"baseline": {"losses": {"kd": "x"}}}}), "arms.baseline.losses"),
    "losses text": Edit(study_with({"arms": {"baseline": {"losses": "x"}}}), "arms.baseline.losses"),
    "plan empty": Edit(study_with({"plan": []}), "study.json"),
    "plan without ids": Edit(within("plan", {"trial_id": ...}), "plan[0]"),
    "plan with a text seed": Edit(within("plan", {"seed": "x"}), "plan[0].seed"),
    "plan with an arm that is none": Edit(within("plan", {"arm": None}), "plan[0].arm"),
    "plan twice": Edit(
        lambda store: study_with({"plan": json.loads((store / "study.json").read_text())["plan"] * 2})(store),
        "study.json",
    ),
    "looks without seeds": Edit(within("looks", {"seeds": ...}), "looks[0]"),
    "looks with text seeds": Edit(within("looks", {"seeds": ["x"]}), "looks[0].seeds"),
    "looks with other differences": Edit(within("looks", {"differences": {"scl": {"p": 1}}}), "looks[0].differences"),
    "looks with text differences": Edit(
        within("looks", {"differences": {"scl": {"estimate": "x", "low": 1, "high": 2}}}), "looks[0].differences"
    ),
    "data without classes": Edit(within("data", {"classes": 0, "test": 0}), "study.json"),
    "data with text counts": Edit(within("data", {"test": "x", "classes": "y"}), "data.test"),
    "teacher with text accuracies": Edit(within("teacher", {"test_acc": {"all": "x"}}), "teacher.test_acc"),
    "teacher with ids in a list": Edit(within("teacher", {"ids": ["x"]}), "teacher.ids"),
    "teacher without anything": Edit(study_with({"teacher": {}}), "study.json"),
    "published without figures": Edit(study_with({"published": {"source": "x"}}), "published"),
    "declared without an arm": Edit(study_with({"declared": {"against": "teacher"}}), "declared"),
    "declared with an unknown arm": Edit(study_with({"declared": {"arm": "none", "against": "teacher"}}), "study.json"),
    "a baseline that is no arm": Edit(study_with({"baseline": "none"}), "study.json"),
    "a metric that is no number": Edit(study_with({"metric": "arm"}), "study.json"),
    "a search that is none": Edit(
        study_with({"search_space": {"lr": {"low": 0.1, "high": 1}}, "objectives": {"none": "maximize"}}), "study.json"
    ),
    "factors that are none": Edit(
        study_with({"factors": {"a": {"levels": [1, 2]}}, "arm_levels": {"scl": {"b": 1}}}), "study"
    ),
    "levels in a list": Edit(study_with({"factors": {"a": [1, 2]}, "arm_levels": {"scl": {"a": 1}}}), "study.json"),
    "started in the year one": Edit(study_with({"started": "0001-01-01T00:00:00+14:00"}), "study.json"),
}

# --- tables ------------------------------------------------------------------------------------------------------


def table_with(name: str, change: Callable[[pa.Table], pa.Table], checked: bool = True) -> Callable[[Path], None]:
    """A table and its copy changed, with or without a checksum."""

    def do(store: Path) -> None:
        path = store / f"{name}.parquet"
        table = change(from_parquet(path.read_bytes()))
        (store / "copies" / path.name).unlink(missing_ok=True)
        if checked:
            path.write_bytes(to_parquet(table))
        else:
            pq.write_table(table.replace_schema_metadata(None), path)

    return do


def column_of(value: Any) -> Callable[[pa.Table, str], pa.Table]:
    return lambda table, name: table.set_column(
        table.schema.get_field_index(name), name, pa.array([value] * len(table))
    )


def with_column(table: str, name: str, value: Any, checked: bool = True) -> Callable[[Path], None]:
    return table_with(table, lambda t: column_of(value)(t, name), checked)


def without_column(table: str, name: str) -> Callable[[Path], None]:
    return table_with(table, lambda t: t.drop_columns([name]))


OTHER = {
    "seed": "x", "state": 1, "state ": "done", "arm": None, "trial_id": None, "test_acc": "x", "val_acc": [1.0],
    "test_acc ": 99.0, "test_acc  ": float("inf"), "config_json": "{no json", "config_json ": None, "error": 5,
    "started": "yesterday", "ended": 1.5, "params": "many", "params ": -5, "device": None, "latency_ms": float("inf"),
    "train_seconds": float("inf"), "train_seconds ": None, "restarts": "x", "epochs": None, "number": 3,
    "teacher_test_acc": "x", "teacher_id": 5, "param.lr": {"a": 1}, "param.width": "x", "cohort_size": 0.5,
    "param.self_taught": 0.5, "param.self_taught ": "x", "config_id": None, "study": None,
}  # fmt: skip
DAMAGE: dict[str, bytes | Callable[[bytes], bytes]] = {
    "empty file": b"",
    "cut off": lambda content: content[: len(content) // 2],
    "a bit changed": lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    "is CSV": b"trial_id,arm\nx,y\n",
}
HARMLESS = {"number", "params ", "device", "train_seconds ", "epochs", "config_id", "study", "config_json "}
HARMLESS |= {"latency_ms", "train_seconds", "param.width", "param.self_taught", "param.self_taught ", "config_json"}
HARMLESS |= {"teacher_id", "error", "param.lr"}
TABLE_EDITS = {
    **{
        f"{name} is {value!r}": Edit(
            with_column("trials", name.strip(), value), "" if name in HARMLESS else "trials.parquet"
        )
        for name, value in OTHER.items()
    },
    **{
        f"trials without {name}": Edit(without_column("trials", name), "trials.parquet")
        for name in ("trial_id", "arm", "seed", "state", "test_acc", "config_json", "number", "agreement", "device")
    },
    "trials edited with pandas": Edit(with_column("trials", "test_acc", 0.99, False), "trials.parquet"),
    "trials twice": Edit(table_with("trials", lambda t: pa.concat_tables([t, t]), False), "trials.parquet"),
    "trials empty": Edit(table_with("trials", lambda t: t.slice(0, 0))),
    "trials with a column twice": Edit(
        table_with("trials", lambda t: t.append_column("arm", t["arm"]), False), "trials.parquet"
    ),
    "trials with a list": Edit(
        table_with("trials", lambda t: t.append_column("mine", pa.array([[1]] * len(t))), False), "trials.parquet"
    ),
    "trials as categories": Edit(
        table_with("trials", lambda t: t.set_column(2, "arm", t["arm"].dictionary_encode()), False), "trials.parquet"
    ),
    "trials as text": Edit(
        table_with("trials", lambda t: pa.table({n: t[n].cast("string") for n in t.schema.names}), False), "trials"
    ),
    "trials are epochs": Edit(
        lambda store: [shutil.copy(store / "epochs.parquet", store / p / "trials.parquet") for p in (".", "copies")],
        "trials.parquet",
    ),
    "epochs are trials": Edit(
        lambda store: [shutil.copy(store / "trials.parquet", store / p / "epochs.parquet") for p in (".", "copies")],
        "epochs.parquet",
    ),
    "epochs without epoch": Edit(without_column("epochs", "epoch"), "epochs.parquet"),
    "epochs without val_acc": Edit(without_column("epochs", "val_acc"), "epochs.parquet"),
    "epochs with text": Edit(with_column("epochs", "test_acc", "x"), "epochs.parquet"),
    "epochs with infinity": Edit(with_column("epochs", "val_loss", float("inf"))),
    "epochs with infinite terms": Edit(with_column("epochs", "weighted.ce", float("inf"))),
    "epochs with text terms": Edit(with_column("epochs", "weighted.ce", "x"), "epochs.parquet"),
    "epochs twice": Edit(table_with("epochs", lambda t: pa.concat_tables([t, t]), False), "epochs.parquet"),
    "epochs empty": Edit(table_with("epochs", lambda t: t.slice(0, 0))),
    "predictions with text": Edit(with_column("predictions", "predicted", "x")),
    **{
        f"{name} {kind}": Edit(written(f"{name}.parquet", content), f"{name}.parquet")
        for name in ("trials", "epochs")
        for kind, content in DAMAGE.items()
    },
    "trials a folder": Edit(replaced_by("trials.parquet", Path.mkdir), "trials.parquet"),
    "trials a pipe": Edit(replaced_by("trials.parquet", os.mkfifo), "trials.parquet"),
    "trials missing": Edit(removed("trials.parquet"), "trials.parquet"),
    "trials and copies missing": Edit(removed("trials.parquet", "copies")),
    "copies a file": Edit(replaced_by("copies", lambda path: path.write_text("x"))),
    "every table missing": Edit(removed("trials.parquet", "epochs.parquet", "predictions.parquet", "copies")),
}

# --- parts and folders -------------------------------------------------------------------------------------------

PART_EDITS = {
    "part a folder": Edit(replaced_by("parts/x-1.arrows.zst", Path.mkdir), "parts/x-1.arrows.zst"),
    "part a pipe": Edit(replaced_by("parts/x-1.arrows.zst", os.mkfifo), "parts/x-1.arrows.zst"),
    "part empty": Edit(written("parts/x-1.arrows.zst", b""), "parts/x-1.arrows.zst"),
    "part text": Edit(written("parts/x-1.arrows.zst", b"x" * 400), "parts/x-1.arrows.zst"),
    "part of another schema": Edit(
        written("parts/x-1.arrows.zst", to_part(pa.table({"trial_id": ["x"]}))), "parts/x-1.arrows.zst"
    ),
    "part of another program": Edit(written("parts/notes.txt", b"mine"), "parts/notes.txt"),
    "parts a file": Edit(replaced_by("parts", lambda path: path.write_text("x")), "parts"),
    "damaged a file": Edit(replaced_by("damaged", lambda path: path.write_text("x")), "damaged"),
    "damaged has a name with a bell": Edit(written("damaged/\a\x1b[31m", b"x")),
}
EDITS = STUDY_EDITS | TABLE_EDITS | PART_EDITS

# --- commands ----------------------------------------------------------------------------------------------------


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"reports_{name}", ROOT / "reports" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loaded(store: Path) -> int:
    results = scl.load(str(store))
    str(results), results.summary(), results.verdict(), results.planned(), results._repr_html_()
    return 0


def study(store: Path, data: Path, *flags: str) -> int:
    return run_study(SMALL, "--out", str(store.parent), "--data", str(data), *flags)


def commands(store: Path, data: Path, whole: Path, out: Path) -> dict[str, Callable[[], int]]:
    """Every command that reads a store, by name; each returns its exit code or raises.

    Args:
        store: the edited store of SMALL. data: the images of SMALL. whole: another store of SMALL. out: for files.
    """
    page = str(out / "page.html")
    return {
        "load": lambda: exit_code(lambda: loaded(store)),
        "show": lambda: command.main(["show", str(store), "scl/0"]),
        "results": lambda: command.main(["results", str(store.parent)]),
        "export": lambda: command.main(["export", str(store), "scl/0", "--out", str(out / "x.safetensors")]),
        "table": lambda: exit_code(lambda: int(script("table").table(str(store), "csv", None))),
        "own_page": lambda: exit_code(lambda: int(script("own_page").own_page(str(store), page))),
        "compare": lambda: exit_code(lambda: int(script("compare").compare([str(whole), str(store)], page))),
        "report": lambda: command.main(["report", str(store)]),
        "--plan": lambda: exit_code(lambda: study(store, data, "--plan")),
        "--report-only": lambda: exit_code(lambda: study(store, data, "--report-only")),
        "rerun": lambda: exit_code(lambda: study(store, data)),
    }
