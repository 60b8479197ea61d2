"""What ran? Trials by state, device time, data, teacher and code."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from scl.masking import masked_command, masked_value
from scl.report.blocks import Block, Note, Pairs, Panel
from scl.report.effort import effort
from scl.report.facts import Facts
from scl.report.formatting import PERCENT, duration, enumerated, format_seeds, moment, name_of, plain, plural
from scl.report.looks import seeds_of
from scl.study.fields import generation_of
from scl.study.metrics import DEFAULT

Shown = dict[str, Callable[[Any], str]]  # field of study.json → its value as text
MOST_PARTS = 20  # merged stores that the page lists


def panel(facts: Facts) -> Panel:
    study = facts.study
    states = facts.plan["state"].value_counts()
    parts = [f"{states.get('completed', 0):,} of {plural(len(facts.plan), 'planned trial')} completed"]
    parts += [f"{states[s]:,} {s}" for s in ("pruned", "failed", "missing") if states.get(s, 0)]
    blocks: list[Block] = [Pairs([("Trials", ", ".join(parts)), *_training(facts), *_setup(facts, _teacher(facts))])]
    missing = facts.plan[facts.plan["state"] == "missing"]
    if len(missing):
        names = [f"{name_of(arm)} seed {seed}" for arm, seed in zip(missing["arm"], missing["seed"], strict=True)]
        blocks.append(Note(f"Missing: {_first(names)}. The same command trains them."))
    if facts.results.damaged:
        blocks.append(Note(_damaged(facts.results.damaged)))
    data = study.get("data") or {}
    if data.get("limit"):
        blocks.append(Note(f"Quick look: only {data['limit']:,} training images were used."))
    blocks += [Note(plain(str(caveat))) for caveat in data.get("caveats") or ()]
    note = str(data.get("note") or "")
    answer = ", ".join(parts) + "." + (f" {plain(note)}" if note else "")
    return Panel("setting", "What ran?", answer, blocks)


def _first(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")


def _training(facts: Facts) -> list[tuple[str, str]]:
    """Device time, energy, resumed trials, and rows of the store that do not belong to the present plan."""
    items = effort(facts)
    restarts = int(facts.trials["restarts"].fillna(0).sum()) if "restarts" in facts.trials else 0
    if restarts:
        items.append(("Resumed", f"{plural(restarts, 'time')} from a checkpoint"))
    others = len(facts.results.trials) - len(facts.trials)
    if others:
        rows = plural(others, "row of other settings", "rows of other settings")
        items.append(("Also in the store", f"{rows}, not part of this page"))
    return items


def _damaged(names: tuple[str, ...]) -> str:
    return (
        f"{plural(len(names), 'file')} of this study did not match the checksum and moved to the folder “damaged”: "
        f"{_first([plain(name) for name in names])}. Trials with a damaged checkpoint resumed from the previous one; "
        "trials with a damaged result were retrained; damaged tables were restored from their copy. No number on this "
        "page comes from a damaged file."
    )


def _teacher(facts: Facts) -> str:
    """The recipe and accuracy of the teacher, of each by its own seed if there are several."""
    teacher = facts.study.get("teacher") or {}
    shown: Shown = {"model": str, "width": "width {:g}".format, "epochs": lambda n: plural(n, "epoch"), "source": str}
    parts = [show(teacher[key]) for key, show in shown.items() if teacher.get(key)]
    several = teacher.get("teachers")
    shared = f"seed s learns from teacher s mod {several}" if several else "one for all seeds"
    parts += ["one for each seed" if teacher.get("per_seed") else shared] if teacher else []
    whose = "teacher" if several else "seed"
    names = {seed: "" if seed == "all" else f"{whose} {seed} " for seed in list(facts.teachers)[:10]}
    parts += [name + facts.unit.value(facts.teachers[seed], facts.decimals) for seed, name in names.items()]
    return ", ".join(parts)


def teachers_of_arms(facts: Facts) -> str:
    """The teachers of arms that name theirs, with the test accuracy of each and of their mean logits."""
    entries = (facts.study.get("teacher") or {}).get("of_arms") or []
    texts = []
    for arm in dict.fromkeys(entry["arm"] for entry in entries):
        mine = [entry for entry in entries if entry["arm"] == arm]
        trained = [name for name in mine[0]["by"] if name != "ema"]
        each = [_mean_accuracy([e["each"][k] for e in mine if e.get("each")]) for k in range(len(trained))]
        named = [_taught_by(name) + of for name, of in zip(trained, each, strict=True)]
        named += [_TAUGHT_BY["ema"]] * ("ema" in mine[0]["by"])
        mean = _mean_accuracy([entry.get("test_acc") for entry in mine]) if len(trained) > 1 else ""
        of_mean = f" (mean logits of the trained ones:{mean})" if mean else ""
        texts.append(f"{name_of(arm)}: {enumerated(named)}{of_mean}")
    return "; ".join(texts)


_TAUGHT_BY = {
    "teacher": "the study’s teacher",
    "self": "the student’s own network and recipe",
    "ema": "the average of the student’s weights",
}


def _taught_by(name: str) -> str:
    generation = generation_of(name)
    if generation:
        return f"the student’s own network in generation {generation}"
    return _TAUGHT_BY.get(name, name)


def _mean_accuracy(values: Sequence[float | None]) -> str:
    """The mean of test accuracies, for text; empty without one."""
    known = [value for value in values if value is not None]
    return f" {PERCENT.value(sum(known) / len(known), 1)}" if known else ""


def _setup(facts: Facts, teacher: str) -> list[tuple[str, str]]:
    """The setup as far as study.json has it."""
    study = facts.study
    data = study.get("data") or {}
    git, hardware = study.get("git") or {}, study.get("hardware") or {}
    images = [f"{data[part]:,} {word}" for part, word in _SPLITS if data.get(part) is not None]
    shape = [str(data[k]) for k in ("channels", "height", "width") if data.get(k)]
    shown: Shown = {"cpu": str, "cores": lambda n: plural(n, "core"), "memory_gb": "{:.0f} GB".format}
    machine = [show(hardware[key]) for key, show in shown.items() if hardware.get(key)]
    machine += [str(gpu) for gpu in hardware.get("gpus") or [] if str(gpu)]
    commit = str(git.get("commit") or "")
    if commit and git.get("dirty"):
        commit += ", with uncommitted changes"
    wall_time = duration(float(study["wall_seconds"])) if study.get("wall_seconds") is not None else ""
    analyses = [
        plural(len(seeds_of(at)), "seed")
        + (f" of {at['part']}" if at.get("part") else "")
        + f" at {moment(at.get('when')) or '?'}"
        for at in study.get("looks") or []
    ]
    items = [
        ("Data", ", ".join([str(data.get("name") or ""), "×".join(shape), *images])),
        ("Classes", f"{data['classes']:,}; chance is {facts.chance_text}" if data.get("classes") else ""),
        ("Metric", "" if facts.metric == DEFAULT else f"{facts.measure.title}, {_direction(facts)}"),
        ("Constraints", ", ".join(f"{name} <= {most:.6g}" for name, most in facts.bounds.items())),
        ("Augmentation", f"augment auto is {data['auto_augment']} on these images" if data.get("auto_augment") else ""),
        ("Teacher", teacher),
        ("Teachers of arms", teachers_of_arms(facts)),
        ("Search", _search(study)),
        ("Selection", str(study.get("selection") or "")),
        ("Command", masked_command(str(study.get("command") or "").split(" "))),
        ("Merged from", _parts(study)),
        ("Commit", commit or "unknown"),
        ("Versions", ", ".join(f"{k} {v}" for k, v in sorted((study.get("versions") or {}).items()))),
        ("Hardware", ", ".join(machine)),
        ("Started", moment(study.get("started"))),
        ("Wall time", wall_time),
        ("Analyses", ", ".join(analyses)),
        ("Data fingerprint", str(data.get("fingerprint") or "")),
    ]
    return [(term, plain(text)) for term, text in items if text.strip(", ")]


def _direction(facts: Facts) -> str:
    return f"{'higher' if facts.measure.sign > 0 else 'lower'} is better"


def _parts(study: dict[str, Any]) -> str:
    """The runs whose stores were merged: seeds, time, machine."""
    parts = study.get("merged") or []
    texts = []
    for part in parts[:MOST_PARTS]:
        wall = duration(float(part["wall_seconds"])) if part.get("wall_seconds") is not None else "not ended"
        hardware = part.get("hardware") or {}
        machine = [str(hardware.get("cpu") or ""), *[str(gpu) for gpu in hardware.get("gpus") or []]]
        commit = str((part.get("git") or {}).get("commit") or "unknown")[:12]
        shown = [f"seeds {format_seeds(part['seeds'])}", wall, *filter(None, machine), f"commit {commit}"]
        texts.append(f"{part['from']} ({', '.join(shown)})")
    more = len(parts) - MOST_PARTS
    return "; ".join(texts + [f"{more:,} more in study.json"] * (more > 0))


def _search(study: dict[str, Any]) -> str:
    """The search space, and the Optuna study if it is stored."""
    ranges = [f"{name} {_range(about)}" for name, about in (study.get("search_space") or {}).items()]
    about = study.get("search") or {}
    stored = (
        f"Optuna study {about['optuna_study']} in {masked_value(str(about.get('storage')))}"
        if about.get("optuna_study")
        else ""
    )
    return "; ".join([*ranges, *([stored] if stored else [])])


def _range(about: dict[str, Any]) -> str:
    where = "".join(f" where {b} is {' or '.join(map(str, c))}" for b, c in (about.get("if") or {}).items())
    if about.get("choices"):
        return f"one of {', '.join(map(str, about['choices']))}{where}"
    return f"{about.get('low')} to {about.get('high')}{' (log)' if about.get('log') else ''}{where}"


_SPLITS = (("train", "training images"), ("val", "for validation"), ("test", "for test"))


def setting(fields: dict[str, Any]) -> str:
    """A configuration in words: `epochs 30; kd × 0.9 (temperature 2)`."""
    parts = []
    for key, value in sorted(fields.items()):
        if key != "losses" or not isinstance(value, dict):
            parts.append(f"{key} {_text(value)}")
            continue
        for loss, term in sorted(value.items()):
            options = {k: v for k, v in term.items() if k not in ("weight", "options")} | term.get("options", {})
            more = f" ({', '.join(f'{k} {_text(v)}' for k, v in sorted(options.items()))})" if options else ""
            parts.append(f"{loss} × {_text(term.get('weight', 1))}{more}")
    return "; ".join(parts) or "nothing"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
