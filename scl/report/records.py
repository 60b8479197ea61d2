"""The panels of record: what ran, the main table, every trial, and the words."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from scl import stats
from scl.report.blocks import Block, Cell, Column, Note, Pairs, Panel, Row, Table, arm_cell, number_table, text_cell
from scl.report.facts import Facts, summary
from scl.report.theme import plain, shorten
from scl.report.words import (
    DASH,
    bare,
    count,
    duration,
    name_of,
    p_value,
    percent,
    plural,
    points,
    signed,
)

MOST_ROWS = 1000


def ran(facts: Facts) -> Panel:
    study = facts.study
    states = facts.cells["state"].value_counts()
    parts = [f"{states.get('completed', 0):,} of {plural(len(facts.cells), 'planned trial')} completed"]
    parts += [f"{states[s]:,} {s}" for s in ("pruned", "failed", "missing") if states.get(s, 0)]
    seconds = float(facts.trials["train_seconds"].sum())
    devices = sorted({str(d) for d in facts.trials["device"].dropna()})
    where = f" on {' and '.join(map(plain, devices[:4]))}" if devices else ""
    items = [("Trials", ", ".join(parts)), ("Device time", f"{duration(seconds)} of training steps{where}")]
    others = len(facts.results.trials) - len(facts.trials)
    if others:
        rows = plural(others, "row of other settings", "rows of other settings")
        items.append(("Also in the store", f"{rows}, not part of this page"))
    items += _setup(study, _teacher(facts))
    blocks: list[Block] = [Pairs(items)]
    gaps = facts.cells[facts.cells["state"] == "missing"]
    if len(gaps):
        names = [f"{name_of(arm)} seed {seed}" for arm, seed in zip(gaps["arm"], gaps["seed"], strict=True)]
        more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
        blocks.append(Note(f"Missing: {', '.join(names[:8])}{more}. The same command runs them."))
    if study.get("arms"):
        blocks.append(_settings(study["arms"]))
    if "limit" in (study.get("data") or {}) and study["data"]["limit"]:
        blocks.append(Note(f"A quick look: training was cut to {study['data']['limit']:,} images."))
    note = str((study.get("data") or {}).get("note") or "")
    answer = ", ".join(parts) + "." + (f" {plain(note)}" if note else "")
    return Panel("ran", "What ran", answer, blocks)


def _teacher(facts: Facts) -> str:
    """The teacher's recipe and its accuracy, by seed where each seed has its own."""
    teacher = facts.study.get("teacher") or {}
    parts = [
        str(teacher.get("model") or ""),
        f"width {teacher['width']:g}" if teacher.get("width") else "",
        plural(teacher["epochs"], "epoch") if teacher.get("epochs") else "",
        str(teacher.get("source") or ""),
        ("one for each seed" if teacher.get("per_seed") else "one for all seeds") if teacher else "",
    ]
    parts += [
        ("" if seed == "all" else f"seed {seed} ") + percent(value, facts.decimals)
        for seed, value in list(facts.teachers.items())[:10]
    ]
    return ", ".join(part for part in parts if part)


def _setup(study: dict[str, Any], teacher: str) -> list[tuple[str, str]]:
    """What study.json tells about the set-up, as far as it does."""
    data = study.get("data") or {}
    git, hardware = study.get("git") or {}, study.get("hardware") or {}
    images = [f"{data[part]:,} {word}" for part, word in _SPLITS if data.get(part) is not None]
    shape = [str(data[k]) for k in ("channels", "height", "width") if data.get(k)]
    machine = [
        str(hardware.get("cpu") or ""),
        plural(hardware["cores"], "core") if hardware.get("cores") else "",
        f"{hardware['memory_gb']:.0f} GB" if hardware.get("memory_gb") else "",
        *[str(gpu) for gpu in hardware.get("gpus") or []],
    ]
    commit = str(git.get("commit") or "")
    if commit and git.get("dirty"):
        commit += ", with uncommitted changes"
    ran_for = duration(float(study["wall_seconds"])) if study.get("wall_seconds") is not None else ""
    looks = [f"{look.get('seeds', '?')} seeds at {look.get('when', '?')}" for look in study.get("looks") or []]
    items = [
        ("Data", ", ".join([str(data.get("name") or ""), "×".join(shape), *images])),
        ("Classes", f"{data['classes']:,}; chance is {percent(1 / data['classes'], 1)}" if data.get("classes") else ""),
        ("Teacher", teacher),
        ("Selection", str(study.get("selection") or "")),
        ("Command", str(study.get("command") or "")),
        ("Commit", commit or "unknown"),
        ("Versions", ", ".join(f"{k} {v}" for k, v in sorted((study.get("versions") or {}).items()))),
        ("Hardware", ", ".join(part for part in machine if part)),
        ("Started", str(study.get("started") or "")),
        ("Wall time", ran_for),
        ("Looks", ", ".join(looks)),
        ("Data fingerprint", str(data.get("fingerprint") or "")),
    ]
    return [(term, plain(text)) for term, text in items if text.strip(", ")]


_SPLITS = (("train", "training images"), ("val", "for validation"), ("test", "for test"))


def _settings(arms: dict[str, dict[str, Any]]) -> Table:
    """What each arm asked for, without what all arms share and without defaults."""
    shared = {
        key: value
        for key, value in next(iter(arms.values())).items()
        if all(key in arm and arm[key] == value for arm in arms.values())
    }
    own = {name: {k: v for k, v in arm.items() if k not in shared} for name, arm in arms.items()}
    rows = [(name, [text_cell(_setting(fields))]) for name, fields in own.items()]
    if shared:
        rows.insert(0, ("all arms", [text_cell(_setting(shared))]))
    columns = [Column("settings", "Differs from the defaults in", number=False)]
    return number_table(columns, rows)


def _setting(fields: dict[str, Any]) -> str:
    """A configuration in words: `epochs 30; kd × 0.9 (temperature 2)`."""
    parts = []
    for key, value in sorted(fields.items()):
        if key != "losses" or not isinstance(value, dict):
            parts.append(f"{key} {_words(value)}")
            continue
        for loss, term in sorted(value.items()):
            options = {k: v for k, v in term.items() if k not in ("weight", "options")} | term.get("options", {})
            more = f" ({', '.join(f'{k} {_words(v)}' for k, v in sorted(options.items()))})" if options else ""
            parts.append(f"{loss} × {_words(term.get('weight', 1))}{more}")
    return "; ".join(parts) or "nothing"


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def table(facts: Facts) -> Panel:
    m = facts.metric
    columns = [
        Column("arm", "Arm", number=False),
        Column("n", "n", "seeds completed"),
        Column(f"{m}_mean", "mean", "test accuracy after the last epoch, %", "Accuracy, %"),
        Column(f"{m}_sd", "± sd", "standard deviation over seeds, not of the mean", "Accuracy, %"),
        Column(f"{m}_low", "from", "Student's t interval of the mean", "95 % interval"),
        Column(f"{m}_high", "to", "Student's t interval of the mean", "95 % interval"),
        Column("difference", "points", "model accuracy ~ arm + seed", "Difference to the baseline"),
        Column("difference_low", "from", "simultaneous 95 % interval", "Difference to the baseline"),
        Column("difference_high", "to", "simultaneous 95 % interval", "Difference to the baseline"),
        Column("p", "p", "adjusted for all comparisons (Dunnett)", "Difference to the baseline"),
        Column("p_holm", "Holm p", "check: paired t test by seed, Holm's correction", "Check by pairs"),
        Column("d_z", "d_z", "mean difference in units of its standard deviation over seeds", "Check by pairs"),
        Column("params", "Params", "trained parameters of the student"),
        Column("macs", "MACs", "multiply-adds of one image"),
        Column("latency_ms", "Latency, ms"),
    ]
    frame = summary(facts)
    rows = []
    for values in frame.to_dict("records"):
        arm = str(values["arm"])
        kind = "baseline" if arm == facts.baseline else "left-out" if arm in facts.left_out else ""
        cells = [arm_cell(arm), *[_cell(str(c.key), values[c.key], facts.decimals) for c in columns[1:]]]
        rows.append(Row(cells, arm, kind))
    step = 10.0**-facts.decimals
    answer = (
        f"± is the standard deviation over seeds. Accuracies are shown to {step:g} points, about the worth of one test "
        "image; sorting and copying use the exact values. A head sorts the table."
    )
    blocks: list[Block] = [Table(columns, rows, id="main-table", sortable=True)]
    if facts.left_out:
        blocks.append(
            Note(
                "Left out of the comparison: " + "; ".join(f"{name_of(a)} {r}" for a, r in facts.left_out.items()) + "."
            )
        )
    return Panel("table", "The numbers", answer, blocks)


def _cell(key: str, value: float, decimals: int) -> Cell:
    if not math.isfinite(value):
        return Cell(DASH)
    if key.startswith("difference"):
        shown = points(value, decimals)
    elif key in ("p", "p_holm"):
        shown = p_value(value)
    elif key == "d_z":
        shown = signed(value, 2)
    elif key in ("params", "macs"):
        shown = count(value)
    elif key == "latency_ms":
        shown = f"{value:.3g}"
    elif key == "n":
        shown = f"{value:.0f}"
    else:
        shown = bare(value, decimals)
    return Cell(shown, value)


def trials(facts: Facts) -> Panel:
    """Every trial of the plan, the failed first; a long study's table is cut, and says so."""
    m, d = facts.metric, facts.decimals
    order = {"failed": 0, "missing": 1, "pruned": 2, "completed": 3}
    cells = facts.cells.merge(facts.trials.drop(columns=["arm", "seed", "state"]), on="trial_id", how="left")
    cells = cells.iloc[cells["state"].map(order).fillna(4).argsort(kind="stable")]
    columns = [
        Column("arm", "Arm", number=False),
        Column("seed", "Seed"),
        Column("state", "State", number=False),
        Column("error", "Reason", number=False),
        Column(m, "Test accuracy, %", "after the last epoch"),
        Column("val_acc", "Validation, %", "after the last epoch"),
        Column("test_acc_at_best_val", "At best validation, %", "test accuracy at the best validation epoch"),
        Column("agreement", "Agreement, %"),
        Column("epochs", "Epochs"),
        Column("train_seconds", "Seconds"),
        Column("trial_id", "Id", number=False),
    ]
    rows = []
    for r in cells.head(MOST_ROWS).to_dict("records"):
        accuracies = [_fraction(r[c], d) for c in (m, "val_acc", "test_acc_at_best_val", "agreement")]
        reason = "" if pd.isna(r["error"]) else shorten(plain(r["error"]), 400)
        rows.append(
            Row(
                [
                    arm_cell(r["arm"]),
                    Cell(str(r["seed"]), int(r["seed"])),
                    Cell(r["state"]),
                    Cell(reason),
                    *accuracies,
                    Cell(DASH) if pd.isna(r["epochs"]) else Cell(f"{r['epochs']:.0f}", int(r["epochs"])),
                    Cell(DASH)
                    if pd.isna(r["train_seconds"])
                    else Cell(f"{r['train_seconds']:.1f}", r["train_seconds"]),
                    Cell(str(r["trial_id"])[:10]),
                ],
                str(r["arm"]),
                str(r["state"]),
            )
        )
    failed = int((cells["state"] == "failed").sum())
    answer = f"{plural(failed, 'trial')} failed; reasons are in the table." if failed else "No trial failed."
    if len(cells) > MOST_ROWS:
        answer += f" The table holds the first {MOST_ROWS:,} of {len(cells):,}; trials.parquet holds all."
    return Panel("trials", "Everything", answer, [Table(columns, rows, id="all-trials", sortable=True)])


def _fraction(value: float, decimals: int) -> Cell:
    return Cell(DASH) if pd.isna(value) else Cell(bare(value, decimals), float(value))


def glossary(facts: Facts) -> Panel:
    level = f"{100 * stats.LEVEL:.0f} %"
    words = [
        ("Arm, baseline", "a named variant in the study; the arm that all others are compared with"),
        ("Trial, seed", "one arm at one seed. A seed moves initialisation, data order and augmentation, nothing else"),
        ("Teacher, student", "the trained network that guides; the network being trained"),
        ("Self-taught neurons", "extra channels of a guided layer that this layer's transfer losses do not see"),
        ("Test accuracy", "share of test images classified rightly after the last epoch; never the best epoch"),
        ("sd", "standard deviation over seeds, with n − 1; the spread of single trials, not of their mean"),
        (f"{level} interval of a mean", "Student's t: mean ± t(n − 1) · sd / √n"),
        (
            "Simultaneous interval",
            f"intervals of all differences to the baseline that hold together with {level}, so that the largest may "
            "be picked after looking. Dunnett's method in the linear model accuracy ~ arm + seed",
        ),
        (
            "Corrected p",
            "p of the same model and method: the chance of a difference this large anywhere, were there none",
        ),
        ("Holm p", "a check that does not pool variances: paired t tests by seed, Holm's step-down correction"),
        ("d_z", "mean paired difference divided by the standard deviation of the paired differences"),
        ("Power, smallest effect", "the true difference that such intervals tell from 0 in 80 % of studies like this"),
        (
            "Collapsed",
            "an arm with a seed that ended under half of the baseline's way above chance. It is named and left out, "
            "as its variance would widen every interval",
        ),
        ("Pruned", "stopped early on purpose; never averaged with completed trials"),
        ("Agreement", "share of test images on which student and teacher predict the same class, right or wrong"),
        ("Point", "a percentage point: 71.0 % is one point above 70.0 %"),
        ("MACs", "multiply-adds of the forward pass for one image"),
    ]
    return Panel("glossary", "Words", "How the terms on this page are meant.", [Pairs(words)])
