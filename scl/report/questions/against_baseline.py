"""Which arms beat the baseline? The difference of each arm from the baseline, with simultaneous intervals."""

from __future__ import annotations

import math

from scl import stats
from scl.report.blocks import Panel, Plot
from scl.report.drawing.arms import MOST_ARMS_DRAWN, beyond
from scl.report.drawing.rows import ArmRow, ArmRows, by_seed, draw_rows, rows_table
from scl.report.facts import Facts
from scl.report.findings import level_name
from scl.report.formatting import listing
from scl.report.theme import Figure, axis, clipped, zero_line

TITLE = "Which arms beat the baseline?"


def panel(facts: Facts) -> Panel:
    comparison = facts.comparison
    if not facts.contrasts or comparison is None:
        return Panel("against-baseline", TITLE, "No arm could be compared with the baseline.")
    shown = differences(facts)
    caption = (
        f"Difference of {facts.measure.title} from the baseline{_lower_is_better(facts)}. Diamond: mean over the seeds "
        "that both have; ring: difference "
        "on one seed"
    )
    if math.isfinite(comparison.critical):
        caption += (
            f"; bar: simultaneous {level_name(facts)} interval. Its variance is the one pooled over all differences "
            "from the baseline, or the arm's own if that is larger, so that it holds where arms scatter differently "
            f"(Box's degrees of freedom, {comparison.df:.1f}; Dunnett's critical value, {comparison.critical:.2f}). An "
            f"arm whose bar excludes 0 differs significantly from the baseline at {100 * facts.alpha:.2g} %, corrected "
            "for all arms. The shaded band holds true differences too small for this study: its smallest detectable "
            f"effect is about {facts.unit.size(facts.detectable(), max(facts.decimals, 1))} (80 % power)."
        )
        above = [r.arm for r in shown.rows if r.low > 0]
        below = [r.arm for r in shown.rows if r.high < 0]
        parts = [f"above the baseline: {listing(above)}"] if above else []
        parts += [f"below {'it' if above else 'the baseline'}: {listing(below)}"] if below else []
        answer = f"Significantly {'; '.join(parts)}." if parts else "No arm's interval excludes 0."
    else:
        caption += "."
        answer = "The seeds show no spread, so no interval can be computed."
        if max(c.n for c in comparison.contrasts) < 2:
            answer = "No arm shares two seeds with the baseline: these are single differences without intervals."
    if math.isfinite(comparison.critical):
        answer += _pairing(stats.correlation(facts.compared))
    figure, table = draw_differences(shown), rows_table(shown, facts.unit.difference, facts.unit.bound)
    plot = Plot("differences", caption + shown.cut + beyond(shown.beyond), [figure], table)
    return Panel("against-baseline", TITLE, answer, [plot])


def _lower_is_better(facts: Facts) -> str:
    return "" if facts.measure.sign > 0 else "; lower is better"


def _pairing(r: float) -> str:
    if not math.isfinite(r):
        return ""
    if r >= 0.1:
        return f" Seeds affect arms alike (r = {r:.2f}), so pairing narrows the intervals."
    return f" Seeds do not affect arms alike (r = {r:.2f}), so pairing does not narrow the intervals.".replace("-", "−")


def differences(facts: Facts) -> ArmRows:
    """Each arm minus the baseline as it is shown: mean over shared seeds, simultaneous interval, values by seed."""
    contrasts = sorted(facts.contrasts.values(), key=lambda c: -facts.ahead(c.estimate))
    unit = facts.unit.factor
    rows = []
    for c in contrasts[:MOST_ARMS_DRAWN]:
        seeds = by_seed(unit * (facts.compared[c.arm] - facts.compared[facts.baseline]).dropna())
        rows.append(ArmRow(c.arm, unit * c.estimate, unit * c.low, unit * c.high, seeds))
    lower = len(contrasts) - len(rows)
    return ArmRows(
        tuple(rows),
        facts.baseline,
        facts.decimals,
        lower,
        band=unit * facts.detectable(),
        unit=facts.unit,
        ends=facts.possible_gain,
        appearance=facts.appearance,
    )


def draw_differences(shown: ArmRows) -> Figure:
    shapes, notes = zero_line("baseline")
    if math.isfinite(shown.band):
        low, high = (clipped(end, shown.ends) for end in (-shown.band, shown.band))
        ends = {"x0": low, "x1": high, "y0": 0, "y1": 1, "yref": "paper"}
        shapes.insert(0, {"type": "rect", **ends, "fillcolor": "@band", "line": {"width": 0}, "layer": "below"})
    include = [0.0, shown.band, -shown.band]
    hover = f"%{{x:+.{shown.decimals}f}} {shown.unit.many}"
    return draw_rows(shown, axis(f"{shown.unit.many} above the baseline"), (shapes, notes), hover, include)
