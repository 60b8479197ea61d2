"""The questions of the page, a module each: the numbers that answer it, their drawing, and its panel.

`panel(facts)` makes the panel; its id is the name of the module with hyphens. Numbers are dataclasses of arrays and
frames, in the units of their axes; `draw_…` turns them into a figure, a dict as theme.py describes it. A new question
is a module with a `panel`, named in the order of the page below.
"""

from __future__ import annotations

from collections.abc import Callable

from scl.report.blocks import Panel
from scl.report.facts import Facts
from scl.report.questions import (
    against_baseline,
    confusion,
    cost,
    curves,
    declared,
    depth,
    distilling,
    everything,
    images,
    importance,
    loss_shares,
    pairs,
    recipe,
    search,
    seeds,
    self_taught,
    setting,
    table,
    teachers,
    verdict,
)

_RESULT = (verdict, declared, setting, recipe, table, against_baseline, seeds, teachers, pairs)
_REASONS = (
    curves,
    loss_shares,
    self_taught,
    depth,
    distilling,
    images,
    confusion,
    cost,
    search,
    importance,
    everything,
)
PANELS: tuple[Callable[[Facts], Panel], ...] = tuple(question.panel for question in (*_RESULT, *_REASONS))
