"""What does accuracy cost? The means of the arms against parameters, multiply-adds, latency or training time."""

from __future__ import annotations

import math

from scl import stats
from scl.report.blocks import Cell, Column, Panel, Plot
from scl.report.drawing.arms import MOST_ARMS_DRAWN, beyond, highest, not_drawn
from scl.report.drawing.cloud import Cloud, cloud_key, draw_cloud
from scl.report.facts import Facts
from scl.report.formatting import DASH, count, listing, percent_number, plain
from scl.report.tables import number_cells, number_table

TITLE = "What does accuracy cost?"
PREDICTION = {"params": "parameters", "macs": "multiply-adds for one image", "latency_ms": "latency of one image, ms"}
TRAINING = {"train_seconds": "training time of one trial, s"}


def panel(facts: Facts) -> Panel:
    shown = costs(facts)
    if not shown:
        return Panel("cost", TITLE, "This needs at least two arms with results and different costs.")
    first = shown[0]
    front = [arm for arm, on in zip(first.arms, first.front, strict=True) if on]
    answer = "" if first.x_title in PREDICTION.values() else _equal_in_prediction(facts)
    answer += f"By means and {first.x_title.split(',')[0]}, no arm is both cheaper and better than {listing(front)}."
    arms = {arm for cloud in shown for arm in cloud.arms}
    caption = (
        "A mark for each arm: mean accuracy over its seeds against a cost. The stairs are the Pareto front of the "
        "means: no arm lies to the left of it and above it. The front ignores uncertainty: neighbours on it may be "
        "equal. "
        + _what_costs(facts, {cloud.x_title for cloud in shown})
        + not_drawn(facts)
        + beyond(len(facts.drawn) - len(arms))
    )
    columns, cells = [], {arm: [] for arm in facts.drawn if arm in arms}  # type: ignore[var-annotated]
    for i, cloud in enumerate(shown):
        columns += [Column(f"cost_{i}", cloud.x_title), Column(f"front_{i}", "On the front", number=False)]
        where = {arm: (float(x), bool(on)) for arm, x, on in zip(cloud.arms, cloud.x, cloud.front, strict=True)}
        for arm, mine in cells.items():
            x, on = where.get(arm, (math.nan, None))
            mine += [Cell(f"{x:.3g}" if x < 1000 else count(x), x), Cell(DASH if on is None else "yes" if on else "no")]
    means = facts.learnt_scores.mean()
    columns.append(Column("accuracy", "Test accuracy, %, mean"))
    rows = [(arm, [*mine, *number_cells(percent_number, facts.decimals, means[arm])]) for arm, mine in cells.items()]
    drawn = [draw_cloud(cloud, 320 if len(shown) > 1 else 400) for cloud in shown]
    titles = [cloud.x_title for cloud in shown] if len(shown) > 1 else []
    table = number_table(columns, rows, label="Cost and accuracy by arm")
    return Panel("cost", TITLE, answer, [Plot("pareto", caption, drawn, table, titles, cloud_key(first))])


def _equal_in_prediction(facts: Facts) -> str:
    """The costs of a prediction that are known of all arms; they do not differ, because none has a figure."""
    known = [name.split(",")[0] for column, name in PREDICTION.items() if facts.learnt[column].notna().all()]
    if not known:
        return "The store holds no cost of a prediction. "
    return f"All arms have the same {' and '.join(part for part in (', '.join(known[:-1]), known[-1]) if part)}. "


def _what_costs(facts: Facts, drawn: set[str]) -> str:
    """What the drawn costs are, and where they were measured."""
    out = []
    if drawn & {PREDICTION["params"], PREDICTION["macs"]}:
        out.append("Parameters and multiply-adds are those of the student alone.")
    if PREDICTION["latency_ms"] in drawn:
        out.append("Latency was measured once for each architecture.")
    if TRAINING["train_seconds"] in drawn:
        devices = sorted({plain(device) for device in facts.learnt["device"].dropna()})
        where = f", on {', '.join(devices[:4])}; times on different devices do not compare" if len(devices) > 1 else ""
        out.append(f"Training time is a trial's own steps and its share of the teacher's{where}.")
    return " ".join(out)


def costs(facts: Facts) -> tuple[Cloud, ...]:
    """A cloud for each prediction cost that differs between arms, or for the training cost if none does.

    A point for each arm that learnt; of very many, the best and those on a front. The costs are those of the student
    alone, without teacher and connectors.
    """
    means = facts.learnt.groupby("arm")[[*PREDICTION, *TRAINING, facts.metric]].mean()
    means = means.loc[[arm for arm in facts.drawn if arm in means.index]]

    def clouds(columns: dict[str, str]) -> tuple[Cloud, ...]:
        out = []
        for column, title in columns.items():
            known = means.dropna(subset=[column])
            if known[column].nunique() < 2:
                continue
            if len(known) > MOST_ARMS_DRAWN:
                on = stats.pareto(-known[column].to_numpy(dtype=float), known[facts.metric].to_numpy(dtype=float))
                known = known[on | known.index.isin(highest(facts, facts.drawn))]
            x, y = known[column].to_numpy(dtype=float), 100 * known[facts.metric].to_numpy(dtype=float)
            arms, front = tuple(map(str, known.index)), stats.pareto(-x, y)
            line = 100 * facts.teacher
            out.append(Cloud(title, arms, x, y, (None,) * len(x), line, facts.arms, facts.baseline, front))
        return tuple(out)

    return clouds(PREDICTION) or clouds(TRAINING)
