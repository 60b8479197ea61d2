"""A custom page in ten lines: a figure of the library, a panel of the study's page, and custom text.

    uv run reports/own_page.py results/ablation own.html

Each module in scl/report/questions/ has functions from facts to numbers and from numbers to a figure, so you can change
the numbers in between. In a notebook, `results.figure("seeds")` gives a panel's figure as a Plotly figure, and
`report.plotly_figure(figure)` converts a changed one.
"""

import argparse

from scl import report
from scl.cli.exits import Parser, exit_with, write_text
from scl.report.questions import curves, seeds


def own_page(place: str, out: str, force: bool = False) -> int:
    results = report.load(place)
    lines = seeds.seed_lines(results.facts)
    figure = seeds.draw_seed_lines(lines)
    table = report.frame_table(lines.accuracy.T)
    plot = report.Plot("seeds", "A line for each seed; the best arm is on top.", [figure], table)
    mine = report.Panel("mine", "Do seeds agree on the order?", results.verdict(), [plot])
    write_text(out, report.page("my page", [mine, curves.panel(results.facts)]), force)
    return 0


if __name__ == "__main__":
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", metavar="STORE", help="folder or URI of the results of a study")
    parser.add_argument("out", metavar="FILE", help="the page to write")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    options = parser.parse_args()
    exit_with(lambda: own_page(options.study, options.out, options.force))
