"""Whether arms distil: agreement with the teacher, the share of its lead that is closed, calibration."""

from __future__ import annotations

import math

from scl.report.blocks import Cell, Column, Mark, Note, Panel, Plot, number_table
from scl.report.facts import Facts
from scl.report.figures import distilling as figures
from scl.report.figures.cloud import Cloud
from scl.report.figures.rows import ArmRows
from scl.report.panels.compare import beyond, not_drawn, rows_table
from scl.report.theme import styles
from scl.report.words import bare, listing, name_of, percent, points, signed


def arm_key(shown: Cloud) -> list[Mark]:
    """The colour and symbol of each arm in a cloud."""
    style = styles(shown.order, shown.baseline)
    return [Mark(arm, style[arm]["color"], style[arm]["symbol"]) for arm in shown.present]


def distilling(facts: Facts) -> Panel:
    title = "Is it really distilling?"
    shown = figures.agreement(facts)
    if not len(shown.x):
        return Panel("distilling", title, "No trial has its agreement with a teacher on record.")
    answer = "Agreement is the share of test images on which student and teacher predict the same class."
    if math.isfinite(rho := figures.ranks_together(facts)):
        answer += f" Across arms it goes with accuracy by a rank correlation of {signed(rho, 2)}."
    answer += _most_agreeing(facts)
    blocks: list[Plot | Note] = [_agreement_plot(facts, shown)]
    gap = figures.gap_closed(facts)
    if gap.rows:
        blocks.append(_gap_plot(facts, gap))
    else:
        blocks.append(Note(_no_gap(facts)))
    sure = [
        (calibrated, "calibration error", figures.draw_calibration, "ece")
        for calibrated in [figures.calibration(facts)]
        if calibrated.rows
    ]
    sure += [
        (apart, "divergence from the teacher", figures.draw_divergence, "kl")
        for apart in [figures.divergence(facts)]
        if apart.rows
    ]
    if sure:
        columns, cells = [], {row.arm: [] for row in sure[0][0].rows}  # type: ignore[var-annotated]
        for rows, words, _, key in sure:
            unit = "%" if key == "ece" else "nats"
            columns += [Column(f"{key}_{part}", f"{words}, {unit}, {part}") for part in ("mean", "from", "to")]
            by_arm = {row.arm: row for row in rows.rows}
            for arm, mine in cells.items():
                row = by_arm.get(arm)
                values = (row.value, row.low, row.high) if row else (math.nan,) * 3
                mine += [Cell(_fixed(v, rows.decimals), v) for v in values]
        best = sure[0][0].rows[0].arm
        caption = (
            "Left: expected calibration error on the test set, 15 bins: how far stated confidence lies from the share "
            "that is right. Right: mean divergence KL(teacher ‖ student) of the predicted probabilities: how unlike "
            "the teacher a student answers beyond the class it picks. Lower is less in both. Diamond: mean over seeds, "
            f"bar: 95 % interval (Student's t), ring: one seed. Lowest in {sure[0][1]}: {name_of(best)}."
        )
        if len(sure) == 1:
            caption = caption.replace("Left: ", "").split(" Right:")[0] + f" Lowest: {name_of(best)}."
        drawn = [draw(rows) for rows, _, draw, _ in sure]
        table = number_table(columns, list(cells.items()), label="Calibration by arm")
        blocks.append(Plot("calibration", caption, drawn, table, [words for _, words, _, _ in sure], wide=True))
    return Panel("distilling", title, answer, blocks)


def _fixed(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "–"


def _most_agreeing(facts: Facts) -> str:
    means = facts.completed[facts.completed["arm"].isin(facts.drawn)].groupby("arm")["agreement"].mean().dropna()
    if len(means) < 2 or facts.baseline not in means:
        return ""
    most = str(means.idxmax())
    base = percent(means[facts.baseline], facts.decimals)
    if most == facts.baseline:
        return f" No arm agrees with the teacher more than the baseline does by itself ({base})."
    return (
        f" {name_of(most)} agrees most ({percent(means[most], facts.decimals)}), "
        f"{points(means[most] - means[facts.baseline], facts.decimals)} points from the baseline ({base}), "
        "which never saw the teacher."
    )


def _agreement_plot(facts: Facts, shown: Cloud) -> Plot:
    d = facts.decimals
    drawn = set(shown.arms)
    means = facts.completed[facts.completed["arm"].isin(drawn)].groupby("arm")[["agreement", facts.metric]].mean()
    rows = [
        (str(arm), [Cell(bare(r["agreement"], d), r["agreement"]), Cell(bare(r[facts.metric], d), r[facts.metric])])
        for arm, r in means.loc[[a for a in facts.arms if a in means.index]].iterrows()
    ]
    columns = [Column("agreement", "Agreement, %, mean"), Column("accuracy", "Test accuracy, %, mean")]
    caption = (
        "A mark a completed trial. To the right: closer to the teacher's predictions; up: closer to the labels. An "
        "arm that rises without moving right learnt something else than its teacher; one that moves right without "
        "rising copies its mistakes too." + not_drawn(facts)
    )
    table = number_table(columns, rows, label="Agreement and accuracy by arm")
    return Plot("agreement", caption, [figures.draw_cloud(shown)], table, key=arm_key(shown))


def _gap_plot(facts: Facts, gap: ArmRows) -> Plot:
    caption = (
        "Share of the way from the baseline (0 %) to the teacher (100 %) that an arm goes, by seed: (arm − baseline) / "
        "(teacher − baseline). Diamond: mean over seeds, bar: its 95 % interval (Student's t), not corrected for the "
        f"number of arms; ring: one seed. {_gap_size(facts)}" + beyond(gap.beyond)
    )
    credible = [row.arm for row in gap.rows if row.low > 0]
    caption += f" Clear of 0 each by itself: {listing(credible)}." if credible else ""
    table = rows_table(facts, gap, lambda value, _: f"{100 * value:.0f}" if math.isfinite(value) else "–")
    return Plot("gap", caption, [figures.draw_gap(gap)], table)


def _gap_size(facts: Facts) -> str:
    if facts.baseline not in facts.scores or not math.isfinite(facts.teacher):
        return ""
    gap = facts.teacher - facts.scores[facts.baseline].mean()
    size = points(gap, max(facts.decimals, 1)).lstrip("+")
    return f"The whole gap is {size} points; the smaller it is, the wider these shares scatter."


def _no_gap(facts: Facts) -> str:
    if math.isfinite(facts.teacher) and facts.baseline in facts.scores:
        if facts.scores[facts.baseline].mean() >= facts.teacher:
            return "The teacher is not better than the baseline, so there is no gap of which a share could be closed."
        return "No share of the gap to the teacher is on record, so that none is drawn."
    return "Without the accuracies of both teacher and baseline there is no gap of which a share could be closed."
