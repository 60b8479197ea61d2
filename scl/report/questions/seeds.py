"""Does one seed drive the result? Every arm seed by seed, and the ranks with each seed left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl import stats
from scl.report import theme
from scl.report.appearance import NO_ARMS, Appearance
from scl.report.blocks import Column, Panel, Plot
from scl.report.drawing.arms import beyond, highest, not_drawn
from scl.report.drawing.rows import MOST_SEEDS_DRAWN, seeds_listed
from scl.report.facts import Facts
from scl.report.formatting import PERCENT, Unit, fixed, listing, name_of, plural
from scl.report.tables import number_cells, number_table
from scl.report.theme import Figure, axis, numbers, series_style

TITLE = "Does one seed drive the result?"


def panel(facts: Facts) -> Panel:
    if len(facts.learnt_scores) < 2 or len(facts.drawn) < 2:
        return Panel("seeds", TITLE, "This needs at least two arms and two seeds with results.")
    shown = seed_lines(facts)
    first, best = shown.ranks["all"].idxmin(), facts.extreme
    others = shown.ranks.drop(columns="all")
    changes = [str(seed) for seed in others.columns if others.loc[first, seed] != 1]
    tied = [str(arm) for arm, rank in shown.ranks["all"].items() if rank == 1]
    if len(tied) > 1:
        answer = f"{listing(tied)} share the {best} mean."
    elif changes:
        answer = f"{name_of(str(first))} has the {best} mean, but not without seed {' or seed '.join(changes[:6])}."
    else:
        answer = f"{name_of(str(first))} has the {best} mean whichever seed is left out."
    return Panel("seeds", TITLE, answer, [_lines_plot(facts, shown), _ranks_plot(shown)])


@dataclass(frozen=True)
class SeedLines:
    """accuracy: the metric as it is shown, (seeds, arms), the best arm first. ranks: (arms, `all` and each seed left
    out), among all arms."""

    accuracy: pd.DataFrame
    ranks: pd.DataFrame
    line: float
    decimals: int
    beyond: int
    unit: Unit = PERCENT
    title: str = "test accuracy, %"
    appearance: Appearance = NO_ARMS


def seed_lines(facts: Facts) -> SeedLines:
    arms = highest(facts, facts.drawn)
    ranks = stats.ranks_without_a_seed(facts.measure.sign * facts.learnt_scores).loc[arms]
    lower = len(facts.drawn) - len(arms)
    scores, line = facts.unit.factor * facts.learnt_scores[arms], facts.unit.factor * facts.teacher
    return SeedLines(scores, ranks, line, facts.decimals, lower, facts.unit, facts.axis, facts.appearance)


def _lines_plot(facts: Facts, shown: SeedLines) -> Plot:
    drawn = list(shown.accuracy.index[:MOST_SEEDS_DRAWN])
    listed = drawn[: seeds_listed(shown.accuracy.shape[1])]
    columns = [Column(f"seed_{s}", f"Seed {s}") for s in listed]
    rows = [
        (
            str(arm),
            number_cells(facts.unit.number, facts.decimals, *shown.accuracy.loc[listed, arm], unit=facts.unit.factor),
        )
        for arm in shown.accuracy.columns
    ]
    caption = (
        "Each line joins the arms of one seed; the best mean is on top. Parallel lines: a good seed is good for every "
        "arm. Crossing lines: the order of the arms depends on the seed."
    )
    if len(drawn) < len(shown.accuracy):
        caption += f" The first {len(drawn)} of {len(shown.accuracy)} seeds are drawn."
    caption += not_drawn(facts) + beyond(shown.beyond)
    return Plot("by-seed", caption, [draw_seed_lines(shown)], number_table(columns, rows, label="Seeds by arm"))


def draw_seed_lines(shown: SeedLines) -> Figure:
    arms = [str(arm) for arm in shown.accuracy.columns]
    y, narrow = _axis(shown, arms)
    names = shown.appearance.labels(arms)
    styles = [series_style(i) for i in range(MOST_SEEDS_DRAWN)]
    data = [
        theme.scatter(
            "lines+markers",
            numbers(values),
            list(range(len(arms))),
            name=f"seed {seed}",
            connectgaps=True,
            customdata=[names[arm] for arm in arms],
            arm=arms,
            hovertemplate=f"%{{customdata}}<br>seed {seed}: %{{x:.{shown.decimals}f}} {shown.unit.name}<extra></extra>",
            line={"color": style["color"], "dash": style["dash"], "width": 1.5},
            marker={"size": 7, "symbol": style["symbol"]},
        )
        for style, (seed, values) in zip(styles, shown.accuracy.head(MOST_SEEDS_DRAWN).iterrows(), strict=False)
    ]
    marks = theme.teacher_line(shown.line, vertical=True)
    x, height = axis(shown.title), theme.rows_height(len(arms))
    return theme.figure(data, height, narrow, legend=len(data), marks=marks, rows=arms, xaxis=x, yaxis=y)


def _ranks_plot(shown: SeedLines) -> Plot:
    others = shown.ranks.drop(columns="all")
    stable = int((others.min(axis=1) == others.max(axis=1)).sum())
    keep = plural(stable, "arm keeps its rank", "arms keep their rank") if stable else "No arm keeps its rank"
    caption = (
        "Rank of each arm by its mean over all seeds (diamond), and its best and worst rank when any one seed is left "
        f"out (bar). {keep} whichever seed is left out."
    )
    hint = "with any one seed left out"
    columns = [Column("rank", "Rank"), Column("rank_low", "Best", hint), Column("rank_high", "Worst", hint)]
    spans = zip(shown.ranks.index, shown.ranks["all"], others.min(axis=1), others.max(axis=1), strict=True)
    rows = [(str(arm), number_cells(fixed, 0, *map(float, ranks))) for arm, *ranks in spans]
    return Plot("ranks", caption, [draw_ranks(shown)], number_table(columns, rows, label="Ranks by arm"))


def draw_ranks(shown: SeedLines) -> Figure:
    """The rank of each arm over all seeds, and a bar from its best to its worst with one seed left out."""
    arms = [str(arm) for arm in shown.ranks.index]
    y, narrow = _axis(shown, arms)
    names = shown.appearance.hovers(arms)
    others = shown.ranks.drop(columns="all")
    best, worst = others.min(axis=1), others.max(axis=1)
    look = shown.appearance
    lines = [(arm, {"color": look.style(arm)["color"], "width": 4}) for arm in arms]
    bars = [
        theme.scatter("lines", [float(best[arm]), float(worst[arm])], [i, i], hoverinfo="skip", line=line, arm=arm)
        for i, (arm, line) in enumerate(lines)
    ]
    about = [[names[arm], f"{best[arm]:.0f} to {worst[arm]:.0f}"] for arm in arms]
    hover = "%{customdata[0]}<br>rank %{x}, with one seed left out %{customdata[1]}"
    middle = numbers(shown.ranks["all"])
    diamonds = theme.markers(middle, list(range(len(arms))), hover, 10, "diamond", "@ink", customdata=about, arm=arms)
    last = float(worst.max())
    x = axis("rank by mean, 1 is best", range=[0.5, last + 0.5], dtick=max(1, round(last / 12)), tick0=1)
    narrow["xaxis.dtick"] = max(1, round(last / 6))
    return theme.figure([*bars, diamonds], theme.rows_height(len(arms)), narrow, rows=arms, xaxis=x, yaxis=y)


def _axis(shown: SeedLines, arms: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    look = shown.appearance
    return theme.arm_axis(look.labels(arms).values(), look.labels(arms, theme.NARROW).values())
