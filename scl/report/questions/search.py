"""Did the search help? Its course, its winners on fresh seeds, and the front of two objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from scl import stats
from scl.report import theme
from scl.report.blocks import Block, Cell, Column, Mark, Note, Panel, Plot
from scl.report.drawing.rows import ArmRows, draw_rows, mean_row
from scl.report.facts import Facts
from scl.report.formatting import PERCENT, UNITS, capital, listing, plural
from scl.report.searched import INFEASIBLE, method
from scl.report.tables import count_cell, number_cells, number_table
from scl.report.theme import Figure, axis, figure, markers, numbers, scatter, span
from scl.study.metrics import COSTS, DEFAULT, METRICS, Metric

TITLE = "Did the search help?"
UNTUNED = (
    "This search did not tune the baseline: unless that was tuned elsewhere with as many trials, the gain includes "
    "what tuning alone would give."
)
MOST_DRAWN = 2000  # trials in one figure, evenly over the search
STATES = (("pruned", "@soft", "x-thin-open"), ("completed", "@c1", "circle-open"))  # and their colours and symbols
BEYOND = (INFEASIBLE, "@soft", "square-open")


def panel(facts: Facts) -> Panel:
    shown = course(facts)
    if shown is None:
        return Panel("search", TITLE, "This study ran no search: all its arms were fixed in advance.")
    done = shown.frame[shown.frame["state"] == "completed"]
    pruned = int((shown.frame["state"] == "pruned").sum())
    about = facts.study.get("search") or {}
    seeds = int(about.get("seeds") or 1)
    what = plural(len(facts.searched), "trial" if seeds == 1 else "configuration")
    counts = f"{what}{f', each on {seeds} seeds' * (seeds > 1)}: {len(done):,} completed, {pruned:,} pruned early"
    broken = int((shown.frame["state"] == INFEASIBLE).sum())
    counts += f", {broken:,} beyond a constraint" if broken else ""
    counts += f", {shown.failed:,} failed" if shown.failed else ""
    if done.empty:
        return Panel("search", TITLE, f"{counts}. None completed, so there is nothing to draw.")
    blocks: list[Block] = [Note(method(about))] if about.get("sampler") else []
    blocks.append(_course_plot(facts, shown, done))
    pareto = front(facts)
    if pareto is not None and len(pareto.frame) > 1:
        blocks.append(_front_plot(pareto))
    again = winners(facts)
    if not winner_arms(facts):
        blocks.append(Note(_unconfirmed(facts)))
    elif len(again.rows) > 1:
        blocks.append(_winners_plot(facts, again))
    else:
        blocks.append(Note("The store holds no validation results of the winners to compare with the search."))
    return Panel("search", TITLE, f"{counts}. {_answer(facts)}", blocks)


def _answer(facts: Facts) -> str:
    arms = winner_arms(facts)
    if not arms:
        return _unconfirmed(facts)
    apart = [arm for arm in arms if arm not in facts.contrasts]
    missing = f" Not compared with the baseline: {listing(apart)}." if apart else ""
    found = [facts.contrasts[arm] for arm in arms if arm in facts.contrasts]
    if not found:
        return f"Nothing is confirmed.{missing}"
    if not any(math.isfinite(c.low) for c in found):
        why = "one fresh seed gives no interval" if facts.seeds == 1 else "the fresh seeds give no interval"
        return f"Not shown: {why}.{missing}"
    up, down = ("above", "below") if facts.measure.sign > 0 else ("below", "above")
    better, worse = ([c for c in found if facts.ahead(c.shown) == side] for side in (1, -1))
    said = [f"On fresh seeds, {_beyond(facts, better, up)}. {UNTUNED}"] if better else []
    if worse:
        start = "" if better else "No winner beats the baseline: on fresh seeds, "
        said.append(capital(f"{start}{_beyond(facts, worse, down)}."))
    unclear = [c.arm for c in found if c not in better and c not in worse]
    if unclear and (better or worse):
        said.append(f"No difference from the baseline is shown for {listing(unclear)}.")
    return " ".join(said or ["Not shown: on fresh seeds, no winner differs from the baseline significantly."]) + missing


def _beyond(facts: Facts, found: Sequence[stats.Contrast], side: str) -> str:
    """Winners that are significantly on one side of the baseline, and by how much."""
    apart, one = max(abs(c.estimate) for c in found), len(found) == 1
    return f"{listing([c.arm for c in found])} {'is' if one else 'are'} {'' if one else 'up to '}" + (
        f"{facts.unit.size(apart, facts.decimals)} {side} the baseline (significant after correction)"
    )


def _unconfirmed(facts: Facts) -> str:
    """Why a search has no result on fresh seeds."""
    if not facts.study.get("seeds"):
        return "No configuration runs again on fresh seeds in this study, so its best accuracy stays optimistic."
    return "No winner has been retrained on fresh seeds yet, so nothing is confirmed."


# The course


@dataclass(frozen=True)
class Objective:
    """A column of trials.parquet and its direction. unit: the factor of a shown value."""

    name: str
    maximise: bool

    @property
    def metric(self) -> Metric | None:
        """The metric that the column holds, on test or validation images; None for a cost."""
        return next((m for m in METRICS.values() if self.name in (m.column, m.validation)), None)

    @property
    def unit(self) -> float:
        return UNITS[self.metric.unit].factor if self.metric else 1.0

    @property
    def measured(self) -> bool:
        """Whether luck moves it: accuracies and losses, not the cost of a network."""
        return self.metric is not None

    @property
    def title(self) -> str:
        if self.metric is None:
            return COSTS.get(self.name, self.name)
        part = "test" if self.name == self.metric.column else "validation"
        return f"{part} {self.metric.words}, {self.metric.unit}"


ACCURACY = Objective(METRICS[DEFAULT].validation, True)


def objectives(facts: Facts) -> list[Objective]:
    """The objectives of the search that trials.parquet holds, or else validation accuracy.

    study.json names them in a dict, name → direction, or in a list of {name, direction}.
    """
    named = facts.study.get("objectives") or {}
    pairs = named.items() if isinstance(named, Mapping) else [(o.get("name"), o.get("direction", "max")) for o in named]
    found = [Objective(str(name), not str(direction).startswith("min")) for name, direction in pairs]
    return [o for o in found if o.name in facts.searched.columns] or [ACCURACY]


@dataclass(frozen=True)
class Course:
    """The trials of a search in the order of suggestion.

    frame: number, state, value (in the unit of the objective) and `best` so far over completed trials. failed: the
    number of trials without a value.
    """

    objective: Objective
    frame: pd.DataFrame
    failed: int

    @property
    def span(self) -> list[float] | None:
        """The range of the axis: the better half of all trials and nine tenths of the completed ones."""
        sign = 1.0 if self.objective.maximise else -1.0
        value = sign * self.frame["value"]
        done = value[self.frame["state"] == "completed"]
        least = min([value.median(), *([done.quantile(0.1)] if len(done) else [])])
        return span(self.frame["value"][value >= least])


def course(facts: Facts) -> Course | None:
    if facts.searched.empty:
        return None
    aim = objectives(facts)[0]
    frame = facts.searched[["number", "state"]].assign(value=aim.unit * facts.searched[aim.name].astype(float))
    frame = frame.sort_values("number", kind="stable").reset_index(drop=True)
    failed = int((frame["state"] == "failed").sum())
    frame = frame[frame["state"].isin(["completed", "pruned", INFEASIBLE]) & frame["value"].notna()]
    done = frame["value"].where(frame["state"] == "completed")
    frame["best"] = (done.cummax() if aim.maximise else done.cummin()).ffill()
    return Course(aim, frame, failed)


def draw_course(shown: Course) -> Figure:
    frame = shown.frame.iloc[:: _step(shown)]
    data = []
    for state, colour, symbol in (*STATES, BEYOND):
        rows = frame[frame["state"] == state]
        if rows.empty:
            continue
        x, y, hover = (
            rows["number"].astype(int).tolist(),
            numbers(rows["value"], 3),
            f"trial %{{x}}, {state}: %{{y:.2f}}",
        )
        data.append(markers(x, y, hover, 6, symbol, colour, edge=1.3, name=state))
    steps = shown.frame.dropna(subset=["best"])
    steps = steps[steps["best"].ne(steps["best"].shift()) | (steps.index == steps.index[-1])] if len(steps) else steps
    x, y = steps["number"].astype(int).tolist(), numbers(steps["best"], 3)
    look = {"line": {"color": "@ink", "width": 2, "shape": "hv"}, "name": "best so far"}
    data.append(scatter("lines", x, y, hovertemplate="best after trial %{x}: %{y:.2f}<extra></extra>", **look))
    y_axis = axis(shown.objective.title, range=shown.span)
    return figure(data, 380, legend=len(data), xaxis=axis("trial", showgrid=False), yaxis=y_axis)


def _step(shown: Course) -> int:
    """One in so many trials is drawn."""
    return math.ceil(max(len(shown.frame), 1) / MOST_DRAWN)


def _course_plot(facts: Facts, shown: Course, done: pd.DataFrame) -> Plot:
    aim = shown.objective

    def text(value: float) -> str:
        return f"{value:.{max(facts.share_decimals, 1)}f} %" if aim.unit == 100.0 else f"{value:.4g}"

    best = done.loc[done["value"].idxmax() if aim.maximise else done["value"].idxmin()]
    marks = "Each mark is a trial" if _step(shown) == 1 else f"Each mark is one in {_step(shown)} trials"
    stopped = ", a pruned one with its value when it was stopped" if (shown.frame["state"] == "pruned").any() else ""
    caption = (
        f"{marks} of the search, in the order of suggestion{stopped}; the line is the best completed trial so far. "
        f"It ends at {text(best['value'])} (trial {best['number']:.0f}). {_optimism(aim, len(shown.frame))}The axis "
        "holds the better half of all trials and nine tenths of the completed ones."
    )
    steps = done[done["best"] != done["best"].shift()]
    rows = [(f"trial {r['number']:.0f}", [Cell(text(r["value"]), float(r["value"]))]) for r in steps.to_dict("records")]
    table = number_table([Column("value", f"New best: {aim.title}")], rows, "Trial", "New bests of the search")
    return Plot("best-so-far", caption, [draw_course(shown)], table)


def _optimism(aim: Objective, trials: int) -> str:
    """A warning about the best of many measured values. Costs are counted, so the best of them is what it is."""
    if trials < 2 or not aim.measured:
        return ""
    return (
        f"That number is optimistic, because it is the best of {trials:,} trials; only trials on seeds that the search "
        "has not used show how good the configuration is. "
    )


# Its winners on fresh seeds


def winner_arms(facts: Facts) -> list[str]:
    return [arm for arm in facts.arms if arm.startswith("winner-") and arm in facts.scores.columns]


def winners(facts: Facts) -> ArmRows:
    """Baseline and winners on fresh seeds by what ranked them on validation images: mean, interval, seeds."""
    aim = ranked_by(facts)
    known = facts.completed.dropna(subset=[aim.name]).set_index("seed")
    values = {arm: aim.unit * rows[aim.name].astype(float) for arm, rows in known.groupby("arm")}
    rows = [mean_row(arm, values[arm]) for arm in [facts.baseline, *winner_arms(facts)] if arm in values]
    unit = UNITS[aim.metric.unit] if aim.metric else PERCENT
    decimals, ends = facts.decimals if unit is facts.unit else unit.decimals, (0.0, unit.factor * unit.most)
    return ArmRows(tuple(rows), facts.baseline, decimals, unit=unit, ends=ends, appearance=facts.appearance)


def ranked_by(facts: Facts) -> Objective:
    """The first objective of the search, if it was measured on validation images; else validation accuracy."""
    first = objectives(facts)[0]
    return first if first.measured and first.name in facts.completed else ACCURACY


def found_by_search(facts: Facts) -> dict[str, float]:
    """Winner → what ranked it, of the trial of that configuration in the search itself."""
    aim, done = ranked_by(facts), facts.searched[facts.searched["state"] == "completed"]
    groups = done.dropna(subset=[aim.name]).groupby("config_id")[aim.name]
    by_config = aim.unit * (groups.max() if aim.maximise else groups.min()).astype(float)
    configs = facts.completed.drop_duplicates("arm").set_index("arm")["config_id"]
    return {arm: float(by_config[configs[arm]]) for arm in winner_arms(facts) if configs[arm] in by_config.index}


def draw_winners(shown: ArmRows, found: Mapping[str, float], title: str) -> Figure:
    hover = f"%{{x:.{shown.decimals}f}} {shown.unit.name}"
    drawn = draw_rows(shown, axis(title), ([], []), hover, list(found.values()))
    at = {row.arm: i for i, row in enumerate(shown.rows) if row.arm in found}
    x, y = numbers(found[arm] for arm in at), [i - 0.24 for i in at.values()]
    names, hover = (
        list(shown.appearance.hovers(at).values()),
        "%{customdata}<br>in the search: %{x:.2f} " + shown.unit.name,
    )
    theme.add(drawn, markers(x, y, hover, 10, "triangle-down", "@c2", customdata=names) | {"arm": list(at)})
    return drawn


def _winners_plot(facts: Facts, shown: ArmRows) -> Plot:
    found, aim, unit = found_by_search(facts), ranked_by(facts), shown.unit
    what = aim.title.rpartition(",")[0]
    caption = (
        f"{capital(what)} of the configurations that validation picked, retrained on seeds that the search never "
        "used. Diamond: mean on fresh seeds; bar: its 95 % interval (Student's t); ring: one fresh seed"
    )
    lost = [found[row.arm] - row.value for row in shown.rows if row.arm in found]
    key = [Mark("on fresh seeds", "@c1", "diamond"), Mark("baseline on the same seeds", "@ink", "diamond")]
    if lost:
        mean = sum(lost) / len(lost) / unit.factor
        apart = f"{unit.size(mean, max(shown.decimals, 1))} {'above' if mean >= 0 else 'below'}"
        caption += f"; triangle: the same configuration in the search, {apart} on average"
        caption += ", as picking the best of many makes likely" if (mean > 0) == aim.maximise and mean else ""
        key.append(Mark("in the search", "@c2", "triangle-down"))
    columns = [Column("search", f"In the search, {unit.name}"), Column("fresh", f"On fresh seeds, {unit.name}")]
    columns += [Column("low", "95 % from"), Column("high", "to"), Column("n", "n")]
    rows = []
    for row in shown.rows:
        values = [found.get(row.arm, math.nan), row.value, row.low, row.high]
        cells = number_cells(unit.number, shown.decimals, *values, unit=unit.factor)
        rows.append((row.arm, [*cells, count_cell(len(row.seeds))]))
    table = number_table(columns, rows, label="Winners on fresh seeds")
    caption += f". The bars are of single means and of {what}; differences of {facts.measure.title}, with "
    caption += "corrected intervals, say whether a winner beats the baseline"
    return Plot("winners", f"{caption}.{shown.cut}", [draw_winners(shown, found, aim.title)], table, key=key)


# The front of two objectives


@dataclass(frozen=True)
class Front:
    """Two objectives of the completed trials of a search; `on` marks those that no other beats in both."""

    x: Objective
    y: Objective
    frame: pd.DataFrame


def front(facts: Facts) -> Front | None:
    aims = objectives(facts)
    if len(aims) < 2:
        return None
    y, x = aims[:2]
    done = facts.searched[facts.searched["state"] == "completed"].dropna(subset=[x.name, y.name])
    frame = pd.DataFrame({"number": done["number"], "x": x.unit * done[x.name], "y": y.unit * done[y.name]})
    signs = [1.0 if aim.maximise else -1.0 for aim in (x, y)]
    frame["on"] = stats.pareto(signs[0] * frame["x"].to_numpy(float), signs[1] * frame["y"].to_numpy(float))
    return Front(x, y, frame.reset_index(drop=True))


def draw_front(shown: Front) -> Figure:
    data = []
    for on, name, colour, symbol in ((False, "beaten", "@soft", "circle-open"), (True, "front", "@c1", "diamond")):
        rows = shown.frame[shown.frame["on"] == on]
        rows = rows.iloc[:: math.ceil(max(len(rows), 1) / MOST_DRAWN)].sort_values("x")
        look = {"mode": "lines+markers" if on else "markers", "line": {"color": colour, "width": 1.5, "shape": "hv"}}
        more = {**look, "name": name, "customdata": rows["number"].astype(int).tolist()}
        x, y, hover = numbers(rows["x"]), numbers(rows["y"], 3), "trial %{customdata}<br>%{x:.4s}, %{y:.2f}"
        data.append(markers(x, y, hover, 8 if on else 6, symbol, colour, **more))
    return figure(data, 380, legend=2, xaxis=axis(shown.x.title, nticks=6), yaxis=axis(shown.y.title))


def _front_plot(shown: Front) -> Plot:
    on = shown.frame[shown.frame["on"]].sort_values("x")
    caption = (
        f"Completed trials in two objectives, {shown.y.title} against {shown.x.title}. The front has "
        f"{plural(len(on), 'trial')}: no other is at least as good in both and better in one. Its accuracies are "
        "optimistic too, because they were picked."
    )
    points = zip(on["number"], on["x"], on["y"], strict=True)
    rows = [(f"trial {number:.0f}", [Cell(f"{v:.4g}", float(v)) for v in at]) for number, *at in points]
    columns = [Column("x", shown.x.title), Column("y", shown.y.title)]
    table = number_table(columns, rows, "Trial", "Front of the search")
    return Plot("search-front", caption, [draw_front(shown)], table)
