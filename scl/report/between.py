"""One page over several studies, or several runs of one: what changed between them, and how their arms differ.

Differences are tested only where both studies share the teacher, the split and the recipe: then a seed is the same
block in both, and the arm is all that differs. Elsewhere the numbers stand side by side, with the reason.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scl import stats
from scl.report.assemble import page
from scl.report.blocks import Block, Card, Cards, Cell, Column, Note, Panel, Plot, Row, Table, text_cell
from scl.report.facts import Facts, gather
from scl.report.figures.rows import ArmRow, ArmRows, draw_rows, zero_line
from scl.report.panels.ran import setting
from scl.report.theme import axis, plain
from scl.report.words import DASH, bare, listing, name_of, p_value, plural, points, verdict
from scl.results import Results

# Fields of study.json that say what ran, by the heading under which they are told. Dotted: inside a dict.
SETTINGS = {
    "Data": ("data.name", "data.fingerprint", "data.train", "data.val", "data.test", "data.limit"),
    "Split": ("data.split_seed", "data.val_share"),
    "Teacher": (
        "teacher.model",
        "teacher.width",
        "teacher.epochs",
        "teacher.source",
        "teacher.per_seed",
        "teacher.ids",
    ),
    "Code": ("git.commit", "git.dirty", "versions"),
    "Design": ("baseline", "seeds", "metric", "selection", "design"),
    "Machine": ("hardware", "cpus_per_trial"),
    "Command": ("command",),
}
MOST_ARMS = 40


@dataclass(frozen=True)
class Shared:
    """One arm that two studies have: second − first by seed, as fractions.

    same: whether it is the very same configuration. paired: NaN where nothing may be tested.
    """

    arm: str
    same: bool
    first: float
    second: float
    paired: stats.Paired


@dataclass(frozen=True)
class Versus:
    """The second study against the first. why_not: what keeps differences from being tested; else empty."""

    first: str
    second: str
    shared: tuple[Shared, ...]
    why_not: tuple[str, ...]


def render(studies: Mapping[str, Results]) -> str:
    """The page over these studies; the first is the one that all others are compared with. Names tell them apart."""
    facts = {name: gather(study) for name, study in studies.items()}
    first, *others = facts
    against = [versus(first, facts[first], other, facts[other]) for other in others]
    panels = [_lead(facts, against), _changes(facts)]
    panels += [_differences(f"versus-{i}", one, facts[one.second]) for i, one in enumerate(against, 1)]
    panels.append(_effects(facts))
    panels.append(_arms(facts))
    return page(" · ".join(map(plain, facts)), panels, _question(facts))


def _question(facts: Mapping[str, Facts]) -> str:
    asked = {str(f.study.get("question") or "") for f in facts.values()}
    return (
        plain(asked.pop())
        if len(asked) == 1 and "" not in asked
        else f"{plural(len(facts), 'study', 'studies')} compared"
    )


def changes(studies: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Heading → field → its value in each study, for fields that are not the same in all."""
    out: dict[str, dict[str, list[Any]]] = {}
    for heading, fields in SETTINGS.items():
        for field in fields:
            for name, values in _flat(field, [_get(study, field) for study in studies.values()]):
                if len({json.dumps(v, sort_keys=True, default=str) for v in values}) > 1:
                    out.setdefault(heading, {})[name] = values
    arms = [dict(study.get("arms") or {}) for study in studies.values()]
    recipes = [recipe(study) for study in studies.values()]
    for name in sorted(set().union(*recipes)):
        values = [r.get(name) for r in recipes]
        if len({json.dumps(v, sort_keys=True, default=str) for v in values}) > 1:
            out.setdefault("Recipe", {})[name] = values
    for arm in dict.fromkeys(itertools.chain.from_iterable(arms)):
        own = [_own(a[arm], r) if arm in a else None for a, r in zip(arms, recipes, strict=True)]
        if len({json.dumps(v, sort_keys=True) for v in own}) > 1:
            out.setdefault("Arms", {})[arm] = ["not there" if v is None else setting(v) for v in own]
    return out


def _get(study: Mapping[str, Any], field: str) -> Any:
    value: Any = study
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _flat(field: str, values: list[Any]) -> list[tuple[str, list[Any]]]:
    """A field that is a dict of values is told key by key."""
    if not any(isinstance(v, Mapping) for v in values):
        return [(field, values)]
    keys = sorted(set().union(*(v for v in values if isinstance(v, Mapping))))
    return [(f"{field}.{key}", [v.get(key) if isinstance(v, Mapping) else None for v in values]) for key in keys]


def recipe(study: Mapping[str, Any]) -> dict[str, Any]:
    """The baseline's fields, losses aside: what all arms start from."""
    base = (study.get("arms") or {}).get(study.get("baseline")) or {}
    return {k: v for k, v in base.items() if k != "losses"}


def _own(arm: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in arm.items() if shared.get(k) != v}


def versus(first_name: str, first: Facts, second_name: str, second: Facts) -> Versus:
    """Arms that both studies have, by name, and whether their differences may be tested."""
    why_not = []
    if _teacher_ids(first) != _teacher_ids(second):
        why_not.append("their teachers differ")
    if any(
        _get(first.study, f) != _get(second.study, f)
        for f in ("data.fingerprint", "data.split_seed", "data.val_share", "data.limit")
    ):
        why_not.append("their data or split differ")
    if recipe(first.study) != recipe(second.study):
        why_not.append("their recipes differ")
    if first.metric != second.metric:
        why_not.append("they are judged by different metrics")
    configs = [f.completed.drop_duplicates("arm").set_index("arm")["config_id"].to_dict() for f in (first, second)]
    found = []
    for arm in [arm for arm in first.scores.columns if arm in second.scores.columns]:
        both = first.scores[[arm]].join(second.scores[[arm]], how="outer", lsuffix="_first", rsuffix="_second")
        both.columns = [first_name + "\0", second_name]
        (pair,) = stats.paired(both, first_name + "\0")
        same = configs[0].get(arm) == configs[1].get(arm)
        means = float(first.scores[arm].mean()), float(second.scores[arm].mean())
        found.append(Shared(str(arm), same, *means, pair))
    nothing = math.nan
    adjusted = [nothing] * len(found) if why_not else stats.holm([s.paired.p for s in found])
    shared = []
    for s, p in zip(found, adjusted, strict=True):
        d = s.paired.differences
        if why_not:
            d = stats.Mean(d.n, d.mean, nothing, nothing, nothing)
        paired = stats.Paired(
            s.arm, d, nothing if why_not else s.paired.d_z, nothing if why_not else s.paired.p, float(p)
        )
        shared.append(Shared(s.arm, s.same, s.first, s.second, paired))
    return Versus(first_name, second_name, tuple(shared), tuple(why_not))


def _teacher_ids(facts: Facts) -> set[str]:
    told = _get(facts.study, "teacher.ids")
    return set(map(str, (told or {}).values())) or set(facts.completed["teacher_id"].dropna().astype(str))


# Panels


def _lead(facts: Mapping[str, Facts], against: Sequence[Versus]) -> Panel:
    first = next(iter(facts))
    cards = [
        Card(
            name if len(name) <= 24 else name[:23] + "…",
            plural(f.scores.shape[1], "arm"),
            f"{plural(f.seeds, 'seed')}, {len(f.completed):,} completed trials",
        )
        for name, f in facts.items()
    ]
    notes = [Note(f"{name}: {verdict(f)}") for name, f in facts.items()]
    sentences = []
    for one in against:
        told = [s for s in one.shared if s.paired.p_holm < 1 - stats.LEVEL]
        head = f"{name_of(one.second)} shares {plural(len(one.shared), 'arm')} with {name_of(first)}"
        if one.why_not:
            sentences.append(f"{head}; nothing is tested, as {' and '.join(one.why_not)}.")
        elif not one.shared:
            sentences.append(f"{head}.")
        else:
            what = f"credibly different: {listing([s.arm for s in told])}" if told else "none credibly different"
            sentences.append(f"{head}, {what} (paired t, Holm).")
    return Panel("compared", "What changed between them?", " ".join(sentences), [Cards(cards), *notes])


def _changes(facts: Mapping[str, Facts]) -> Panel:
    found = changes({name: f.study for name, f in facts.items()})
    columns = [Column("what", "What", number=False), Column("field", "Field", number=False)]
    columns += [Column(f"study_{i}", plain(name), number=False) for i, name in enumerate(facts)]
    rows = [
        Row([text_cell(heading), text_cell(field), *[text_cell(_words(v)) for v in values]])
        for heading, fields in found.items()
        for field, values in fields.items()
    ]
    same = [heading for heading in (*SETTINGS, "Recipe", "Arms") if heading not in found]
    answer = f"Different: {', '.join(found).lower() or 'nothing that is on record'}."
    answer += f" The same: {', '.join(same).lower()}." if same else ""
    blocks: list[Block] = [Table(columns, rows, id="changes", label="What changed")] if rows else []
    return Panel("changes", "Configuration, data, teacher, code", answer, blocks or [Note("Nothing differs.")])


def _words(value: Any) -> str:
    if value is None:
        return DASH
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 160 else text[:159] + "…"


def _differences(anchor: str, one: Versus, second: Facts) -> Panel:
    title = f"{one.second} minus {one.first}"
    if not one.shared:
        return Panel(anchor, plain(title), "The two share no arm with results, so there is nothing to subtract.")
    d = second.decimals
    rows = [
        ArmRow(
            s.arm,
            100 * s.paired.differences.mean,
            100 * s.paired.differences.low,
            100 * s.paired.differences.high,
            {},
            faint=bool(one.why_not),
        )
        for s in one.shared[:MOST_ARMS]
        if s.paired.differences.n
    ]
    shown = ArmRows(tuple(rows), second.baseline, d, len(one.shared) - len(rows))
    shapes, notes = zero_line("no change")
    drawn = draw_rows(shown, axis("points, by seed"), shapes, notes, f"%{{x:+.{d}f}} points", [0.0])
    tested = not one.why_not
    caption = "Differences of test accuracy of the arms that both have, by seed. "
    if tested:
        caption += (
            "Diamond: mean over shared seeds, bar: its 95 % interval (Student's t), each by itself; p in the table are "
            "corrected over these arms (Holm). Teacher, split and recipe are the same in both, so a seed is one block."
        )
        lead = "Arm by arm, on the seeds that both have."
    else:
        caption += "Means alone, without intervals: what else changed would be mixed up with the arm."
        lead = f"Nothing is tested here, as {' and '.join(one.why_not)}."
    equal = [s.arm for s in one.shared if s.same]
    if equal:
        lead += f" The very same configuration in both: {listing(equal)}."
        if tested:
            lead += " A difference there comes from code, versions or hardware."
    columns = [
        Column("arm", "Arm", number=False),
        Column("config", "Configuration", number=False),
        Column("n", "Shared seeds"),
        Column("first", f"{plain(one.first)}, %", "mean of all its seeds"),
        Column("second", f"{plain(one.second)}, %", "mean of all its seeds"),
        Column("difference", "points", "mean over shared seeds", "Difference"),
        Column("low", "from", "Student's t", "Difference"),
        Column("high", "to", "Student's t", "Difference"),
        Column("p_holm", "Holm p", "paired t", "Difference"),
    ]
    table_rows = []
    for s in one.shared:
        m = s.paired.differences
        cells = [text_cell(s.arm), Cell("the same" if s.same else "changed"), Cell(str(m.n), m.n)]
        cells += [Cell(bare(v, d), v) for v in (s.first, s.second)]
        cells += [Cell(points(v, d), v) for v in (m.mean, m.low, m.high)]
        table_rows.append(Row([*cells, Cell(p_value(s.paired.p_holm), s.paired.p_holm)], s.arm))
    blocks: list[Block] = []
    if rows:
        numbers = Table(columns, table_rows, label=f"Differences, {title}")
        blocks.append(Plot(anchor, caption, [drawn], numbers))
    else:
        blocks += [Note("They share no seed."), Table(columns, table_rows, label=f"Means, {title}")]
    return Panel(anchor, plain(title), lead, blocks)


def _effects(facts: Mapping[str, Facts]) -> Panel:
    """What each arm is worth in each study, against that study's own baseline."""
    title = "Does an arm's worth hold in each study?"
    arms = list(dict.fromkeys(arm for f in facts.values() for arm in f.contrasts))
    several = [arm for arm in arms if sum(arm in f.contrasts for f in facts.values()) > 1][
        : MOST_ARMS // len(facts) or 1
    ]
    rows, table_rows = [], []
    d = max(f.decimals for f in facts.values())
    for arm in several:
        for name, f in facts.items():
            c = f.contrasts.get(arm)
            if c is None:
                continue
            label = f"{arm} · {name}"
            rows.append(ArmRow(label, 100 * c.estimate, 100 * c.low, 100 * c.high, {}))
            cells = [text_cell(arm), text_cell(name), Cell(str(f.comparison.seeds if f.comparison else 0))]
            cells += [Cell(points(v, d), v) for v in (c.estimate, c.low, c.high)]
            table_rows.append(Row([*cells, Cell(p_value(c.p), c.p)], arm))
    if not rows:
        return Panel("effects", title, "No arm was compared with the baseline in more than one of these studies.")
    shapes, notes = zero_line("own baseline")
    shown = ArmRows(tuple(rows), "", d, 0)
    drawn = draw_rows(shown, axis("points above the study's own baseline"), shapes, notes, "%{x:+.2f} points", [0.0])
    columns = [
        Column("arm", "Arm", number=False),
        Column("study", "Study", number=False),
        Column("n", "n"),
        Column("difference", "points"),
        Column("low", "from", group="simultaneous 95 %"),
        Column("high", "to", group="simultaneous 95 %"),
        Column("p", "p"),
    ]
    caption = (
        "Each arm minus the baseline of its own study, with that study's simultaneous 95 % interval (Dunnett, accuracy "
        "~ arm + seed). An effect that keeps its side in every study does not hang on one of their settings. Intervals "
        "hold together within a study, not across studies."
    )
    lead = f"{plural(len(several), 'arm')} compared with the baseline in more than one study."
    return Panel(
        "effects", title, lead, [Plot("effects", caption, [drawn], Table(columns, table_rows, label="Effects"))]
    )


def _arms(facts: Mapping[str, Facts]) -> Panel:
    columns = [Column("study", "Study", number=False), Column("arm", "Arm", number=False), Column("n", "n")]
    columns += [Column("mean", "mean", group="Accuracy, %"), Column("sd", "± sd", group="Accuracy, %")]
    columns += [Column("low", "from", group="95 % interval"), Column("high", "to", group="95 % interval")]
    rows = []
    for name, f in facts.items():
        for arm in f.scores.columns:
            m = stats.mean_interval(f.scores[arm].to_numpy())
            values = [Cell(bare(v, f.decimals), v) for v in (m.mean, m.sd, m.low, m.high)]
            rows.append(Row([text_cell(name), text_cell(arm), Cell(str(m.n), m.n), *values], str(arm)))
    answer = "± is the standard deviation over seeds; the interval of the mean is Student's."
    return Panel("arms", "All arms", answer, [Table(columns, rows, id="all-arms", sortable=True, label="All arms")])
