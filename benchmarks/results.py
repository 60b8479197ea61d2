"""The tables of benchmarks/RESULTS.md, made from the runs in benchmarks/results.

    uv run benchmarks/results.py                                # print the tables of RESULTS.md, run by run
    uv run benchmarks/results.py --add results/headline NAME    # copy the small tables of a finished run

A run here is `study.json`, `trials.parquet` and `epochs.parquet` of its store, without predictions, checkpoints and the
page. `scl.load("benchmarks/results/NAME")` opens it, and `uv run reports/table.py benchmarks/results/NAME` writes its
main table.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import math
import re
import shutil
from typing import Any

import pandas as pd

from scl import UserError, load, stats
from scl.report import gather, paper_table
from scl.report.facts import Facts
from scl.store import declaration
from scl.store.files import open_folder
from scl.store.study_file import write_study

RUNS = Path(__file__).with_name("results")


def tables(folder: Path) -> str:
    """Markdown of one run: the declared comparison, all arms minus their teachers, all arms minus the baseline."""
    facts = gather(load(str(folder)))
    parts = [_declared(facts), _against_teachers(facts), paper_table.markdown(facts)]
    return "\n".join(part for part in parts if part)


def _declared(facts: Facts) -> str:
    found = facts.against_teacher
    if found is None:
        return ""
    rows = [
        f"| {seed} | {100 * row['student']:.2f} | {100 * row['teacher']:.2f} "
        f"| {100 * (row['student'] - row['teacher']):+.2f} |"
        for seed, row in found.by_seed.iterrows()
    ]
    m = found.test.differences
    answer = (
        f"{found.arm} − its own teacher: {100 * m.mean:+.2f} points, sd {100 * m.sd:.2f}, n = {m.n}, "
        f"95 % interval [{100 * m.low:+.2f}, {100 * m.high:+.2f}], p = {found.test.p:.3f}: {found.test.answer}."
    )
    return "\n".join(
        ["| seed | student, % | teacher, % | difference |", "| --- | ---: | ---: | ---: |", *rows, "", answer, ""]
    )


def _against_teachers(facts: Facts) -> str:
    """Every arm minus the teacher of its seed, with uncorrected 95 % intervals: one in twenty is wrong."""
    if facts.declared is None:
        return ""
    rows = facts.completed.dropna(subset=["teacher_test_acc"])
    lines = []
    for arm in facts.arms:
        of = rows[rows["arm"] == arm]
        if of.empty:
            continue
        m = stats.mean_interval((of[facts.metric] - of["teacher_test_acc"]).to_numpy(dtype=float))
        interval = f"[{100 * m.low:+.2f}, {100 * m.high:+.2f}]" if math.isfinite(m.low) else "–"
        size = f"{of['params'].iloc[0] / 1e3:,.0f} k | {of['macs'].iloc[0] / 1e6:.1f} M"
        accuracy = f"{100 * of[facts.metric].mean():.2f}"
        lines.append((m.mean, f"| {arm} | {m.n} | {accuracy} | {100 * m.mean:+.2f} | {interval} | {size} |"))
    head = ["| arm | n | accuracy, % | − its own teacher | 95 % interval | params | MACs |"]
    head.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    return "\n".join([*head, *(line for _, line in sorted(lines, key=lambda pair: -pair[0])), ""])


def add(store: str, name: str) -> None:
    """Copy the small tables of the run in `store`, and its declaration, to benchmarks/results/NAME.

    Raises:
        UserError: there is a run, or the declaration of another.
    """
    read, declared, before = load(store), Path(store) / declaration.NAME, RUNS / name / declaration.NAME
    if (RUNS / name / "study.json").exists():
        raise UserError(f"{RUNS / name} has a run; remove it first, or choose another NAME")
    if before.exists() and not (declared.exists() and before.read_bytes() == declared.read_bytes()):
        raise UserError(f"{before} was committed before its run, which is not that of {store}: choose another NAME")
    (RUNS / name).mkdir(parents=True, exist_ok=True)
    for file in ("trials.parquet", "epochs.parquet", *([declaration.NAME] if declared.exists() else [])):
        shutil.copyfile(Path(store) / file, RUNS / name / file)
    write_study(open_folder(str(RUNS / name)), _without_folders(read.study))
    assert pd.DataFrame.equals(load(str(RUNS / name)).trials, read.trials)


def _without_folders(value: Any) -> Any:
    """A document in which each absolute path is cut to its last name."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return re.sub(r"(?<!\S)/\S*/(\S+)", r"\1", value) if isinstance(value, str) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", nargs=2, metavar=("STORE", "NAME"), help="copy the tables of this run")
    options = parser.parse_args()
    if options.add:
        try:
            add(*options.add)
        except UserError as error:
            parser.error(f"--add: {error}")
        return
    for folder in sorted(path.parent for path in RUNS.glob("*/study.json")):
        print(f"## {folder.name}\n\n{tables(folder)}")


if __name__ == "__main__":
    main()
