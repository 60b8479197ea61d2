"""One page over several studies, or several runs of one: what changed, and how the arms that they share differ.

Differences are tested only if two studies share the teacher, the split and the recipe: then a seed is the same block
in both, and only the arm differs. Otherwise the page shows the numbers side by side and gives the reason.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from scl import stats
from scl.masking import masked_command
from scl.report.assemble import page
from scl.report.blocks import Block, Card, Cards, Cell, Column, Note, Panel, Plot, Row, Table
from scl.report.drawing.rows import ArmRow, ArmRows, draw_rows
from scl.report.facts import Facts, gather
from scl.report.findings import goals, level_name, verdict
from scl.report.formatting import DASH, Unit, listing, name_of, plain, plural
from scl.report.limits import of_files
from scl.report.main_table import metric_heading
from scl.report.questions.setting import setting
from scl.report.tables import count_cell, number_cells, p_cell, text_cell
from scl.report.theme import axis, zero_line
from scl.store.results import Results

# Fields of study.json that define a study, by heading. A dot leads into a dict.
SETTINGS = {
    "Data": ("data.name", "data.fingerprint", "data.train", "data.val", "data.test", "data.limit"),
    "Split": ("data.split_seed", "data.val_share"),
    "Teacher": tuple(
        f"teacher.{name}" for name in ("model", "width", "epochs", "source", "per_seed", "teachers", "ids")
    ),
    "Code": ("git.commit", "git.dirty", "versions"),
    "Design": ("baseline", "seeds", "metric", "constraints", "selection", "design"),
    "Machine": ("hardware", "cpus_per_trial"),
    "Command": ("command",),
}
MOST_ARMS = 40


@dataclass(frozen=True)
class Shared:
    """An arm of both studies: second − first by seed, as fractions.

    same: both have the same configuration. paired: its intervals and p are NaN if differences may not be tested.
    """

    arm: str
    same: bool
    first: float
    second: float
    paired: stats.Paired


@dataclass(frozen=True)
class Versus:
    """The second study against the first, and the columns of their metrics.

    why_not: the reasons why differences may not be tested; empty if they may.
    """

    first: str
    second: str
    shared: tuple[Shared, ...]
    why_not: tuple[str, ...]
    first_metric: str
    second_metric: str


def render(studies: Mapping[str, Results]) -> str:
    """The page over these studies, by name. All others are compared with the first.

    Raises:
        ModuleNotFoundError: Jinja2 or Plotly is not installed.
    """
    facts = {name: gather(study) for name, study in studies.items()}
    first, *others = facts
    against = [versus(first, facts[first], other, facts[other]) for other in others]
    panels = [_verdicts(facts, against), _changes(facts)]
    panels += [_differences(f"versus-{i}", one, facts[one.second]) for i, one in enumerate(against, 1)]
    panels += [_effects(facts), _arms(facts)]
    return page(" · ".join(map(plain, facts)), panels, _question(facts))


def _question(facts: Mapping[str, Facts]) -> str:
    """The question of the studies if they all ask the same."""
    asked = {str(f.study.get("question") or "") for f in facts.values()}
    if len(asked) == 1 and "" not in asked:
        return plain(asked.pop())
    return f"{plural(len(facts), 'study', 'studies')} compared"


# What changed


def changes(studies: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Heading → field → its value in each study, for the fields that differ between studies."""
    out: dict[str, dict[str, list[Any]]] = {}
    for heading, fields in SETTINGS.items():
        for field in fields:
            for name, values in _flat(field, [_get(study, field) for study in studies.values()]):
                if _differ(values):
                    out.setdefault(heading, {})[name] = values
    arms = [dict(study.get("arms") or {}) for study in studies.values()]
    recipes = [recipe(study) for study in studies.values()]
    for name in sorted(set().union(*recipes)):
        values = [r.get(name) for r in recipes]
        if _differ(values):
            out.setdefault("Recipe", {})[name] = values
    for arm in dict.fromkeys(itertools.chain.from_iterable(arms)):
        own = [_beyond_recipe(a[arm], r) if arm in a else None for a, r in zip(arms, recipes, strict=True)]
        if _differ(own):
            out.setdefault("Arms", {})[arm] = ["absent" if v is None else setting(v) for v in own]
    return out


def _differ(values: Sequence[Any]) -> bool:
    return len({json.dumps(v, sort_keys=True, default=str) for v in values}) > 1


def _get(study: Mapping[str, Any], field: str) -> Any:
    value: Any = study
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _flat(field: str, values: list[Any]) -> list[tuple[str, list[Any]]]:
    """A field whose values are dicts, as one field for each key."""
    if not any(isinstance(v, Mapping) for v in values):
        return [(field, values)]
    keys = sorted(set().union(*(v for v in values if isinstance(v, Mapping))))
    return [(f"{field}.{key}", [v.get(key) if isinstance(v, Mapping) else None for v in values]) for key in keys]


def recipe(study: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the baseline except its losses: the common start of all arms."""
    base = (study.get("arms") or {}).get(study.get("baseline")) or {}
    return {k: v for k, v in base.items() if k != "losses"}


def _beyond_recipe(arm: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in arm.items() if shared.get(k) != v}


# Arms of two studies


def versus(first_name: str, first: Facts, second_name: str, second: Facts) -> Versus:
    """The arms of both studies, by name, and whether their differences may be tested."""
    split = ("data.fingerprint", "data.split_seed", "data.val_share", "data.limit")
    differ = {
        "their teachers differ": _teacher_ids(first) != _teacher_ids(second),
        "their data or split differ": any(_get(first.study, f) != _get(second.study, f) for f in split),
        "their recipes differ": recipe(first.study) != recipe(second.study),
        "their metrics differ": first.metric != second.metric,
    }
    why_not = [why for why, so in differ.items() if so]
    configs = [f.completed.drop_duplicates("arm").set_index("arm")["config_id"].to_dict() for f in (first, second)]
    found = []
    for arm in [arm for arm in first.scores.columns if arm in second.scores.columns]:
        learnt = [stats.learnt(f.scores[[arm]], f.kept[[arm]])[arm] for f in (first, second)]  # as on the page of each
        both = pd.concat(learnt, axis=1, keys=[first_name + "\0", second_name])
        (pair,) = stats.paired(both, first_name + "\0")
        same = configs[0].get(arm) == configs[1].get(arm)
        means = float(first.scores[arm].mean()), float(second.scores[arm].mean())
        found.append(Shared(str(arm), same, *means, _untested(pair) if why_not else pair))
    p_holm = [math.nan] * len(found) if why_not else stats.holm([s.paired.p for s in found])
    shared = [replace(s, paired=replace(s.paired, p_holm=float(p))) for s, p in zip(found, p_holm, strict=True)]
    return Versus(first_name, second_name, tuple(shared), tuple(why_not), first.metric, second.metric)


def _untested(pair: stats.Paired) -> stats.Paired:
    """The mean difference alone."""
    nan = math.nan
    return stats.Paired(pair.arm, stats.Mean(pair.differences.n, pair.differences.mean, nan, nan, nan), nan, nan, nan)


def _teacher_ids(facts: Facts) -> set[str]:
    stored = _get(facts.study, "teacher.ids")
    return set(map(str, (stored or {}).values())) or set(facts.completed["teacher_id"].dropna().astype(str))


# Panels


def _verdicts(facts: Mapping[str, Facts], against: Sequence[Versus]) -> Panel:
    first = next(iter(facts))
    counts = {name: f"{plural(f.seeds, 'seed')}, {len(f.completed):,} completed trials" for name, f in facts.items()}
    cards = [Card(_cut(name, 24), plural(f.scores.shape[1], "arm"), counts[name]) for name, f in facts.items()]
    notes = [Note(f"{name}: {text}") for name, f in facts.items() for text in (*goals(f), verdict(f), *of_files(f))]
    sentences = []
    for one in against:
        significant = [s.arm for s in one.shared if s.paired.p_holm < 1 - stats.LEVEL]
        start = f"{name_of(one.second)} shares {plural(len(one.shared), 'arm')} with {name_of(first)}"
        found = f"significantly different: {listing(significant)}" if significant else "none is shown to differ"
        if one.why_not:
            sentences.append(f"{start}; nothing is tested, because {' and '.join(one.why_not)}.")
        else:
            sentences.append(f"{start}; {found} (paired t, Holm, 5 %)." if one.shared else f"{start}.")
    return Panel("compared", "What did each study find?", " ".join(sentences), [Cards(cards), *notes])


def _changes(facts: Mapping[str, Facts]) -> Panel:
    found = changes({name: f.study for name, f in facts.items()})
    columns = [Column("what", "What", number=False), Column("field", "Field", number=False)]
    columns += [Column(f"study_{i}", plain(name), number=False) for i, name in enumerate(facts)]
    rows = [
        Row([text_cell(heading), text_cell(field), *[text_cell(_text(v)) for v in values]])
        for heading, fields in found.items()
        for field, values in fields.items()
    ]
    same = [heading for heading in (*SETTINGS, "Recipe", "Arms") if heading not in found]
    answer = f"Different: {', '.join(found).lower() or 'nothing in the stores'}."
    answer += f" The same: {', '.join(same).lower()}." if same else ""
    blocks: list[Block] = [Table(columns, rows, id="changed-fields", label="What changed")] if rows else []
    return Panel("changes", "What changed between them?", answer, blocks or [Note("Nothing differs.")])


def _text(value: Any) -> str:
    if value is None:
        return DASH
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return _cut(masked_command(text.split(" ")), 160)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _differences(anchor: str, one: Versus, second: Facts) -> Panel:
    title = f"{one.second} minus {one.first}"
    if not one.shared:
        return Panel(anchor, plain(title), "The two studies share no arm with results.")
    caption = f"Differences of {second.measure.title} of the shared arms, by seed. "
    if one.why_not:
        caption += "Means without intervals, because other changes would add to the effect of the arm."
        answer = f"Nothing is tested here, because {' and '.join(one.why_not)}."
    else:
        caption += (
            "Diamond: mean over shared seeds; bar: its 95 % interval (Student's t), not corrected. The p in the table "
            "are corrected over these arms (Holm). Teacher, split and recipe are the same in both, so a seed is one "
            "block."
        )
        answer = "Arm by arm, on the seeds of both."
    equal = [s.arm for s in one.shared if s.same]
    if equal:
        answer += f" The same configuration in both: {listing(equal)}."
        answer += "" if one.why_not else " Their differences come from code, versions or hardware."
    if one.second_metric != one.first_metric:
        return Panel(
            anchor, plain(title), answer, [Note(f"{one.first_metric} and {one.second_metric} do not compare.")]
        )
    unit = second.unit
    table = _differences_table(one, second, f"Differences, {title}")
    shown = [s for s in one.shared[:MOST_ARMS] if s.paired.differences.n]
    if not shown:
        return Panel(anchor, plain(title), answer, [Note("The two studies share no seed."), table])
    spans = [(s.arm, s.paired.differences) for s in shown]
    faint = bool(one.why_not)
    rows = tuple(_row(arm, d, unit, faint) for arm, d in spans)
    arm_rows = ArmRows(rows, second.baseline, second.decimals, unit=unit, ends=_ends(unit))
    caption += arm_rows.cut
    hover = f"%{{x:+.{second.decimals}f}} {unit.many}"
    drawn = draw_rows(arm_rows, axis(f"{unit.many}, by seed"), zero_line("no change"), hover, [0.0])
    return Panel(anchor, plain(title), answer, [Plot(anchor, caption, [drawn], table)])


def _ends(unit: Unit) -> tuple[float, float]:
    """The least and the most that a difference can be, as it is shown."""
    return -unit.factor * unit.most, unit.factor * unit.most


def _row(arm: str, d: stats.Mean, unit: Unit, faint: bool) -> ArmRow:
    return ArmRow(arm, unit.factor * d.mean, unit.factor * d.low, unit.factor * d.high, {}, faint)


def _differences_table(one: Versus, facts: Facts, label: str) -> Table:
    decimals, unit = facts.decimals, facts.unit
    columns = [
        Column("arm", "Arm", number=False),
        Column("config", "Configuration", number=False),
        Column("n", "Shared seeds"),
        Column("first", f"{plain(one.first)}, {unit.name}", "mean over all its seeds"),
        Column("second", f"{plain(one.second)}, {unit.name}", "mean over all its seeds"),
        Column("difference", unit.many, "mean over shared seeds", "Difference"),
        Column("low", "from", "Student's t", "Difference"),
        Column("high", "to", "Student's t", "Difference"),
        Column("p_holm", "Holm p", "paired t", "Difference"),
    ]
    rows = []
    for s in one.shared:
        m = s.paired.differences
        cells = [text_cell(s.arm), Cell("the same" if s.same else "changed"), count_cell(m.n)]
        cells += number_cells(unit.number, decimals, s.first, s.second)
        cells += number_cells(unit.difference, decimals, m.mean, m.low, m.high)
        rows.append(Row([*cells, p_cell(s.paired.p_holm)], s.arm))
    return Table(columns, rows, label=label)


def _effects(facts: Mapping[str, Facts]) -> Panel:
    """The effect of each arm in each study, against the baseline of that study."""
    title = "Does the effect of an arm hold in each study?"
    of = next(iter(facts.values()))  # studies of another metric than the first one's are left out
    unit = of.unit
    arms = list(dict.fromkeys(arm for f in facts.values() if f.metric == of.metric for arm in f.contrasts))
    several = [arm for arm in arms if sum(arm in f.contrasts and f.metric == of.metric for f in facts.values()) > 1]
    several = several[: MOST_ARMS // len(facts) or 1]
    rows, table_rows = [], []
    d = max(f.decimals for f in facts.values() if f.metric == of.metric)
    for arm, (name, f) in itertools.product(several, facts.items()):
        c = f.contrasts.get(arm)
        if c is None or f.metric != of.metric:
            continue
        at = [unit.factor * value for value in (c.estimate, c.low, c.high)]
        rows.append(ArmRow(f"{arm} · {name}", at[0], at[1], at[2], {}))
        cells = [text_cell(arm), text_cell(name), count_cell(c.n)]
        cells += [
            *number_cells(unit.difference, d, c.estimate),
            *number_cells(unit.bound, d, c.low, c.high),
            text_cell(level_name(f)),
        ]
        table_rows.append(Row([*cells, p_cell(c.p)], arm))
    if not rows:
        return Panel("effects", title, "No arm was compared with the baseline in more than one of these studies.")
    shown = ArmRows(tuple(rows), "", d, unit=unit, ends=_ends(unit))
    x = axis(f"{unit.many} above the baseline of the study")
    drawn = draw_rows(shown, x, zero_line("baseline of the study"), f"%{{x:+.{max(d, 2)}f}} {unit.many}", [0.0])
    columns = [Column("arm", "Arm", number=False), Column("study", "Study", number=False), Column("n", "n")]
    group = "simultaneous interval"
    columns += [Column("difference", unit.many), Column("low", "from", group=group), Column("high", "to", group=group)]
    columns += [Column("level", "level", number=False, group=group), Column("p", "p")]
    caption = (
        "Each arm minus the baseline of its study, with the simultaneous interval of that study (by the rule of its "
        "page, at the level of its look). An effect with the same sign in every study does not depend on one of their "
        "settings. Intervals hold together within a study, not across studies."
    )
    answer = f"{plural(len(several), 'arm')} compared with the baseline in more than one study."
    plot = Plot("effects", caption, [drawn], Table(columns, table_rows, label="Effects"))
    return Panel("effects", title, answer, [plot])


def _arms(facts: Mapping[str, Facts]) -> Panel:
    columns = [Column("study", "Study", number=False), Column("arm", "Arm", number=False), Column("n", "n")]
    headings = {metric_heading(f) for f in facts.values()}
    group = headings.pop() if len(headings) == 1 else "Metric of the study"
    columns += [Column("mean", "mean", group=group), Column("sd", "± sd", group=group)]
    columns += [Column("low", "from", group="95 % interval"), Column("high", "to", group="95 % interval")]
    rows = []
    for name, f in facts.items():
        for arm in f.scores.columns:
            m = stats.mean_interval(f.scores[arm].to_numpy()).within(0, f.unit.most)
            values = number_cells(f.unit.number, f.decimals, m.mean, m.sd, m.low, m.high)
            rows.append(Row([text_cell(name), text_cell(arm), count_cell(m.n), *values], str(arm)))
    answer = "± is the standard deviation over seeds; the interval of the mean is Student's t."
    return Panel("arms", "All arms", answer, [Table(columns, rows, id="all-arms", label="All arms")])
