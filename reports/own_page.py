"""A page of your own in ten lines: a figure of the library, one of the page's own panels, and your words.

    uv run reports/own_page.py results/ablation own.html

Each figure in scl/report/figures/ is two functions: facts in, numbers out; numbers in, figure out. The numbers are
yours to change in between. `report.plotly_figure(figure)` is the same for a notebook, as a Plotly figure.
"""

import argparse
import sys

from scl import report, results
from scl.exits import guarded, write_out
from scl.report.figures import compare
from scl.report.panels import curves


def own_page(place: str, out: str) -> int:
    study = results.load(place)
    facts = report.gather(study)
    lines = compare.seed_lines(facts)
    figure = compare.draw_seed_lines(lines)
    table = report.frame_table(lines.accuracy.T)
    plot = report.Plot("seeds", "A line a seed; arms by falling mean.", [figure], table)
    mine = report.Panel("mine", "Do seeds agree on the order?", report.verdict(study), [plot])
    write_out(out, report.page("my page", [mine, curves(facts)]))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", metavar="STORE", help="folder or URI of a study's results")
    parser.add_argument("out", metavar="FILE", help="the page to write")
    options = parser.parse_args()
    sys.exit(guarded(lambda: own_page(options.study, options.out)))
