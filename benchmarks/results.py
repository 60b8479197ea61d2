"""The tables of benchmarks/RESULTS.md, from the Parquet beside it.

    uv run benchmarks/results.py                                # print what RESULTS.md must hold, run by run
    uv run benchmarks/results.py --keep results/headline NAME   # take the small tables of a finished run in

A run here is `study.json`, `trials.parquet` and `epochs.parquet` of its store, read as any store is; predictions,
checkpoints and the page stay where it ran. `scl.results.load("benchmarks/results/NAME")` opens it, and
`uv run reports/table.py benchmarks/results/NAME` writes its main table.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from scl import stats
from scl.report import gather, paper_table
from scl.report.facts import Facts
from scl.store.files import open_folder
from scl.store.results import load
from scl.store.study_file import write_study

KEPT = Path(__file__).with_name("results")


def tables(folder: Path) -> str:
    """Markdown of one run: what was declared, arms beside their own teachers, arms beside the baseline."""
    facts = gather(load(str(folder)))
    parts = [_declared(facts), _beside_teachers(facts), paper_table.markdown(facts)]
    return "\n".join(part for part in parts if part)


def _declared(facts: Facts) -> str:
    found = facts.declared
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


def _beside_teachers(facts: Facts) -> str:
    """Every arm minus the teacher of its seed: 95 % intervals of each alone, so that one in twenty is wrong."""
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


def keep(store: str, name: str) -> int:
    read = load(store)
    (KEPT / name).mkdir(parents=True, exist_ok=True)
    for file in ("trials.parquet", "epochs.parquet"):
        shutil.copyfile(Path(store) / file, KEPT / name / file)
    write_study(open_folder(str(KEPT / name)), _without_folders(read.study))
    assert pd.DataFrame.equals(load(str(KEPT / name)).trials, read.trials)
    return 0


def _without_folders(value: Any) -> Any:
    """A document without the folders of the machine that wrote it: of each absolute path the last name."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return re.sub(r"(?<!\S)/\S*/(\S+)", r"\1", value) if isinstance(value, str) else value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", nargs=2, metavar=("STORE", "NAME"), help="take a run's tables")
    options = parser.parse_args()
    if options.keep:
        return keep(*options.keep)
    for folder in sorted(path.parent for path in KEPT.glob("*/study.json")):
        print(f"## {folder.name}\n\n{tables(folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
