"""The main table of a study for a paper: LaTeX (booktabs), Markdown or CSV, with its caption.

uv run reports/table.py results/ablation                   # LaTeX
uv run reports/table.py results/ablation --format csv --out table.csv
"""

import argparse
import sys
from pathlib import Path

from scl import report, results
from scl.config import UserError
from scl.report import export

FORMATS = {"latex": export.latex, "markdown": export.markdown, "csv": export.comma_separated}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", metavar="STORE", help="folder or URI of a study's results")
    parser.add_argument("--format", choices=list(FORMATS), default="latex", help="default: latex")
    parser.add_argument("--out", metavar="FILE", help="write here (default: the terminal)")
    options = parser.parse_args()
    try:
        text = FORMATS[options.format](report.gather(results.load(options.study)))
        if options.out:
            try:
                Path(options.out).write_text(text, encoding="utf-8")
            except OSError as error:
                raise UserError(f"--out {options.out}: {error.strerror}") from None
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    if not options.out:
        print(text, end="")


if __name__ == "__main__":
    main()
