"""Do students follow their teacher? Agreement with it, the share of its lead that is closed, calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scl import stats
from scl.report.appearance import NO_ARMS, Appearance
from scl.report.blocks import Block, Cell, Column, Note, Panel, Plot
from scl.report.drawing.arms import beyond, highest, not_drawn
from scl.report.drawing.cloud import Cloud, cloud_key, draw_cloud
from scl.report.drawing.rows import ArmRow, ArmRows, draw_rows, mean_row
from scl.report.facts import Facts
from scl.report.formatting import (
    capital,
    distance,
    fixed,
    listing,
    name_of,
    percent,
    percent_number,
    plural,
    signed,
)
from scl.report.tables import count_cell, number_cells, number_table
from scl.report.theme import ANY, Ends, Figure, add, axis, both, markers, numbers, teacher_line, zero_line

TITLE = "Do students follow their teacher?"
MOST_POINTS = 30  # of an arm in a cloud
MECHANICAL = 0.9  # the rank correlation from which agreement says hardly more than accuracy


def panel(facts: Facts) -> Panel:
    shown = agreement(facts)
    if not len(shown.x):
        return Panel("distilling", TITLE, "The store holds no agreement of a trial with its teacher.")
    answer = "Agreement is the share of test images for which student and teacher predict the same class."
    answer += _tied_to_accuracy(facts) + _most_agreeing(facts)
    blocks: list[Block] = [_agreement_plot(facts, shown)]
    gap = gap_closed(facts)
    blocks.append(_gap_plot(facts, gap) if gap.shares else Note(_no_gap(facts)))
    if calibration := _calibration_plot(facts):
        blocks.append(calibration)
    return Panel("distilling", TITLE, answer, blocks)


# Agreement


def agreement(facts: Facts) -> Cloud:
    """A point for each completed trial: agreement with the teacher in % against the metric; arms that learnt."""
    rows = facts.learnt[facts.learnt["arm"].isin(highest(facts, facts.drawn))].dropna(subset=["agreement"])
    rows = rows.groupby("arm", sort=False).head(MOST_POINTS)
    title, arms, seeds = "agreement with the teacher, %", tuple(rows["arm"]), tuple(map(int, rows["seed"]))
    unit = facts.unit
    x, y = 100 * rows["agreement"].to_numpy(), unit.factor * rows[facts.metric].to_numpy()
    front, line = np.zeros(len(rows), dtype=bool), unit.factor * facts.teacher
    return Cloud(title, arms, x, y, seeds, line, facts.appearance, front, facts.axis, unit.name)


def _means(facts: Facts) -> pd.DataFrame:
    """Mean agreement and accuracy of each arm that learnt."""
    return facts.learnt.groupby("arm")[["agreement", facts.metric]].mean()


def ranks_together(facts: Facts) -> float:
    """Spearman's correlation over arms between mean agreement and the mean metric; NaN with fewer than 4 arms."""
    means = _means(facts).dropna()
    if len(means) < 4 or means.nunique().min() < 2:
        return math.nan
    return float(means["agreement"].rank().corr(means[facts.metric].rank()))


def _tied_to_accuracy(facts: Facts) -> str:
    """How far agreement can say anything that accuracy does not: only on the images that the teacher gets wrong."""
    d, wrong, rho = max(facts.share_decimals, 1), 1 - facts.teacher, ranks_together(facts)
    bound = ""
    if math.isfinite(wrong) and facts.metric == "test_acc":
        bound = f" It differs from accuracy only by the images that the teacher gets wrong ({percent(wrong, d)})"
    if not math.isfinite(rho):
        return f"{bound}." if bound else ""
    tied = f"its rank correlation with {facts.measure.words} across arms is {signed(rho, 2)}"
    text = f"{bound}; {tied}" if bound else f" {capital(tied)}"
    return f"{text}, which is mechanical." if bound and rho >= MECHANICAL else f"{text}."


def distilled(facts: Facts, arm: str) -> bool | None:
    """Whether a transfer loss guided this arm; None if the store does not say."""
    weights = [column for column in facts.completed if column.startswith("param.weight.")]
    rows = facts.completed.loc[facts.completed["arm"] == arm, weights].apply(pd.to_numeric, errors="coerce")
    if (rows > 0).any(axis=None):
        return True
    config = (facts.study.get("arms") or {}).get(arm)
    if config is None:
        return False if weights and len(rows) else None
    return any(loss.get("weight") != 0 for loss in (config.get("losses") or {}).values())


def _most_agreeing(facts: Facts) -> str:
    means = _means(facts)["agreement"].dropna()
    if len(means) < 2 or facts.baseline not in means:
        return ""
    most, d = str(means.idxmax()), facts.share_decimals
    base = percent(means[facts.baseline], d)
    known = {True: ", which is itself distilled", False: ", which was trained without the teacher"}
    about = known.get(distilled(facts, facts.baseline), "")  # type: ignore[arg-type]
    if most == facts.baseline:
        return f" No arm agrees with the teacher more than the baseline ({base}){about}."
    return (
        f" {name_of(most)} agrees most ({percent(means[most], d)}), {distance(means[most] - means[facts.baseline], d)} "
        f"the baseline ({base}){about}."
    )


def _agreement_plot(facts: Facts, shown: Cloud) -> Plot:
    means = _means(facts).loc[shown.present]
    d = facts.decimals
    rows = [
        (
            str(arm),
            [*number_cells(percent_number, facts.share_decimals, agreed), *number_cells(facts.unit.number, d, value)],
        )
        for arm, agreed, value in means.itertuples()
    ]
    columns = [Column("agreement", "Agreement, %, mean"), Column("accuracy", f"{capital(facts.axis)}, mean")]
    up = "up" if facts.measure.sign > 0 else "down"
    many = int(facts.learnt.groupby("arm").size().max()) > MOST_POINTS
    caption = (
        f"A mark for each completed trial{f' (the first {MOST_POINTS} of an arm)' if many else ''}. Further right: "
        f"closer to the predictions of the teacher; further {up}: closer to the labels. Of two arms at the same "
        "height, "
        "the one further right repeats more of the teacher's mistakes, or corrects fewer."
        + not_drawn(facts)
        + beyond(len(facts.drawn) - len(highest(facts, facts.drawn)))
    )
    table = number_table(columns, rows, label=f"Agreement and {facts.measure.words} by arm")
    return Plot("agreement", caption, [draw_cloud(shown)], table, key=cloud_key(shown))


# The share of the gap that is closed


@dataclass(frozen=True)
class Gap:
    """The share of the gap between baseline and teacher that arms close.

    shares: by arm, the largest first; empty if the teacher is not better in the mean. whole: the gap, teacher −
    baseline by seed. beyond: the number of lower arms that are left out. ends: the least and the most that a share can
    be, if the arm were never right or always, as fractions.
    """

    shares: dict[str, stats.Ratio]
    whole: stats.Mean
    beyond: int
    ends: Ends = ANY
    appearance: Appearance = NO_ARMS


def gap_closed(facts: Facts) -> Gap:
    """Mean of (arm − baseline) / mean of (teacher − baseline), over the seeds that arm and baseline share.

    A seed in which the baseline is above its teacher counts as any other. A mean of ratios by seed would have to leave
    it out, and would favour the seeds with a small gap.
    """
    scores = facts.learnt_scores
    if facts.baseline not in scores:
        return Gap({}, stats.mean_interval([]), 0)
    base, drawn = scores[facts.baseline], highest(facts, facts.drawn)
    teachers = facts.learnt.groupby(["arm", "seed"])[facts.measure.teacher].mean().astype(float)
    whole = stats.mean_interval((teachers[facts.baseline] - base).to_numpy())
    shares = {}
    for arm in drawn if facts.ahead(whole.mean) > 0 else []:
        ratio = stats.ratio_of_means(scores[arm] - base, teachers[arm].reindex(base.index) - base)
        if arm != facts.baseline and math.isfinite(ratio.value):
            shares[arm] = ratio
    ordered = sorted(shares.items(), key=lambda item: -item[1].value)
    ends = ANY
    if facts.is_share and ordered:
        ends = (-float(base.mean()) / whole.mean, (1 - float(base.mean())) / whole.mean)
    return Gap(dict(ordered), whole, len(facts.drawn) - len(drawn), ends, facts.appearance)


def gap_rows(shown: Gap, baseline: str) -> ArmRows:
    """The shares in %."""
    rows = [ArmRow(arm, 100 * r.value, 100 * r.low, 100 * r.high, {}) for arm, r in shown.shares.items()]
    ends = (100 * shown.ends[0], 100 * shown.ends[1])
    return ArmRows(tuple(rows), baseline, 0, shown.beyond, ends=ends, appearance=shown.appearance)


def draw_gap(shown: Gap, baseline: str) -> Figure:
    marks = both(zero_line("baseline"), teacher_line(100.0, vertical=True))
    x = axis("gap to the teacher closed, %")
    return draw_rows(gap_rows(shown, baseline), x, marks, "%{x:.0f} %", [0.0, 100.0])


def _gap_plot(facts: Facts, gap: Gap) -> Plot:
    unit = facts.unit
    d = max(facts.decimals, 1)
    bars = any(math.isfinite(ratio.low) for ratio in gap.shares.values())
    caption = (
        "Share of the gap from the baseline (0 %) to the teacher (100 %) that an arm closes: mean of arm − baseline, "
        "divided by the mean of teacher − baseline, over the seeds that arm and baseline share. Diamond: this share"
    )
    caption += "; bar: its 95 % interval (Fieller's), not corrected for the number of arms. " if bars else ". "
    caption += f"The whole gap is {unit.difference(gap.whole.mean, d)} {unit.many} over {plural(gap.whole.n, 'seed')}"
    if math.isfinite(gap.whole.low):
        caption += f" (95 % interval {unit.interval(gap.whole.low, gap.whole.high, d, signs=True)})"
    caption += "; the smaller it is, the wider these intervals are."
    if any(ratio.n > 1 and not math.isfinite(ratio.low) for ratio in gap.shares.values()):
        caption += (
            " Without a bar: over the seeds of this arm, the gap is not shown to exist, so any share is possible."
        )
    caption += gap_rows(gap, facts.baseline).cut + not_drawn(facts) + beyond(gap.beyond)
    above = [arm for arm, ratio in gap.shares.items() if ratio.low > 0]
    caption += f" Intervals above 0, each without correction: {listing(above)}." if above else ""
    columns = [Column("n", "n", "seeds that the arm and the baseline share"), Column("value", "Gap closed, %")]
    columns += [Column("low", "95 % from", "Fieller's interval"), Column("high", "to", "Fieller's interval")]
    rows = []
    for arm, ratio in gap.shares.items():
        cells = number_cells(percent_number, 0, ratio.value, ratio.low, ratio.high)
        rows.append((arm, [count_cell(ratio.n), *cells]))
    table = number_table(columns, rows, label="Gap closed by arm")
    return Plot("gap", caption, [draw_gap(gap, facts.baseline)], table)


def _no_gap(facts: Facts) -> str:
    whole = gap_closed(facts).whole
    if not whole.n:
        return "The gap to the teacher needs the results of both the teacher and the baseline."
    if facts.ahead(whole.mean) > 0:
        return (
            "No other arm that learnt shares a seed with the baseline, so no share of the gap to the teacher is known."
        )
    apart = facts.unit.distance(whole.mean, max(facts.decimals, 1))
    return f"The teacher is {apart} the baseline over {plural(whole.n, 'seed')}, so there is no gap to close."


# Calibration and divergence


def calibration(facts: Facts) -> ArmRows:
    """Expected calibration error on the test set in %, by arm: mean, Student's interval, seeds; lowest first."""
    return _rows(facts, "ece", 100.0, decimals=1, most=100.0)


def calibration_floors(facts: Facts) -> dict[str, float]:
    """By arm, the mean calibration error in % of a perfectly calibrated network with the same confidences.

    An arm has one if all its trials with a calibration error have; those of earlier versions have none.
    """
    known = facts.learnt.dropna(subset=["ece"]) if "ece" in facts.learnt else facts.learnt.iloc[:0]
    if "ece_floor" not in known:
        return {}
    rows = known[known.groupby("arm")["ece_floor"].transform(lambda floor: floor.notna().all()).astype(bool)]
    return {str(arm): 100 * float(floor) for arm, floor in rows.groupby("arm")["ece_floor"].mean().items()}


def divergence(facts: Facts) -> ArmRows:
    """Mean KL(teacher ‖ student) on the test set in nats, by arm; lowest first."""
    return _rows(facts, "teacher_kl", 1.0, decimals=3)


def _rows(facts: Facts, column: str, unit: float, decimals: int, most: float = math.inf) -> ArmRows:
    """A row for each arm with a value of this column, times unit; lowest first. Values are from 0 to `most`."""
    drawn = highest(facts, facts.drawn)
    rows = []
    if column in facts.learnt:
        known = facts.learnt[facts.learnt["arm"].isin(drawn)].dropna(subset=[column]).set_index("seed")
        by_arm = (unit * known[column].astype(float)).groupby(known["arm"], sort=False)
        rows = sorted((mean_row(str(arm), values, ends=(0, most)) for arm, values in by_arm), key=lambda r: r.value)
    beneath = len(facts.drawn) - len(drawn)
    return ArmRows(tuple(rows), facts.baseline, decimals, beneath, ends=(0.0, most), appearance=facts.appearance)


def draw_calibration(shown: ArmRows, floors: dict[str, float]) -> Figure:
    """floors: by arm, each drawn as a tick; an arm may lack one."""
    drawn = _draw_from_zero(shown, "calibration error, %", "%", list(floors.values()))
    names = shown.appearance.hovers(row.arm for row in shown.rows)
    at = [(i, names[row.arm], floors[row.arm]) for i, row in enumerate(shown.rows) if row.arm in floors]
    if at:
        rows, about, x = zip(*at, strict=True)
        hover = f"%{{customdata}}<br>floor: %{{x:.{shown.decimals}f}} %"
        tick = markers(numbers(x), list(rows), hover, 18, "line-ns", "@teacher", edge=2, customdata=list(about))
        add(drawn, tick | {"arm": [shown.rows[i].arm for i in rows]})
    return drawn


def draw_divergence(shown: ArmRows) -> Figure:
    return _draw_from_zero(shown, "divergence from the teacher, nats", "nats", [])


def _draw_from_zero(shown: ArmRows, title: str, unit: str, others: list[float]) -> Figure:
    hover = f"%{{x:.{shown.decimals}f}} {unit}"
    return draw_rows(shown, axis(title, rangemode="tozero"), ([], []), hover, [0.0, *others])


_KL = (
    "mean divergence KL(teacher ‖ student) of the predicted probabilities, the difference from the teacher beyond the "
    "predicted class; 0 is the teacher itself."
)


def _about_calibration(facts: Facts, shown: ArmRows, floors: dict[str, float]) -> str:
    text = (
        "expected calibration error on the test set (15 bins), the distance between predicted confidence and accuracy."
    )
    images = (facts.study.get("data") or {}).get("test")
    many = f" on {plural(int(images), 'image')}" if images else ""
    if not floors:
        return f"{text} Chance alone makes it larger than 0{many}; how much, the trials of this store do not say."
    text += f" Tick: its floor, the error that chance alone gives a perfectly calibrated network{many}."
    near = [row.arm for row in shown.rows if row.arm in floors and row.low <= floors[row.arm]]
    return f"{text} Not shown to be above the floor: {listing(near)}." if near else text


def _calibration_plot(facts: Facts) -> Plot | None:
    """Calibration error and divergence side by side, as far as the store holds them."""
    error, kl, floors = calibration(facts), divergence(facts), calibration_floors(facts)
    possible = (
        (
            "calibration error",
            "%",
            "ece",
            error,
            draw_calibration(error, floors),
            _about_calibration(facts, error, floors),
        ),
        ("divergence from the teacher", "nats", "kl", kl, draw_divergence(kl), _KL),
    )
    known = [one for one in possible if one[3].rows]
    if not known:
        return None
    columns: list[Column] = []
    cells: dict[str, list[Cell]] = {row.arm: [] for row in (*error.rows, *kl.rows)}
    for name, unit, key, shown, _, _ in known:
        columns += [Column(f"{key}_{part}", f"{name}, {unit}, {part}") for part in ("mean", "from", "to")]
        columns += [Column("ece_floor", f"floor, {unit}, mean")] if key == "ece" else []
        by_arm = {row.arm: row for row in shown.rows}
        for arm, mine in cells.items():
            row = by_arm.get(arm)
            values = (row.value, row.low, row.high) if row else (math.nan,) * 3
            mine += number_cells(fixed, shown.decimals, *values)
            mine += number_cells(fixed, shown.decimals, floors.get(arm, math.nan)) if key == "ece" else []
    places = ("Left: ", "Right: ") if len(known) == 2 else ("",)
    parts = [place + about[5] if place else capital(about[5]) for place, about in zip(places, known, strict=True)]
    bars = any(math.isfinite(row.low) for one in known for row in one[3].rows)
    caption = f"{' '.join(parts)} Diamond: mean over seeds{_BAR if bars else ''}; ring: one seed."
    caption += not_drawn(facts) + beyond(known[0][3].beyond)
    table = number_table(columns, list(cells.items()), label="Calibration by arm")
    return Plot("calibration", caption, [one[4] for one in known], table, [one[0] for one in known])


_BAR = "; bar: its 95 % interval (Student's t), cut at what is possible"
