"""The benchmarks of whole studies at their smallest, the files that benchmarks write, and the tables of RESULTS.md."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.chaos import descendants, kill
from scl import UserError, load
from tests.support.commands import here

ROOT = Path(__file__).parents[2]


def run(tmp_path: Path, script: str, *arguments: str) -> tuple[str, dict[str, Any]]:
    """What a benchmark prints, and its figures."""
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *arguments, "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    check_record(file)
    return done.stdout, json.loads(file.read_text())["figures"]


def check_record(file: Path) -> None:
    found = json.loads(file.read_text())
    assert list(found) == ["benchmark", "date", "commit", "machine", "n", "figures"]
    assert date.fromisoformat(found["date"])
    assert found["commit"] is None or re.fullmatch(r"[0-9a-f]{10}(-dirty)?", found["commit"])
    assert found["machine"]["cpu"]
    assert found["machine"]["cores"] >= 1
    assert found["n"] >= 1
    assert found["figures"]


@pytest.mark.slow
def test_scale_of_a_store(tmp_path: Path) -> None:
    text, found = run(tmp_path, "scale.py", "--trials", "0", "--stored", "20", "--epochs", "3", "--rounds", "1")
    assert "20 trials × 3 epochs" in text
    stored = found["stored"]
    assert stored["stored_s"] == pytest.approx(stored["compact_s"] + stored["page_s"], abs=0.01)
    assert stored["page_mb"] > 4  # Plotly is in it, so a page was written
    assert stored["stored_mb"] > 50
    assert "ray" not in found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["step.py", "--device", "cuda"], "torch sees no GPU here"),
        (["losses.py", "--device", "cuda"], "torch sees no GPU here"),
        (["repdistiller.py", "nowhere"], "nowhere is not a clone of RepDistiller: it has no helper/loops.py"),
    ],
)
def test_what_cannot_be_measured_here_is_said(arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    script, *flags = arguments
    done = here(*flags, script=str(ROOT / "benchmarks" / script))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_scale_of_a_study(tmp_path: Path) -> None:
    _, found = run(tmp_path, "scale.py", "--trials", "20", "--stored", "0", "--rounds", "1")
    for how in ("ray", "inline"):
        assert found[how]["trials"] == 20
        assert 0 < found[how]["in_steps"] < found[how]["students"] < found[how]["wall"]
        assert found[how]["s_a_trial"] > found[how]["s_a_trial_in_training"]


@pytest.mark.slow
def test_a_worker_that_shares_imports_is_what_ray_wanted_to_start(tmp_path: Path) -> None:
    """A stand-in for Ray's worker tells what it sees: it was forked, so it has what it did not import."""
    from benchmarks import shared_imports

    worker = tmp_path / shared_imports.WORKER.lstrip("/")
    worker.parent.mkdir(parents=True)
    worker.write_text(
        "import os, sys, ray._raylet as core\n"
        "print('torch' in sys.modules, os.environ['MINE'], os.getcwd(), sys.argv[1:], flush=True)\n"
        "print(core.ObjectRef.from_random().hex(), flush=True)\n"
    )
    (folder := tmp_path / "s").mkdir()
    process, more = shared_imports.start(folder, dict(os.environ))
    try:
        environment = {**os.environ, **more, "MINE": "yes", "RAY_JOB_ID": "01", "RAY_RAYLET_PID": "1"}
        said = []
        for number in "12":
            with open(tmp_path / "said", "w+", encoding="utf-8") as file:
                command = [sys.executable, "-u", str(worker), number]
                subprocess.run(
                    command, env=environment, cwd=tmp_path, stdout=file, stderr=file, timeout=200, check=True
                )
                until = time.monotonic() + 100
                while len(lines := (tmp_path / "said").read_text().splitlines()) < 2 and time.monotonic() < until:
                    time.sleep(0.1)
            assert lines[0] == f"True yes {tmp_path} ['{number}']"
            said.append(lines[1])
        assert said[0] != said[1]  # equal ids of tasks would end actors
    finally:
        for pid in [*descendants(process.pid), process.pid]:
            kill(pid)
        process.wait()


@pytest.mark.slow
def test_a_study_three_ways(tmp_path: Path) -> None:
    small = ("--rounds", "1", "--seeds", "1", "--epochs", "1", "--teacher-epochs", "1", "--arms", "kd")
    text, found = run(tmp_path, "study.py", *small)
    assert "all numbers the same" in text
    assert found["median"]["trials"] == 2
    assert found["median"]["values_compared"] > 50
    assert all(found["median"][f"wall_{way}"] > 0 for way in "ABC")
    assert found["median"]["bound"] >= 1


def test_a_study_whose_numbers_differ_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import study
    from tests.support.synthetic import make_store

    def fake(way: str, out: Path, arguments: list[str], cores: int) -> float:
        make_store(out / "ablation", ["a", "b"], value=lambda arm, seed: 0.7 + 1e-12 * (way == "C"))
        return 1.0

    monkeypatch.setattr(study, "timed", fake)
    monkeypatch.setattr(
        study, "measured_forwards", lambda *_: [{"cohorts": [], "teacher_alone": 0.1, "teacher_shared": 0.1}]
    )
    with pytest.raises(SystemExit, match="A and C differ"):
        study.one_round("ABC", [], 2)


def test_a_run_is_added_once_and_only_beside_its_own_declaration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import results

    monkeypatch.setattr(results, "RUNS", tmp_path)
    store = shutil.copytree(ROOT / "benchmarks" / "results" / "headline-laptop-5000", tmp_path / "store")
    (store / "declared.json").write_text("{}")
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "declared.json").write_text('{"of": "another"}')
    with pytest.raises(UserError, match="was committed before its run"):
        results.add(str(store), "before")
    (tmp_path / "before" / "declared.json").write_text("{}")
    results.add(str(store), "before")
    assert sorted(path.name for path in (tmp_path / "before").iterdir()) == [
        "declared.json", "epochs.parquet", "study.json", "trials.parquet"
    ]  # fmt: skip
    with pytest.raises(UserError, match="has a run; remove it first"):
        results.add(str(store), "before")


def test_the_tables_of_the_results_are_those_of_their_parquet() -> None:
    from benchmarks.results import RUNS, tables

    text = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    runs = sorted(path.parent for path in RUNS.glob("*/study.json"))
    assert runs
    for folder in runs:
        assert tables(folder) in text, f"RESULTS.md does not show {folder.name} as it is: run benchmarks/results.py"
        assert sum(file.stat().st_size for file in folder.iterdir()) < 500_000


def test_the_map_is_that_of_the_runs() -> None:
    from benchmarks import claim_map

    found = claim_map.points()
    assert claim_map.table(found) in (ROOT / "benchmarks" / "RESULTS.md").read_text(), "run benchmarks/claim_map.py"
    drawn = (ROOT / "benchmarks" / "claim_map.svg").read_text()
    assert all(title in drawn for title in (*claim_map.VARIES.values(), *claim_map.NAMES.values()))
    # Of two runs with the same point the one with more seeds counts, and a difference is paired by seed.
    ten = next(p for p in found if (p.varies, p.value, p.method) == ("images", 10_000, "full method"))
    trials = load(str(ROOT / "benchmarks" / "results" / ten.run)).trials
    own = trials[trials["arm"] == claim_map.FULL]
    assert ten.mean == pytest.approx(100 * (own["test_acc"] - own["teacher_test_acc"]).mean())
    assert ten.n == len(own)


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks" / "results").glob("*.json")), ids=lambda file: file.stem)
def test_stored_figures_state_when_and_where_they_were_measured(file: Path) -> None:
    check_record(file)
    found = json.loads(file.read_text())
    assert found["benchmark"] == file.stem.removesuffix("-gpu")
    assert found["commit"]
    assert file.stat().st_size < 10_000
