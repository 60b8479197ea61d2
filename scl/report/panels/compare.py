"""Arms against each other: differences to the baseline, seed by seed, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from scl import stats
from scl.report.blocks import Cell, Column, Panel, Plot, Table, number_table, text_cell
from scl.report.facts import Facts
from scl.report.figures import compare
from scl.report.figures.rows import MOST_SEEDS_DRAWN, ArmRows
from scl.report.words import bare, listing, name_of, p_value, plural, points, signed


def not_drawn(facts: Facts) -> str:
    missing = [arm for arm in facts.scores.columns if arm not in facts.drawn]
    return f" Not drawn, as it would squeeze all others: {listing(missing)}." if missing else ""


def beyond(arms: int) -> str:
    return f" {plural(arms, 'lower arm')} in the table of numbers alone." if arms else ""


MOST_PAIRS = 400  # rows of the table of pairs
MOST_SEED_CELLS = 600  # of a table with a column a seed


def _seeds_told(arms: int) -> int:
    """How many seeds a table names one by one: a page of a large study stays light, trials.parquet has them all."""
    return min(MOST_SEEDS_DRAWN, max(MOST_SEED_CELLS // max(arms, 1), 1))


def rows_table(facts: Facts, shown: ArmRows, show: Callable[[float, int], str]) -> Table:
    d = facts.decimals
    seeds = sorted({seed for row in shown.rows for seed in row.seeds})[: _seeds_told(len(shown.rows))]
    columns = [Column("value", "Estimate"), Column("low", "95 % from"), Column("high", "to")]
    columns += [Column(f"seed_{seed}", f"Seed {seed}") for seed in seeds]
    rows = []
    for row in shown.rows:
        values = [row.value, row.low, row.high, *[row.seeds.get(seed, math.nan) for seed in seeds]]
        rows.append((row.arm, [Cell(show(v / 100, d), v) for v in values]))
    return number_table(columns, rows)


def forest(facts: Facts) -> Panel:
    title = "Does each arm beat the baseline?"
    if not facts.contrasts or facts.comparison is None:
        why = "No arm could be compared with the baseline, so there are no differences to draw."
        return Panel("forest", title, why)
    shown = compare.differences(facts)
    c = facts.comparison
    d = facts.decimals
    drawn = "An arm whose bar stays clear of the line at 0 differs credibly from the baseline, all arms together "
    caption = (
        "Differences of test accuracy to the baseline. The diamond is the estimate of the model accuracy ~ arm + "
        "seed, a ring the difference on one seed"
    )
    if math.isfinite(c.critical):
        caption += (
            f", the bar the simultaneous 95 % interval (Dunnett; {c.df} degrees of freedom, critical value "
            f"{c.critical:.2f}). " + drawn + "taken into account. The shaded band holds true differences too small "
            f"for this study: it sees {points(facts.detectable(), max(d, 1)).lstrip('+')} points with 80 % power."
        )
        above = [r.arm for r in shown.rows if r.low > 0]
        below = [r.arm for r in shown.rows if r.high < 0]
        told = [f"above the baseline: {listing(above)}"] if above else []
        told += [f"below it: {listing(below)}"] if below else []
        answer = f"Credibly {'; credibly '.join(told)}." if told else "No arm's interval is clear of 0."
    else:
        caption += "."
        answer = (
            "With one seed these are single differences, without intervals."
            if facts.seeds == 1
            else "The seeds show no spread from which an interval could be computed."
        )
    if math.isfinite(rho := stats.correlation(facts.compared)):
        answer += f" Arms correlate with {signed(rho, 2)} across seeds, which is what pairing by seed gains from."
    caption += beyond(shown.beyond)
    plot = Plot("differences", caption, [compare.draw_differences(shown)], rows_table(facts, shown, points))
    return Panel("forest", title, answer, [plot])


def seeds(facts: Facts) -> Panel:
    title = "Does one seed drive it?"
    if facts.scores.shape[0] < 2 or len(facts.drawn) < 2:
        return Panel("seeds", title, "This needs at least two arms and two seeds with results.")
    shown = compare.seed_lines(facts)
    d = facts.decimals
    first = shown.ranks["all"].idxmin()
    others = shown.ranks.drop(columns="all")
    changes = [str(seed) for seed in others.columns if others.loc[first, seed] != 1]
    if changes:
        answer = f"{name_of(str(first))} has the highest mean, but not without seed {' or seed '.join(changes[:6])}."
    else:
        answer = f"{name_of(str(first))} keeps the highest mean whichever seed is left out."
    drawn = list(shown.accuracy.index[:MOST_SEEDS_DRAWN])
    told = drawn[: _seeds_told(shown.accuracy.shape[1])]
    columns = [Column(f"seed_{s}", f"Seed {s}") for s in told]
    rows = [
        (str(arm), [Cell(bare(shown.accuracy.loc[s, arm] / 100, d), shown.accuracy.loc[s, arm]) for s in told])
        for arm in shown.accuracy.columns
    ]
    more = len(shown.accuracy) - len(drawn)
    caption = (
        "Each line joins the arms of one seed; arms stand by falling mean. Lines that run in parallel say that a "
        "good seed is good for every arm; lines that cross, that the order of the arms depends on the seed."
        + (f" The first {len(drawn)} of {len(shown.accuracy)} seeds are drawn." if more else "")
        + not_drawn(facts)
        + beyond(shown.beyond)
    )
    plot = Plot("by-seed", caption, [compare.draw_seed_lines(shown)], number_table(columns, rows, label="Seeds by arm"))
    return Panel("seeds", title, answer, [plot, _ranks_plot(shown)])


def _ranks_plot(shown: compare.SeedLines) -> Plot:
    others = shown.ranks.drop(columns="all")
    stable = int((others.min(axis=1) == others.max(axis=1)).sum())
    caption = (
        "Rank of each arm by its mean over all seeds (diamond), and from its best to its worst rank when any one seed "
        f"is left out (bar). {plural(stable, 'arm keeps its rank', 'arms keep their rank')} whichever seed goes."
    )
    columns = [
        Column("rank", "Rank"),
        Column("rank_low", "Best", "with any one seed left out"),
        Column("rank_high", "Worst", "with any one seed left out"),
    ]
    rows = []
    for arm in shown.ranks.index:
        values = (shown.ranks.loc[arm, "all"], others.loc[arm].min(), others.loc[arm].max())
        rows.append((str(arm), [Cell(f"{rank:.0f}", float(rank)) for rank in values]))
    return Plot("ranks", caption, [compare.draw_ranks(shown)], number_table(columns, rows, label="Ranks by arm"))


def pairs(facts: Facts) -> Panel:
    title = "Who beats whom?"
    if facts.comparison is None or not math.isfinite(facts.comparison.critical) or facts.compared.shape[1] < 3:
        return Panel("pairs", title, "This needs at least three arms that can be compared, and two seeds or more.")
    shown = compare.pair_matrix(facts)
    n = len(shown.arms)
    answer = (
        f"{shown.told_apart:,} of {plural(shown.pairs, 'pair')} can be told apart (Holm, {100 * stats.LEVEL:.0f} %)."
    )
    caption = (
        "Row minus column in points, arms by falling mean. Coloured: pairs whose difference is credible after "
        "Holm's correction over all pairs (model accuracy ~ arm + seed); pale: pairs that this study cannot tell "
        "apart. Columns stand in the order of the rows. A family of its own: its p are not those of the comparison "
        "with the baseline." + beyond(facts.compared.shape[1] - n)
    )
    columns = [Column("other", "Minus", number=False), Column("difference", "Points"), Column("p_holm", "Holm p")]
    order = sorted(
        ((i, j) for i in range(n) for j in range(i + 1, n)), key=lambda pair: np.nan_to_num(shown.p[pair], nan=2.0)
    )
    rows = [
        (
            shown.arms[i],
            [
                text_cell(shown.arms[j]),
                Cell(points(shown.difference[i, j] / 100, facts.decimals), shown.difference[i, j]),
                Cell(p_value(shown.p[i, j]), shown.p[i, j]),
            ],
        )
        for i, j in order[:MOST_PAIRS]
    ]
    if len(order) > MOST_PAIRS:
        caption += f" The table of numbers holds the {MOST_PAIRS} pairs with the smallest p."
    return Panel(
        "pairs",
        title,
        answer,
        [Plot("matrix", caption, [compare.draw_pair_matrix(shown)], number_table(columns, rows))],
    )
