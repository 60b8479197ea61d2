"""The panels of the page, one function each: facts in, panel out. A new one is a function and a line in PANELS."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from scl import stats
from scl.report import compare, training
from scl.report.blocks import (
    Block,
    Card,
    Cards,
    Cell,
    Column,
    Note,
    Panel,
    Plot,
    Table,
    number_table,
    text_cell,
)
from scl.report.facts import Facts
from scl.report.records import glossary, ran, table, trials
from scl.report.words import (
    DASH,
    bare,
    listing,
    name_of,
    p_value,
    percent,
    plural,
    points,
    qualifications,
    signed,
    verdict,
)


def lead(facts: Facts) -> Panel:
    blocks: list[Block] = [Cards(_cards(facts))]
    if facts.scores.size:
        blocks.append(_accuracy_plot(facts))
    blocks += [Note(text) for text in qualifications(facts)]
    return Panel("verdict", "Verdict", verdict(facts), blocks)


def _cards(facts: Facts) -> list[Card]:
    d = facts.decimals
    means = facts.scores.mean()
    cards = []
    if not means.empty:
        best = str(means.idxmax())
        cards.append(Card("Highest mean", percent(means[best], d), best))
    if facts.baseline in means:
        cards.append(Card("Baseline", percent(means[facts.baseline], d), facts.baseline))
    if math.isfinite(facts.teacher):
        per_seed = f"mean of {len(facts.teachers)} teachers" if len(facts.teachers) > 1 else "one for all seeds"
        cards.append(Card("Teacher", percent(facts.teacher, d), per_seed))
    smallest = facts.detectable()
    if math.isfinite(smallest) and smallest > 0 and facts.comparison is not None:
        seen = f"{points(smallest, max(d, 1)).lstrip('+')} points"
        cards.append(Card("Detectable effect", seen, f"{plural(facts.comparison.seeds, 'seed')}, power 80 %"))
    done = int((facts.cells["state"] == "completed").sum())
    failed = int((facts.cells["state"] == "failed").sum())
    note = f"{failed} failed" if failed else f"over {plural(facts.seeds, 'seed')}"
    cards.append(Card("Trials completed", f"{done:,} of {len(facts.cells):,}", note))
    return cards


def _accuracy_plot(facts: Facts) -> Plot:
    shown = compare.accuracies(facts)
    spread = "the bar its 95 % interval (Student's t), " if facts.seeds > 1 else ""
    caption = (
        f"Test accuracy after the last epoch. The diamond is an arm's mean over seeds, {spread}a ring one seed; "
        f"the baseline has the colour of the text, {_grey(facts)}the dashed line is the teacher. "
        "Bars of two arms may overlap and the arms still differ: their seeds are paired, see the differences."
        + _beyond(shown.beyond)
    )
    return Plot("accuracy", caption, [compare.draw_accuracies(shown)], _rows_table(facts, shown, bare))


def _grey(facts: Facts) -> str:
    return "arms left out of the comparison in grey, " if set(facts.left_out) & set(facts.scores.columns) else ""


def _not_drawn(facts: Facts) -> str:
    missing = [arm for arm in facts.scores.columns if arm not in facts.drawn]
    return f" Not drawn, as it would squeeze all others: {listing(missing)}." if missing else ""


def _beyond(arms: int) -> str:
    return f" {plural(arms, 'lower arm')} in the table of numbers alone." if arms else ""


def _rows_table(facts: Facts, shown: compare.ArmRows, show: Callable[[float, int], str]) -> Table:
    d = facts.decimals
    seeds = sorted({seed for row in shown.rows for seed in row.seeds})[: compare.MOST_SEEDS_DRAWN]
    columns = [Column("value", "Estimate"), Column("low", "95 % from"), Column("high", "to")]
    columns += [Column(f"seed_{seed}", f"Seed {seed}") for seed in seeds]
    rows = []
    for row in shown.rows:
        values = [row.value, row.low, row.high, *[row.seeds.get(seed, math.nan) for seed in seeds]]
        rows.append((row.arm, [Cell(show(v / 100, d), v) for v in values]))
    return number_table(columns, rows)


def forest(facts: Facts) -> Panel:
    title = "How far is each arm from the baseline?"
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
    caption += _beyond(shown.beyond)
    plot = Plot("differences", caption, [compare.draw_differences(shown)], _rows_table(facts, shown, points))
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
    drawn = list(shown.accuracy.index[: compare.MOST_SEEDS_DRAWN])
    columns = [Column(f"seed_{s}", f"Seed {s}") for s in drawn]
    columns += [
        Column("rank", "Rank"),
        Column("rank_low", "Best rank", "with any one seed left out"),
        Column("rank_high", "Worst rank", "with any one seed left out"),
    ]
    rows = []
    for arm in shown.accuracy.columns:
        values = [Cell(bare(shown.accuracy.loc[s, arm] / 100, d), shown.accuracy.loc[s, arm]) for s in drawn]
        ranks = (shown.ranks.loc[arm, "all"], others.loc[arm].min(), others.loc[arm].max())
        rows.append((str(arm), [*values, *[Cell(f"{rank:.0f}", float(rank)) for rank in ranks]]))
    more = len(shown.accuracy) - len(drawn)
    caption = (
        "Each line joins the arms of one seed; arms stand by falling mean. Lines that run in parallel say that a "
        "good seed is good for every arm; lines that cross, that the order of the arms depends on the seed."
        + (f" The first {len(drawn)} of {len(shown.accuracy)} seeds are drawn." if more else "")
        + _not_drawn(facts)
        + _beyond(shown.beyond)
    )
    plot = Plot("by-seed", caption, [compare.draw_seed_lines(shown)], number_table(columns, rows))
    return Panel("seeds", title, answer, [plot])


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
        "with the baseline." + _beyond(facts.compared.shape[1] - n)
    )
    columns = [Column("other", "Minus", number=False), Column("difference", "Points"), Column("p_holm", "Holm p")]
    rows = [
        (
            shown.arms[i],
            [
                text_cell(shown.arms[j]),
                Cell(points(shown.difference[i, j] / 100, facts.decimals), shown.difference[i, j]),
                Cell(p_value(shown.p[i, j]), shown.p[i, j]),
            ],
        )
        for i in range(n)
        for j in range(i + 1, n)
    ]
    return Panel(
        "pairs",
        title,
        answer,
        [Plot("matrix", caption, [compare.draw_pair_matrix(shown)], number_table(columns, rows))],
    )


def curves(facts: Facts) -> Panel:
    title = "How did they learn?"
    shown = training.curves(facts)
    if not shown.curves:
        return Panel("curves", title, "No epochs of completed trials are stored, so there is nothing to draw.")
    drawn = min(len(shown.curves), training.DRAWN_AT_FIRST)
    banded = any(c.n > 1 for c in shown.curves)
    caption = "Mean over seeds by epoch"
    caption += ", the band its 95 % interval at each epoch (Student's t)." if banded else "; one seed has no band."
    caption += " Completed trials only. The axis leaves out the first steep epochs; a double click shows all."
    if drawn < len(shown.curves):
        caption += f" The baseline and the {drawn - 1} highest arms are drawn; a click on a name shows more."
    if shown.left_out:
        caption += f" {plural(shown.left_out, 'arm')} below the best {len(shown.curves)} are not in this figure."
    epochs = sorted({int(e) for c in shown.curves for e in c.epoch})
    rows = []
    for c in shown.curves:
        at = {int(e): (m, h - m) for e, m, h in zip(c.epoch, c.mean, c.high, strict=True)}
        cells = [_curve_cell(*at.get(e, (math.nan, math.nan)), facts.decimals) for e in _some(epochs)]
        rows.append((c.arm, cells))
    columns = [Column(f"epoch_{e}", f"{e}") for e in _some(epochs)]
    word = "Validation" if shown.metric == "val_acc" else "Test"
    answer = f"{word} accuracy over {plural(max(epochs), 'epoch')}."
    plot = Plot("learning", caption, [training.draw_curves(shown)], number_table(columns, rows))
    return Panel("curves", title, answer, [plot])


def _some(epochs: Sequence[int], most: int = 24) -> list[int]:
    """At most `most` of the epochs, evenly spread, the first and the last among them."""
    if len(epochs) <= most:
        return list(epochs)
    return sorted({epochs[round(i * (len(epochs) - 1) / (most - 1))] for i in range(most)})


def _curve_cell(mean: float, half: float, decimals: int) -> Cell:
    if not math.isfinite(mean):
        return Cell(DASH)
    spread = f" ± {bare(half / 100, decimals)}" if math.isfinite(half) else ""
    return Cell(bare(mean / 100, decimals) + spread, float(mean))


def shares(facts: Facts) -> Panel:
    title = "What did the loss consist of?"
    shown = training.shares(facts)
    if not shown:
        return Panel("shares", title, "No arm has more than one loss term on record, so there are no shares to draw.")
    terms = sorted({term for s in shown for term in s.share.columns})
    caption = (
        "Share of each weighted term in the training loss, the mean over seeds. A term that fills its panel drowns "
        "the others; one that is hardly seen may do little. Shares of the loss are not shares of the gradient."
    )
    last = {s.arm: s.share.iloc[-1] for s in shown}
    first = {s.arm: s.share.iloc[0] for s in shown}
    columns = [Column(f"{when}_{term}", f"{term}, {when} epoch, %") for term in terms for when in ("first", "last")]
    rows = [(s.arm, [_share_cell(when[s.arm].get(term)) for term in terms for when in (first, last)]) for s in shown]
    loud = [s.arm for s in shown if "ce" in s.share.columns and last[s.arm]["ce"] < 0.1]
    answer = f"{plural(len(shown), 'arm')} with more than one loss term."
    if loud:
        answer += f" Cross-entropy ends under 10 % of the loss in {listing(loud)}."
    figures = [training.draw_shares(s, terms) for s in shown]
    plot = Plot("loss-shares", caption, figures, number_table(columns, rows), [s.arm for s in shown])
    return Panel("shares", title, answer, [plot])


def _share_cell(share: float | None) -> Cell:
    return Cell(DASH) if share is None else Cell(f"{100 * share:.1f}", float(100 * share))


def distilling(facts: Facts) -> Panel:
    title = "Better by copying the teacher?"
    shown = training.agreement(facts)
    if not len(shown.x):
        return Panel("distilling", title, "No agreement with a teacher is on record.")
    means = facts.completed.groupby("arm")[["agreement", facts.metric]].mean()
    answer = "Agreement is the share of test images on which student and teacher predict the same class."
    if len(means) > 2 and means.nunique().min() > 1:
        rho = means["agreement"].rank().corr(means[facts.metric].rank())
        if math.isfinite(rho):
            answer += f" Across arms it goes with accuracy by a rank correlation of {signed(rho, 2)}."
    caption = (
        "A mark a completed trial. To the right: closer to the teacher's predictions; up: closer to the labels. An "
        "arm that rises without moving right learnt something else than its teacher." + _not_drawn(facts)
    )
    d = facts.decimals
    rows = [
        (str(arm), [Cell(bare(r["agreement"], d), r["agreement"]), Cell(bare(r[facts.metric], d), r[facts.metric])])
        for arm, r in means.loc[[a for a in facts.arms if a in means.index]].iterrows()
    ]
    columns = [Column("agreement", "Agreement, %, mean"), Column("accuracy", "Test accuracy, %, mean")]
    plot = Plot("agreement", caption, [training.draw_cloud(shown)], number_table(columns, rows))
    return Panel("distilling", title, answer, [plot])


def cost(facts: Facts) -> Panel:
    title = "What does it cost?"
    shown = training.cost(facts)
    if len(shown.x) < 2:
        return Panel("cost", title, "Costs of at least two arms are needed for a comparison.")
    front = [arm for arm, on in zip(shown.arms, shown.front, strict=True) if on]
    answer = f"Nothing in this study is both cheaper and better than {listing(front)}."
    caption = (
        f"A mark an arm: mean accuracy against {shown.x_title}. The line is the Pareto front of the means; it does "
        "not know about their uncertainty. Cost to train is measured on this study's hardware." + _not_drawn(facts)
    )
    columns = [Column("cost", shown.x_title), Column("accuracy", "Test accuracy, %, mean")]
    rows = [
        (arm, [Cell(f"{x:,.4g}", float(x)), Cell(bare(y / 100, facts.decimals), float(y))])
        for arm, x, y in zip(shown.arms, shown.x, shown.y, strict=True)
    ]
    plot = Plot("pareto", caption, [training.draw_cloud(shown)], number_table(columns, rows))
    return Panel("cost", title, answer, [plot])


PANELS: tuple[Callable[[Facts], Panel], ...] = (
    lead,
    ran,
    table,
    forest,
    seeds,
    pairs,
    curves,
    shares,
    distilling,
    cost,
    trials,
    glossary,
)
