"""Several studies, or several runs of one, on one page: what changed, and how the shared arms differ.

    uv run reports/compare.py results/ablation other/ablation --out compare.html

All others are compared with the first. Differences are tested only between studies with the same teacher, split and
recipe.
"""

import argparse
import os

from scl.cli.exits import Parser, exit_with, write_text
from scl.errors import UserError
from scl.report import comparison
from scl.store.results import load
from scl.streams import name_of
from scl.terminal import say


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", metavar="STORE", help="folder or URI of a study's results, two or more")
    parser.add_argument(
        "--out", default="compare.html", metavar="FILE", help="the page to write (default: compare.html)"
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    options = parser.parse_args()
    exit_with(lambda: compare(options.studies, options.out, options.force))


def compare(paths: list[str], out: str, force: bool = False) -> int:
    if len(paths) < 2:
        raise UserError("name two studies or more, as in: compare.py results/ablation other/ablation")
    page = comparison.render({name: load(path) for name, path in zip(names(paths), paths, strict=True)})
    write_text(out, page, force)
    say(f"page: {out}")
    return 0


def names(paths: list[str]) -> list[str]:
    """The shortest ends of the paths that differ; numbered if whole paths are equal."""
    parts = [os.path.normpath(name_of(path)).split(os.sep) for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        short = ["/".join(p[-length:]) for p in parts]
        if len(set(short)) == len(short):
            return short
    return [f"{'/'.join(p)} ({i})" for i, p in enumerate(parts, 1)]


if __name__ == "__main__":
    main()
