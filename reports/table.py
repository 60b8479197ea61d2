"""The main table of a study for a paper: LaTeX (booktabs) or Markdown with a caption, or CSV.

uv run reports/table.py results/ablation                   # LaTeX
uv run reports/table.py results/ablation --format csv --out table.csv
"""

import argparse

from scl.cli.exits import Parser, exit_with, write_text
from scl.report import paper_table
from scl.report.results import load
from scl.terminal import show

FORMATS = {name.lower(): make for name, make in paper_table.FORMATS.items()}


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", metavar="STORE", help="folder or URI of the results of a study")
    parser.add_argument("--format", choices=list(FORMATS), default="latex", help="default: latex")
    parser.add_argument("--out", metavar="FILE", help="the file to write (default: the terminal)")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    options = parser.parse_args()
    exit_with(lambda: table(options.study, options.format, options.out, options.force))


def table(place: str, form: str, out: str | None, force: bool = False) -> int:
    text = FORMATS[form](load(place).facts)
    if out:
        write_text(out, text, force)
    else:
        show(text.rstrip("\n"))
    return 0


if __name__ == "__main__":
    main()
