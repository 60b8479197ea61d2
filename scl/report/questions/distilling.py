"""Do students follow their teacher? Agreement with it, the share of its lead that is closed, calibration."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd

from scl.report.blocks import Block, Column, Note, Panel, Plot
from scl.report.drawing.arms import beyond, highest, not_drawn
from scl.report.drawing.cloud import Cloud, cloud_key, draw_cloud
from scl.report.drawing.rows import ArmRows, draw_rows, mean_row, rows_table
from scl.report.facts import Facts
from scl.report.formatting import capital, distance, fixed, listing, name_of, percent, percent_number, signed, size
from scl.report.tables import number_cells, number_table
from scl.report.theme import Figure, axis, both, teacher_line, zero_line

TITLE = "Do students follow their teacher?"
MOST_POINTS = 30  # of an arm in a cloud


def panel(facts: Facts) -> Panel:
    shown = agreement(facts)
    if not len(shown.x):
        return Panel("distilling", TITLE, "The store holds no agreement of a trial with its teacher.")
    answer = "Agreement is the share of test images for which student and teacher predict the same class."
    if math.isfinite(rho := ranks_together(facts)):
        answer += f" Across arms, its rank correlation with accuracy is {signed(rho, 2)}."
    answer += _most_agreeing(facts)
    blocks: list[Block] = [_agreement_plot(facts, shown)]
    gap = gap_closed(facts)
    blocks.append(_gap_plot(facts, gap) if gap.rows else Note(_no_gap(facts)))
    if calibration := _calibration_plot(facts):
        blocks.append(calibration)
    return Panel("distilling", TITLE, answer, blocks)


# Agreement


def agreement(facts: Facts) -> Cloud:
    """A point for each completed trial: agreement with the teacher against accuracy, both in %; arms that learnt."""
    rows = facts.completed[facts.completed["arm"].isin(highest(facts, facts.drawn))].dropna(subset=["agreement"])
    rows = rows.groupby("arm", sort=False).head(MOST_POINTS)
    title, arms, seeds = "agreement with the teacher, %", tuple(rows["arm"]), tuple(map(int, rows["seed"]))
    x, y = 100 * rows["agreement"].to_numpy(), 100 * rows[facts.metric].to_numpy()
    front, line = np.zeros(len(rows), dtype=bool), 100 * facts.teacher
    return Cloud(title, arms, x, y, seeds, line, facts.arms, facts.baseline, front)


def _means(facts: Facts) -> pd.DataFrame:
    """Mean agreement and accuracy of each arm that learnt."""
    return facts.learnt.groupby("arm")[["agreement", facts.metric]].mean()


def ranks_together(facts: Facts) -> float:
    """Spearman's correlation over arms between mean agreement and mean accuracy; NaN with fewer than 4 arms."""
    means = _means(facts).dropna()
    if len(means) < 4 or means.nunique().min() < 2:
        return math.nan
    return float(means["agreement"].rank().corr(means[facts.metric].rank()))


def _most_agreeing(facts: Facts) -> str:
    means = _means(facts)["agreement"].dropna()
    if len(means) < 2 or facts.baseline not in means:
        return ""
    most, d = str(means.idxmax()), facts.decimals
    base = percent(means[facts.baseline], d)
    if most == facts.baseline:
        return f" No arm agrees with the teacher more than the baseline ({base}), which never saw the teacher."
    return (
        f" {name_of(most)} agrees most ({percent(means[most], d)}), {distance(means[most] - means[facts.baseline], d)} "
        f"the baseline ({base}), which never saw the teacher."
    )


def _agreement_plot(facts: Facts, shown: Cloud) -> Plot:
    means = _means(facts).loc[shown.present]
    rows = [(str(arm), number_cells(percent_number, facts.decimals, *values)) for arm, *values in means.itertuples()]
    columns = [Column("agreement", "Agreement, %, mean"), Column("accuracy", "Test accuracy, %, mean")]
    caption = (
        "A mark for each completed trial. Further right: closer to the predictions of the teacher; further up: closer "
        "to the labels. An arm that is higher but not further right learnt something other than its teacher; one that "
        "is further right but not higher also copies the teacher's mistakes." + not_drawn(facts)
    )
    table = number_table(columns, rows, label="Agreement and accuracy by arm")
    return Plot("agreement", caption, [draw_cloud(shown)], table, key=cloud_key(shown))


# The share of the gap that is closed


def gap_closed(facts: Facts) -> ArmRows:
    """The share of the gap between baseline and teacher that an arm closes, in %: mean, Student's interval, seeds.

    By seed: (arm − baseline) / (teacher − baseline), as stored; no value if the gap is not positive. Old stores lack
    the column, so it is computed from the accuracies.
    """
    completed = facts.completed
    if "gap_closed" not in completed or completed["gap_closed"].isna().all():
        completed = completed.assign(gap_closed=_gap(facts))
    rows = _rows(facts, completed, "gap_closed", 100.0, decimals=0)
    return dataclasses.replace(rows, rows=tuple(sorted(rows.rows, key=lambda r: -r.value)))


def _gap(facts: Facts) -> pd.Series:
    rows = facts.completed
    if facts.baseline not in facts.scores:
        return pd.Series(math.nan, index=rows.index)
    base = rows["seed"].map(facts.scores[facts.baseline])
    gap = (rows["teacher_test_acc"] - base).where(lambda g: g > 0)
    return ((rows[facts.metric] - base) / gap).where(rows["arm"] != facts.baseline).astype(float)


def draw_gap(shown: ArmRows) -> Figure:
    marks = both(zero_line("baseline"), teacher_line(100.0, vertical=True))
    return draw_rows(shown, axis("gap to the teacher closed, %"), marks, "%{x:.0f} %", [0.0, 100.0])


def _gap_plot(facts: Facts, gap: ArmRows) -> Plot:
    caption = (
        "Share of the gap from the baseline (0 %) to the teacher (100 %) that an arm closes, by seed: (arm − baseline) "
        "/ (teacher − baseline). Diamond: mean over seeds; bar: its 95 % interval (Student's t), not corrected for the "
        "number of arms; ring: one seed."
    )
    if facts.baseline in facts.scores and math.isfinite(facts.teacher):
        whole = size(facts.teacher - facts.scores[facts.baseline].mean(), max(facts.decimals, 1))
        caption += f" The whole gap is {whole}; the smaller it is, the wider these shares spread."
    caption += beyond(gap.beyond)
    above = [row.arm for row in gap.rows if row.low > 0]
    caption += f" Intervals above 0, each without correction: {listing(above)}." if above else ""
    table = rows_table(gap, lambda value, _: fixed(100 * value, 0))
    return Plot("gap", caption, [draw_gap(gap)], table)


def _no_gap(facts: Facts) -> str:
    if not math.isfinite(facts.teacher) or facts.baseline not in facts.scores:
        return "The gap to the teacher needs the accuracies of both the teacher and the baseline."
    if facts.scores[facts.baseline].mean() >= facts.teacher:
        return "The teacher is not better than the baseline, so there is no gap to close."
    return "The store holds no share of the gap to the teacher."


# Calibration and divergence


def calibration(facts: Facts) -> ArmRows:
    """Expected calibration error on the test set in %, by arm: mean, Student's interval, seeds; lowest first."""
    return _rows(facts, facts.completed, "ece", 100.0, decimals=1)


def divergence(facts: Facts) -> ArmRows:
    """Mean KL(teacher ‖ student) on the test set in nats, by arm; lowest first."""
    return _rows(facts, facts.completed, "teacher_kl", 1.0, decimals=3)


def _rows(facts: Facts, completed: pd.DataFrame, column: str, unit: float, decimals: int) -> ArmRows:
    """A row for each arm with a value of this column, times unit; lowest first."""
    drawn = highest(facts, facts.drawn)
    rows = []
    if column in completed:
        known = completed[completed["arm"].isin(drawn)].dropna(subset=[column]).set_index("seed")
        by_arm = (unit * known[column].astype(float)).groupby(known["arm"], sort=False)
        rows = sorted((mean_row(str(arm), values) for arm, values in by_arm), key=lambda r: r.value)
    return ArmRows(tuple(rows), facts.baseline, decimals, len(facts.drawn) - len(drawn))


def draw_calibration(shown: ArmRows) -> Figure:
    return _draw_from_zero(shown, "calibration error, %", "%")


def draw_divergence(shown: ArmRows) -> Figure:
    return _draw_from_zero(shown, "divergence from the teacher, nats", "nats")


def _draw_from_zero(shown: ArmRows, title: str, unit: str) -> Figure:
    hover = f"%{{x:.{shown.decimals}f}} {unit}"
    return draw_rows(shown, axis(title, rangemode="tozero"), ([], []), hover, [0.0])


_ECE = "expected calibration error on the test set (15 bins), the distance between predicted confidence and accuracy."
_KL = (
    "mean divergence KL(teacher ‖ student) of the predicted probabilities, the difference from the teacher beyond the "
    "predicted class."
)


def _calibration_plot(facts: Facts) -> Plot | None:
    """Calibration error and divergence side by side, as far as the store holds them."""
    possible = (
        ("calibration error", "%", "ece", calibration(facts), draw_calibration, _ECE),
        ("divergence from the teacher", "nats", "kl", divergence(facts), draw_divergence, _KL),
    )
    known = [one for one in possible if one[3].rows]
    if not known:
        return None
    columns, cells = [], {row.arm: [] for row in known[0][3].rows}  # type: ignore[var-annotated]
    for name, unit, key, shown, _, _ in known:
        columns += [Column(f"{key}_{part}", f"{name}, {unit}, {part}") for part in ("mean", "from", "to")]
        by_arm = {row.arm: row for row in shown.rows}
        for arm, mine in cells.items():
            row = by_arm.get(arm)
            values = (row.value, row.low, row.high) if row else (math.nan,) * 3
            mine += number_cells(fixed, shown.decimals, *values)
    places = ("Left: ", "Right: ") if len(known) == 2 else ("",)
    parts = [place + about[5] if place else capital(about[5]) for place, about in zip(places, known, strict=True)]
    caption = (
        f"{' '.join(parts)} Lower is better. Diamond: mean over seeds; bar: its 95 % interval (Student's t); ring: one "
        f"seed. Lowest {known[0][0]}: {name_of(known[0][3].rows[0].arm)}."
    )
    drawn = [draw(shown) for _, _, _, shown, draw, _ in known]
    table = number_table(columns, list(cells.items()), label="Calibration by arm")
    return Plot("calibration", caption, drawn, table, [name for name, *_ in known])
