"""How much does the teacher matter? Differences by teacher, and which teachers their intervals cover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl import stats
from scl.report import theme
from scl.report.appearance import NO_ARMS, Appearance
from scl.report.blocks import Cell, Column, Mark, Panel, Plot
from scl.report.drawing.arms import MOST_ARMS_DRAWN, beyond
from scl.report.drawing.rows import BARS_END
from scl.report.facts import Facts
from scl.report.formatting import fixed, listing, name_of, percent, plural
from scl.report.tables import count_cell, number_cells, number_table, p_cell
from scl.report.theme import ANY, COLOURS, Ends, Figure, axis, clipped, numbers

TITLE = "How much does the teacher matter?"
ENOUGH = 5  # teachers: fewer give intervals of more than 3 standard errors to each side
SYMBOLS = ("circle", "square", "triangle-up", "cross", "x", "triangle-down")  # of teachers; a diamond is a mean
MOST_LISTED = 12  # teachers with a column of their own in the table


@dataclass(frozen=True)
class TeacherRow:
    """An arm minus the baseline, as it is shown. inner: the interval for these teachers; outer: that for other
    teachers; both are NaN if unknown. means: teacher → the mean over its seeds."""

    arm: str
    value: float
    inner: tuple[float, float]
    outer: tuple[float, float]
    means: dict[str, float]


@dataclass(frozen=True)
class TeacherRows:
    """rows: the best arm first. teachers: those that the figure shows by name.
    beyond: the lower arms left out. ends: the least and the most that a difference can be, where bars end."""

    rows: tuple[TeacherRow, ...]
    teachers: tuple[str, ...]
    decimals: int
    beyond: int
    unit: str = "points"
    ends: Ends = ANY
    appearance: Appearance = NO_ARMS


def panel(facts: Facts) -> Panel:
    effects = teacher_effects(facts)
    if facts.baseline in facts.compared and facts.compared.shape[1] > 1 and not taught(facts):
        return Panel("teachers", TITLE, "No compared arm learns from a teacher.")
    if max((_seeds(effect) for effect in effects), default=0) < 2:
        needs = "This needs the baseline and another arm with two seeds, and a store that names their teacher."
        return Panel("teachers", TITLE, needs)
    if len({teacher for effect in effects for teacher in effect.by_teacher}) == 1:
        return _one(facts, effects)
    if all(effect.confounded or _seeds(effect) == 1 for effect in effects):
        return _one_each(facts, effects)
    return _several(facts, effects)


def taught(facts: Facts) -> list[str]:
    """The compared arms whose difference from the baseline may depend on the teacher: one of the two has a loss that
    compares student and teacher."""

    def learns(arm: str) -> bool:
        config = (facts.study.get("arms") or {}).get(arm)
        return config is None or any(term.get("weight") != 0 for term in (config.get("losses") or {}).values())

    arms = [str(arm) for arm in facts.compared.columns if arm != facts.baseline]
    return [arm for arm in arms if learns(arm) or learns(facts.baseline)]


def teacher_effects(facts: Facts) -> list[stats.TeacherEffect]:
    """Each of the `taught` arms minus the baseline under the teachers of its seeds, the best arm first."""
    if facts.baseline not in facts.compared:
        return []
    scores = facts.compared[[facts.baseline, *taught(facts)]]
    found = stats.teacher_effects(scores, facts.baseline, _teacher_of_seed(facts))
    return sorted((e for e in found if e.by_teacher), key=lambda effect: -facts.ahead(effect.these.value))


def _teacher_of_seed(facts: Facts) -> pd.Series:
    """The name of each seed's teacher; a seed whose arms had different teachers is no pair, and has none.
    Teachers that arms name themselves belong to the arm, and not to the seed."""
    named = {entry["arm"] for entry in (facts.study.get("teacher") or {}).get("of_arms") or []}
    rows = facts.completed[~facts.completed["arm"].isin(named)]
    ids = rows.dropna(subset=["teacher_id"]).groupby("seed")["teacher_id"]
    names = {identity: f"teacher {key}" for key, identity in _ids(facts).items()}
    single = ids.first()[ids.nunique() == 1].astype(str)
    return single.map(lambda identity: names.get(identity, f"teacher {identity[:8]}")).astype(object)


def _seeds(effect: stats.TeacherEffect) -> int:
    return sum(mean.n for mean in effect.by_teacher.values())


def _ids(facts: Facts) -> dict[str, str]:
    return dict((facts.study.get("teacher") or {}).get("ids") or {})


def _source(facts: Facts) -> str:
    return str((facts.study.get("teacher") or {}).get("source"))


# One teacher


def _one(facts: Facts, effects: Sequence[stats.TeacherEffect]) -> Panel:
    unit = facts.unit.factor
    differences = [next(iter(effect.by_teacher.values())) for effect in effects]
    halves = [stats.half_if_teachers_differ(m) if m.sd > stats.NO_SPREAD else math.nan for m in differences]
    tolerated = [stats.tolerated_spread(m) for m in differences]
    rows = [
        TeacherRow(effect.arm, unit * m.mean, (unit * m.low, unit * m.high), _around(unit * m.mean, unit * half), {})
        for effect, m, half in zip(effects, differences, halves, strict=True)
    ]
    d = max(facts.decimals, 1)
    columns = [
        Column("n", "Seeds"),
        Column("difference", "Mean", "paired by seed", f"Difference, {facts.unit.many}"),
        *_ends("", "this teacher, 95 %", "Student's t over seeds"),
        *_ends("if_", "others, if they vary as seeds do", "an assumption, not a result"),
        Column("tolerated", "Tolerated sd", "between teachers, up to which the interval for others would exclude 0"),
    ]
    cells = [
        [
            count_cell(m.n),
            *number_cells(
                facts.unit.difference, facts.decimals, row.value, *row.inner, *row.outer, unit=facts.unit.factor
            ),
            *number_cells(fixed, d, unit * spread),
        ]
        for m, row, spread in zip(differences, rows, tolerated, strict=True)
    ]
    caption = (
        "Each arm minus the baseline. Diamond: mean over seeds; thick bar: its 95 % interval for this teacher (paired "
        "t, not corrected); thin bar: the interval for other teachers if the difference varied between teachers as "
        "much as between seeds, which is an assumption and not a result. Tolerated sd: the spread between teachers up "
        "to which the interval for other teachers would exclude 0."
    )
    whose = "the given checkpoint as teacher" if _source(facts) == "file" else "one teacher"
    seeds = "All seeds" if len(_ids(facts)) < 2 else "All seeds with results"
    answer = (
        f"{seeds} used {whose}, so the intervals on this page are about students of this teacher. Nothing in this "
        "study shows how much another teacher would change a difference."
    )
    if math.isfinite(halves[0]):  # of the best arm
        m = differences[0]
        answer += (
            f" If the difference of {name_of(rows[0].arm)} varied between teachers as much as between seeds (sd "
            f"{facts.unit.size(m.sd, d)}), its interval for other teachers would be ± {facts.unit.size(halves[0], d)} "
            "instead of "
            f"± {facts.unit.size(m.high - m.mean, d)} (paired t)."
        )
    if math.isfinite(tolerated[0]):
        answer += f" It would exclude 0 up to an sd of {facts.unit.size(tolerated[0], d)} between teachers."
    ways = {
        "trained here": f"--teachers {ENOUGH} with {ENOUGH} seeds or more covers other teachers of this recipe.",
        "file": f"Repeat the study with other checkpoints, or train teachers by one recipe with --teachers {ENOUGH}.",
    }
    answer += " " + ways.get(_source(facts), "Repeat the study with other teachers to see it.")
    return _panel(facts, answer, caption, rows, (), (columns, cells))


def _around(middle: float, half: float) -> tuple[float, float]:
    return middle - half, middle + half


def _ends(prefix: str, group: str, hint: str) -> list[Column]:
    """The columns of an interval."""
    return [Column(f"{prefix}low", "from", hint, group), Column(f"{prefix}high", "to", hint, group)]


# A teacher for each seed


def _one_each(facts: Facts, effects: Sequence[stats.TeacherEffect]) -> Panel:
    answer = (
        "Each seed had its own teacher. Differences by seed contain the luck of both, so intervals over seeds also "
        f"cover other teachers of this recipe{_pretrained(facts)}. The study cannot tell the two apart; with more "
        "seeds than teachers, as in --teachers 5 --seeds 10, it could."
    )
    columns = [
        Column("n", "Teachers"),
        Column("difference", "Mean", "paired by seed", f"Difference, {facts.unit.many}"),
        *_ends("", "other teachers, 95 %", "Student's t over seeds"),
        Column("p_holm", "Holm p", "paired t", "other teachers, 95 %"),
    ]
    p_holm = stats.holm([effect.others.p for effect in effects])
    rows = [
        (
            e.arm,
            [
                count_cell(_seeds(e)),
                *number_cells(facts.unit.difference, facts.decimals, *_shown(facts, e.others), unit=facts.unit.factor),
                p_cell(p),
            ],
        )
        for e, p in zip(effects, map(float, p_holm), strict=True)
    ]
    table = number_table(columns, rows[:MOST_ARMS_DRAWN], label="Differences under other teachers")
    return Panel("teachers", TITLE, answer, [table])


def _shown(facts: Facts, estimate: stats.Estimate) -> tuple[float, float, float]:
    """The value and its interval in the unit of the metric."""
    unit = facts.unit.factor
    return unit * estimate.value, unit * estimate.low, unit * estimate.high


# Several teachers for more seeds


def _several(facts: Facts, effects: Sequence[stats.TeacherEffect]) -> Panel:
    names = sorted({name for effect in effects for name in effect.by_teacher}, key=_by_number)
    listed = names[:MOST_LISTED]
    p_others, p_teacher = (stats.holm([e.others.p for e in effects]), stats.holm([e.p for e in effects]))
    share = "Teacher's share of variance"
    columns = [
        Column("n", "Seeds"),
        Column("difference", "Mean", "each teacher counts the same", f"Difference, {facts.unit.many}"),
        *_ends("", "these teachers, 95 %", "from the spread of seeds within teachers"),
        *_ends("others_", "other teachers, 95 %", "from the spread of the teachers' means"),
        Column("p_holm", "Holm p", "Student's t over the teachers' means", "other teachers, 95 %"),
        Column("share", "%", "of the variance of one seed's difference", share),
        *_ends("share_", share, "95 % interval"),
        Column("p_teacher", "Holm p", "F test", share),
        *[
            Column(name.replace(" ", "_"), name, "mean over its seeds", f"By teacher, {facts.unit.many}")
            for name in listed
        ],
    ]
    rows, cells = [], []
    for effect, p, p_of_teacher in zip(effects, p_others, p_teacher, strict=True):
        (value, *inner), (_, *outer) = _shown(facts, effect.these), _shown(facts, effect.others)
        means = {name: facts.unit.factor * mean.mean for name, mean in effect.by_teacher.items()}
        rows.append(TeacherRow(effect.arm, value, (inner[0], inner[1]), (outer[0], outer[1]), means))
        shares = [100 * part for part in (effect.share, effect.share_low, effect.share_high)]
        by_teacher = [means.get(name, math.nan) for name in listed]
        mine = [
            count_cell(_seeds(effect)),
            *number_cells(facts.unit.difference, facts.decimals, value, *inner, *outer, unit=facts.unit.factor),
        ]
        mine += [p_cell(float(p)), *number_cells(fixed, 0, *shares), p_cell(float(p_of_teacher))]
        cells.append([*mine, *number_cells(facts.unit.difference, facts.decimals, *by_teacher, unit=facts.unit.factor)])
    caption = (
        "Each arm minus the baseline. Diamond: mean over teachers, each of which counts the same; small symbols: mean "
        "over the seeds of one teacher; thick bar: 95 % interval for exactly these teachers, from the spread of seeds "
        "within teachers; thin bar: 95 % interval for other teachers of this recipe, from the spread of the teachers' "
        "means (Student's t). It may go beyond the figure; if few teachers happen to agree, it is the shorter one. "
        "Intervals are not corrected; p are (Holm, over these arms). The teacher's share of variance is that of one "
        "seed's difference (analysis of variance)."
    )
    answer = _about_several(facts, effects, names, (p_others, p_teacher))
    return _panel(facts, answer, caption, rows, tuple(names), (columns, cells))


def _about_several(
    facts: Facts, effects: Sequence[stats.TeacherEffect], names: Sequence[str], p: tuple[stats.Array, stats.Array]
) -> str:
    differ, moved = ([e.arm for e, q in zip(effects, of, strict=True) if q < 1 - stats.LEVEL] for of in p)
    counts = sorted({mean.n for effect in effects for mean in effect.by_teacher.values()})
    each = plural(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    shown = f"{listing(differ)} {'is' if len(differ) == 1 else 'are'}" if differ else "no arm is"
    sentences = [
        f"{len(names)} teachers with {each} each{_pretrained(facts)}.",
        f"For other teachers of this recipe, {shown} shown to differ from the baseline (Holm, 5 %).",
    ]
    if moved:
        sentences.append(f"The teacher changes the difference of {listing(moved)} (F test, Holm, 5 %).")
    else:
        most = max((e.share_high for e in effects if math.isfinite(e.share_high)), default=math.nan)
        possible = f", but the teacher may account for up to {percent(most, 0)} of a difference's variance"
        none = "No difference is shown to depend on the teacher"
        sentences.append(none + (possible if math.isfinite(most) else "") + ".")
    if len(names) < ENOUGH:
        reach, enough = (stats.t_critical(teachers - 1) for teachers in (len(names), ENOUGH))
        sentences.append(
            f"Intervals for other teachers reach {reach:.1f} standard errors to each side with {len(names)} teachers, "
            f"and {enough:.1f} with {ENOUGH}."
        )
    return " ".join(sentences)


def _by_number(name: str) -> tuple[int, str]:
    """teacher 2 before teacher 10."""
    last = name.rpartition(" ")[2]
    return (int(last), "") if last.isdecimal() else (-1, name)


def _pretrained(facts: Facts) -> str:
    return "" if _source(facts) in ("None", "trained here") else ", all from the same published weights"


# The figure


def _panel(
    facts: Facts,
    answer: str,
    caption: str,
    rows: Sequence[TeacherRow],
    teachers: tuple[str, ...],
    table: tuple[list[Column], list[list[Cell]]],
) -> Panel:
    shown = TeacherRows(
        tuple(rows[:MOST_ARMS_DRAWN]),
        teachers,
        facts.decimals,
        len(rows[MOST_ARMS_DRAWN:]),
        facts.unit.many,
        facts.possible_gain,
        facts.appearance,
    )
    columns, cells = table
    named = [(row.arm, mine) for row, mine in zip(shown.rows, cells, strict=False)]
    held = number_table(columns, named, label="Differences by teacher")
    few = len(teachers) <= len(COLOURS)
    key = [Mark(name, *_style(i, len(teachers))) for i, name in enumerate(teachers)] if few else []
    beyond_ends = any(abs(end - clipped(end, shown.ends)) > 0 for row in shown.rows for end in (*row.inner, *row.outer))
    if any(math.isfinite(row.inner[0]) for row in shown.rows) and beyond_ends:
        caption += BARS_END
    plot = Plot("by-teacher", caption + beyond(shown.beyond), [draw_teachers(shown)], held, key=key)
    return Panel("teachers", TITLE, answer, [plot])


def _style(i: int, teachers: int) -> tuple[str, str]:
    """Colour and symbol of a teacher; all are alike if there are more than colours."""
    return (COLOURS[i], SYMBOLS[i]) if teachers <= len(COLOURS) else ("@c1", "circle-open")


def draw_teachers(shown: TeacherRows) -> Figure:
    rows = shown.rows
    arms = [row.arm for row in rows]
    look = shown.appearance
    names = look.hovers(arms)
    unit = f"%{{x:+.{shown.decimals}f}} {shown.unit}"
    data: list[dict[str, Any]] = []
    for i, row in enumerate(rows):
        for ends, width in ((row.inner, 6), (row.outer, 1.5)):
            if math.isfinite(ends[0]):
                line = {"color": look.style(row.arm)["color"], "width": width}
                drawn = {"hoverinfo": "skip", "line": line, "arm": row.arm}
                data.append(theme.scatter("lines", numbers(clipped(end, shown.ends) for end in ends), [i, i], **drawn))
    for t, teacher in enumerate(shown.teachers):
        colour, symbol = _style(t, len(shown.teachers))
        mine = [(i, row) for i, row in enumerate(rows) if teacher in row.means]
        means, about = numbers(row.means[teacher] for _, row in mine), [[names[row.arm], teacher] for _, row in mine]
        below = [i + 0.27 for i, _ in mine]  # the bars, so that neither hides the other
        hover = f"%{{customdata[0]}}<br>%{{customdata[1]}}: {unit}"
        of: dict[str, Any] = {"customdata": about, "arm": [row.arm for _, row in mine]}
        data.append(theme.markers(means, below, hover, 8, symbol, colour, **of))
    values, about = numbers(row.value for row in rows), [[names[row.arm]] for row in rows]
    hover = f"%{{customdata[0]}}<br>{unit}"
    of = {"customdata": about, "arm": arms}
    data.append(theme.markers(values, list(range(len(rows))), hover, 10, "diamond", "@ink", **of))
    y, narrow = theme.arm_axis(look.labels(arms).values(), look.labels(arms, theme.NARROW).values())
    x, marks = axis(f"{shown.unit} above the baseline", range=_range(shown)), theme.zero_line("baseline")
    return theme.figure(data, theme.rows_height(len(rows)), narrow, marks=marks, rows=arms, xaxis=x, yaxis=y)


def _range(shown: TeacherRows) -> list[float] | None:
    """Holds everything but the ends of outer intervals that would make the rest small."""
    rows = shown.rows
    inner = [clipped(v, shown.ends) for row in rows for v in row.inner]
    held = [v for v in (*inner, *(v for row in rows for v in (row.value, *row.means.values()))) if math.isfinite(v)]
    held.append(0.0)
    low, high = min(held), max(held)
    reach = high - low
    outer = [clipped(v, (low - reach, high + reach)) for row in rows for v in row.outer if math.isfinite(v)]
    return theme.span([*held, *(clipped(v, shown.ends) for v in outer)])
