"""Which values suit each method of `claim.py`? One search a method, as long as its number of parameters asks for.

    uv run studies/claim_search.py --scale laptop --data path/to/cifar100 --label fine_label
    uv run studies/claim_search.py --scale laptop --methods kd,dkd          # two methods; may run beside others

The searches run one after another, each as a separate study under `--out`; the same command continues a stopped run.
Each configuration trains at two seeds with a teacher each. Neither seed is one that `claim.py` reports, and neither
teacher has seen the validation images. Every method has TRIALS trials for each of its parameters: KD two, the full
method five. Trials are half as long as those of the study, and successive halving stops the worse ones early.
"""

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING

from scl import Branch, Choice, Float, Search, Study, UserError
from scl.cli.exits import exit_with
from scl.cli.flags import parsed_with
from scl.errors import unknown
from scl.study.space import Range, ranges

if TYPE_CHECKING:
    from studies import claim, headline_search
else:
    import claim  # a script's folder is on the path
    import headline_search

SEED, SEEDS = 900, 2
EPOCHS = {"smoke": 2, "laptop": 8}
TRIALS = {"smoke": 1, "laptop": 12}  # for each parameter
SHARE = Float(0.3, 10.0, log=True)  # of losses of logits: KD's published weights have 9.8 on a narrow plain5
OF_MAPS = Float(0.03, 3.0, log=True)

SPACES: dict[str, dict[str, Range]] = {
    "kd": {"share.kd": SHARE, "kd.temperature": Choice((2.0, 4.0, 8.0))},
    "dist": {"share.dist": SHARE, "dist.temperature": Choice((1.0, 2.0, 4.0))},
    "dkd": {"share.dkd": SHARE, "dkd.beta": Choice((2.0, 6.0, 8.0)), "dkd.temperature": Choice((2.0, 4.0, 8.0))},
    claim.FULL: {
        "share.kd": SHARE,
        "kd.temperature": Choice((2.0, 4.0, 8.0)),
        "share.channel": OF_MAPS,
        "share.spatial": OF_MAPS,
        "self_taught": Branch({k: {"width": width} for k, width in claim.WIDTHS.items() if k}),
    },
}


def search(scale: str, method: str) -> Study:
    space = SPACES[method]
    widths = {} if "self_taught" in space else {"width": claim.WIDTHS[0]}
    return Study(
        name=f"claim_search-{method.replace('+', '-')}",
        question=f"Which values suit “{method}”?",
        base=claim.STUDY.base,
        teacher=claim.STUDY.teacher,
        arms={"baseline": {}},
        scales={scale: headline_search.for_search(claim.STUDY.scales[scale], EPOCHS[scale])},
        teacher_per_seed=True,
        search=Search(
            space=space,
            template={**{n: v for n, v in claim.METHODS[method].items() if n not in ranges(space)}, **widths},
            trials=TRIALS[scale] * len(space),
            winners=0,
            seed=SEED,
            seeds=SEEDS,
            batch=2,
        ),
    )


# Defines the flags; the scale and the methods are known only when the flags have been read.
STUDY = dataclasses.replace(search("smoke", "kd"), scales={name: claim.STUDY.scales[name] for name in EPOCHS})


def main() -> None:
    def work() -> int:
        more = argparse.ArgumentParser(add_help=False)
        more.add_argument("--methods", metavar="A,B", help="only these methods, as in kd,dkd (default: all)")
        options, given = parsed_with(STUDY, sys.argv[0], sys.argv[1:], more)
        scale = options.scale or "smoke"
        if scale not in EPOCHS:
            raise UserError(unknown("scale", scale, EPOCHS))
        methods = list(SPACES) if given["methods"] is None else [name.strip() for name in given["methods"].split(",")]
        if wrong := [unknown("method", name, SPACES) for name in methods if name not in SPACES]:
            raise UserError("; ".join(wrong))
        searches = {method: search(scale, method) for method in SPACES}
        return headline_search.search_each(searches, options, methods, "CHOSEN", "studies/claim.py")

    exit_with(work)


if __name__ == "__main__":
    main()
