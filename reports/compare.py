"""Several studies, or several runs of one, on one page: what changed, and how the arms that they share differ.

    uv run reports/compare.py results/ablation other/ablation --out compare.html

The first is what all others are compared with. Differences are tested only between studies with the same teacher,
split and recipe.
"""

import argparse
import os
import sys

from scl import results
from scl.config import UserError
from scl.exits import guarded, write_out
from scl.report import between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", metavar="STORE", help="folder or URI of a study's results, two or more")
    parser.add_argument("--out", default="compare.html", metavar="FILE", help="the page (default: compare.html)")
    options = parser.parse_args()
    sys.exit(guarded(lambda: compare(options.studies, options.out)))


def compare(paths: list[str], out: str) -> int:
    if len(paths) < 2:
        raise UserError("name two studies or more, as in: compare.py results/ablation other/ablation")
    page = between.render({name: results.load(path) for name, path in zip(names(paths), paths, strict=True)})
    write_out(out, page)
    print(f"page: {out}", file=sys.stderr)
    return 0


def names(paths: list[str]) -> list[str]:
    """The shortest ends of the paths that tell them apart; numbers where even whole paths are equal."""
    parts = [os.path.normpath(path).split(os.sep) for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        short = ["/".join(p[-length:]) for p in parts]
        if len(set(short)) == len(short):
            return short
    return [f"{'/'.join(p)} ({i})" for i, p in enumerate(parts, 1)]


if __name__ == "__main__":
    main()
