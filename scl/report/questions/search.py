"""Did the search help? Its history, its parameters, what accuracy costs, and its winners on fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scl import stats
from scl.report import theme
from scl.report.blocks import Block, Column, Mark, Note, Panel, Plot
from scl.report.drawing.rows import ArmRows, draw_rows, mean_row
from scl.report.facts import Facts
from scl.report.formatting import PERCENT, UNITS, capital, listing, plural
from scl.report.search.front import front_plot, fronts
from scl.report.search.history import history, history_plot
from scl.report.search.objectives import ACCURACY, Objective, objectives
from scl.report.search.parallel import parallel, parallel_plot
from scl.report.searched import INFEASIBLE, method
from scl.report.tables import count_cell, number_cells, number_table
from scl.report.theme import Figure, axis, markers, numbers

TITLE = "Did the search help?"
UNTUNED = (
    "This search did not tune the baseline: unless that was tuned elsewhere with as many trials, the gain includes "
    "what tuning alone would give."
)


def panel(facts: Facts) -> Panel:
    shown = history(facts)
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
    failed = int((shown.frame["state"] == "failed").sum())
    counts += f", {failed:,} failed" if failed else ""
    if done.empty:
        return Panel("search", TITLE, f"{counts}. None completed, so there is nothing to draw.")
    blocks: list[Block] = [Note(method(about))] if about.get("sampler") else []
    blocks.append(history_plot(facts, shown))
    side_by_side = parallel(facts)
    if side_by_side is not None:
        blocks.append(parallel_plot(facts, side_by_side))
    costs = fronts(facts)
    if costs:
        blocks.append(front_plot(facts, costs))
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
