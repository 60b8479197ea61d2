"""A page of your own in ten lines: a figure of the library, one of the page's own panels, and your words.

    uv run reports/own_page.py results/ablation own.html

Each figure in scl/report/figures/ is two functions: facts in, numbers out; numbers in, figure out. The numbers are
yours to change in between. `report.plotly_figure(figure)` is the same for a notebook, as a Plotly figure.
"""

import sys
from pathlib import Path

from scl import report, results
from scl.report.figures import compare
from scl.report.panels import curves

study = results.load(sys.argv[1])
facts = report.gather(study)
lines = compare.seed_lines(facts)
figure = compare.draw_seed_lines(lines)
table = report.frame_table(lines.accuracy.T)
plot = report.Plot("seeds", "A line a seed; arms by falling mean.", [figure], table)
mine = report.Panel("mine", "Do seeds agree on the order?", report.verdict(study), [plot])
Path(sys.argv[2]).write_text(report.page("my page", [mine, curves(facts)]), encoding="utf-8")
