"""What does accuracy cost? The means of the arms against parameters, multiply-adds, latency, the size of the file or
training time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scl import stats
from scl.report.blocks import Block, Cell, Column, Heading, Panel, Plot
from scl.report.devices import device_table
from scl.report.drawing.arms import MOST_ARMS_DRAWN, beyond, highest, not_drawn
from scl.report.drawing.cloud import Cloud, cloud_key, draw_cloud
from scl.report.facts import Facts
from scl.report.formatting import DASH, capital, count, enumerated, listing, plain
from scl.report.tables import number_cells, number_table, text_cell
from scl.study.metrics import COSTS

PREDICTION = COSTS
TRAINING = {"train_seconds": "training time of one trial, s"}


def panel(facts: Facts) -> Panel:
    shown, title = costs(facts), f"What does {facts.measure.words} cost?"
    devices = device_table(facts)
    measured: list[Block] = [Heading("Latency of one batch on devices"), devices] if devices else []
    if not shown:
        return Panel("cost", title, "This needs at least two arms with results and different costs.", measured)
    first = shown[0]
    front = [arm for arm, on in zip(first.arms, first.front, strict=True) if on]
    better = "above" if facts.measure.sign > 0 else "below"
    answer = "" if first.x_title in PREDICTION.values() else _equal_in_prediction(facts)
    answer += f"By means and {first.x_title.split(',')[0]}, no arm is both cheaper and better than {listing(front)}."
    arms = {arm for cloud in shown for arm in cloud.arms}
    caption = (
        f"A mark for each arm: mean {facts.measure.words} over its seeds against a cost. The stairs are the Pareto "
        "front "
        f"of the means: no arm lies to the left of it and {better} it. The front ignores uncertainty: neighbours on it "
        "may be "
        "equal. "
        + _about_bounds(facts, shown)
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
    columns.append(Column("accuracy", f"{capital(facts.axis)}, mean"))
    if facts.bounds:
        columns.append(Column("breaks", "Breaks a constraint", number=False))
        for arm, mine in cells.items():
            mine.append(text_cell(facts.breaking.get(arm, "no")))
    rows = [(arm, [*mine, *number_cells(facts.unit.number, facts.decimals, means[arm])]) for arm, mine in cells.items()]
    drawn = [draw_cloud(cloud, 320 if len(shown) > 1 else 400) for cloud in shown]
    titles = [cloud.x_title for cloud in shown] if len(shown) > 1 else []
    table = number_table(columns, rows, label=f"Cost and {facts.measure.words} by arm")
    return Panel("cost", title, answer, [Plot("pareto", caption, drawn, table, titles, cloud_key(first)), *measured])


def _equal_in_prediction(facts: Facts) -> str:
    """The costs of a prediction that are known of all arms; they do not differ, because none has a figure."""
    known = [name.split(",")[0] for column, name in PREDICTION.items() if facts.learnt[column].notna().all()]
    if not known:
        return "The store holds no cost of a prediction. "
    return f"All arms have the same {' and '.join(part for part in (', '.join(known[:-1]), known[-1]) if part)}. "


def _about_bounds(facts: Facts, shown: Sequence[Cloud]) -> str:
    """The constraints, and which of the drawn arms break one."""
    if not facts.bounds:
        return ""
    lines = " Dotted line: the constraint." if any(math.isfinite(cloud.bound) for cloud in shown) else ""
    broken = listing(list(facts.breaking))
    kept = f"Breaking it, these cannot win: {broken}" if facts.breaking else "No arm breaks it"
    bounds = enumerated([f"{name} <= {most:.6g}" for name, most in facts.bounds.items()])
    return f"Constraint: {bounds}.{lines} {kept}. "


def _what_costs(facts: Facts, drawn: set[str]) -> str:
    """What the drawn costs are, and where they were measured."""
    out = []
    if PREDICTION["file_bytes"] in drawn:
        out.append("The file is the student's safetensors.")
    if drawn & {PREDICTION["params"], PREDICTION["macs"]}:
        out.append("Parameters and multiply-adds are those of the student alone.")
    if PREDICTION["latency_ms"] in drawn:
        out.append(f"Latency was measured once for each architecture{_measured_on(facts)}.")
    if TRAINING["train_seconds"] in drawn:
        devices = sorted({plain(device) for device in facts.learnt["device"].dropna()})
        where = f", on {', '.join(devices[:4])}; times on different devices do not compare" if len(devices) > 1 else ""
        out.append(f"Training time is a trial's own steps and its share of the teacher's{where}.")
        out.append("That share is smaller in a larger cohort, and in one that reads what an earlier cohort kept.")
    return " ".join(out)


def _measured_on(facts: Facts) -> str:
    """Where latency was measured, and on which images."""
    cpu = (facts.study.get("hardware") or {}).get("cpu")
    data = facts.study.get("data") or {}
    size = f", images of {data['height']} × {data['width']}" if data.get("height") and data.get("width") else ""
    return f", on one thread of {plain(cpu)}{size}" if cpu else size


def costs(facts: Facts) -> tuple[Cloud, ...]:
    """A cloud for each prediction cost that differs between arms, or for the training cost if none does.

    A point for each arm that learnt; of very many, the best and those on a front. The costs are those of the student
    alone, without teacher and connectors.
    """
    means = facts.learnt.groupby("arm")[[*PREDICTION, *TRAINING, facts.metric]].mean()
    means = means.loc[[arm for arm in facts.drawn if arm in means.index]]

    unit = facts.unit

    def clouds(columns: dict[str, str]) -> tuple[Cloud, ...]:
        out = []
        for column, title in columns.items():
            known = means.dropna(subset=[column])
            if known[column].nunique() < 2:
                continue
            if len(known) > MOST_ARMS_DRAWN:
                on = stats.pareto(
                    -known[column].to_numpy(float), facts.measure.sign * known[facts.metric].to_numpy(float)
                )
                known = known[on | known.index.isin(highest(facts, facts.drawn))]
            x, y = known[column].to_numpy(dtype=float), unit.factor * known[facts.metric].to_numpy(dtype=float)
            arms, front = tuple(map(str, known.index)), stats.pareto(-x, facts.measure.sign * y)
            line, bound = unit.factor * facts.teacher, facts.bounds.get(column, math.nan)
            about = (facts.appearance, front, facts.axis, unit.name, bound)
            out.append(Cloud(title, arms, x, y, (None,) * len(x), line, *about))
        return tuple(out)

    return clouds(PREDICTION) or clouds(TRAINING)
