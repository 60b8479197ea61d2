"""The panels of the page, one function each: facts in, panel out. A new one is a function and a line in PANELS."""

from __future__ import annotations

from collections.abc import Callable

from scl.report.blocks import Panel
from scl.report.facts import Facts
from scl.report.panels.compare import forest, pairs, seeds
from scl.report.panels.cost import cost
from scl.report.panels.distilling import distilling
from scl.report.panels.everything import everything
from scl.report.panels.factors import depth, self_taught
from scl.report.panels.ran import ran
from scl.report.panels.search import search, weights
from scl.report.panels.table import table
from scl.report.panels.training import curves, shares
from scl.report.panels.verdict import lead

# The order in which the page is read.
PANELS: tuple[Callable[[Facts], Panel], ...] = (
    lead,
    ran,
    table,
    forest,
    seeds,
    pairs,
    curves,
    shares,
    self_taught,
    depth,
    distilling,
    cost,
    search,
    weights,
    everything,
)
