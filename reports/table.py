"""The main table of a study for a paper: LaTeX (booktabs), Markdown or CSV, with its caption.

uv run reports/table.py results/ablation                   # LaTeX
uv run reports/table.py results/ablation --format csv --out table.csv
"""

import argparse
import sys

from scl import report, results
from scl.exits import guarded, write_out
from scl.report import export

FORMATS = {"latex": export.latex, "markdown": export.markdown, "csv": export.comma_separated}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", metavar="STORE", help="folder or URI of a study's results")
    parser.add_argument("--format", choices=list(FORMATS), default="latex", help="default: latex")
    parser.add_argument("--out", metavar="FILE", help="write here (default: the terminal)")
    options = parser.parse_args()
    sys.exit(guarded(lambda: table(options.study, options.format, options.out)))


def table(place: str, form: str, out: str | None) -> int:
    text = FORMATS[form](report.gather(results.load(place)))
    if out:
        write_out(out, text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    main()
