"""The main table of a study for a paper: LaTeX (booktabs), Markdown or CSV, with a caption.

uv run reports/table.py results/ablation                   # LaTeX
uv run reports/table.py results/ablation --format csv --out table.csv
"""

import argparse

from scl.cli.exits import exit_with, write_text
from scl.report import paper_table
from scl.report.results import load

FORMATS = {name.lower(): make for name, make in paper_table.FORMATS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", metavar="STORE", help="folder or URI of the results of a study")
    parser.add_argument("--format", choices=list(FORMATS), default="latex", help="default: latex")
    parser.add_argument("--out", metavar="FILE", help="the file to write (default: the terminal)")
    options = parser.parse_args()
    exit_with(lambda: table(options.study, options.format, options.out))


def table(place: str, form: str, out: str | None) -> int:
    text = FORMATS[form](load(place).facts)
    if out:
        write_text(out, text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    main()
