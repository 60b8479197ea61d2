"""The questions of the page, a module each: the numbers that answer it, their drawing, and its panel.

`panel(facts)` makes the panel; its id is the name of the module with hyphens. Numbers are dataclasses of arrays and
frames, in the units of their axes; `draw_…` turns them into a figure, a dict as theme.py describes it. A new question
is a module with a `panel` and a line in PANELS.
"""

from __future__ import annotations

from collections.abc import Callable

from scl.report.blocks import Panel
from scl.report.facts import Facts
from scl.report.questions import (
    against_baseline,
    cost,
    curves,
    depth,
    distilling,
    everything,
    importance,
    loss_shares,
    pairs,
    search,
    seeds,
    self_taught,
    setting,
    table,
    verdict,
)

PANELS: tuple[Callable[[Facts], Panel], ...] = (
    verdict.panel,
    setting.panel,
    table.panel,
    against_baseline.panel,
    seeds.panel,
    pairs.panel,
    curves.panel,
    loss_shares.panel,
    self_taught.panel,
    depth.panel,
    distilling.panel,
    cost.panel,
    search.panel,
    importance.panel,
    everything.panel,
)
