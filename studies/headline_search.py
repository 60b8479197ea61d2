"""Which weights suit each method of `headline.py`? One search a method, with equally many trials, on validation images.

    uv run studies/headline_search.py --scale laptop --data path/to/cifar100 --label fine_label
    uv run studies/headline_search.py --scale laptop --methods kd,dkd           # two methods; may run beside others

The searches run one after another, each as a separate study under `--out`; the same command continues a stopped run.
All train at a seed that `headline.py` never reports, with that seed's teacher, which has not seen the validation images
either. The chosen values are printed, and written to `OUT/headline_weights.txt`, as the literal for `headline.WEIGHTS`.
The first trial of each search has the default weights. Trials are shorter than those of the study: EPOCHS.
"""

import argparse
import dataclasses
import pprint
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scl import Branch, Choice, Float, Scale, Search, Study, UserError
from scl.cli.exits import exit_with
from scl.cli.flags import parsed_with
from scl.cli.main import run_options
from scl.errors import unknown
from scl.store.files import open_folder
from scl.store.results import read_results
from scl.study.options import Options
from scl.study.params import column, params, with_params
from scl.study.space import Range, choices, ranges
from scl.terminal import say, show

if TYPE_CHECKING:
    from studies import headline
else:
    import headline  # a script's folder is on the path

SEED = 900  # no reported trial has it: their seeds are 0 to N − 1
EPOCHS = {"smoke": 2, "laptop": 5, "full": 40}  # of a trial
TRIALS = {"smoke": 2, "laptop": 5, "full": 30}  # of each method's search

RANGES: dict[str, Range] = {
    "ce": Choice((0.1, 1.0)),
    "weight.kd": Float(0.1, 3.0, log=True),
    "kd.temperature": Choice((2.0, 4.0, 8.0)),
    "weight.channel": Float(0.03, 10.0, log=True),
    "weight.spatial": Float(0.03, 10.0, log=True),
    "weight.dkd": Float(0.2, 3.0, log=True),
    "dkd.beta": Choice((2.0, 6.0, 8.0)),
    "weight.dist": Float(0.1, 6.0, log=True),
    "weight.ickd": Float(0.03, 10.0, log=True),
    "weight.pkt": Float(10.0, 100_000.0, log=True),
    "label_smoothing": Float(0.02, 0.4, log=True),
}


def space(scale: str, method: str) -> dict[str, Range]:
    """What a method's search varies: weights, temperatures and the like, and the count of self-taught neurons."""
    changes = headline.methods(headline.SIZES[scale])[method]
    losses = changes.get("losses", {})
    names = [n for n in RANGES if n.removeprefix("weight.") in losses or n.partition(".")[0] in losses or n in changes]
    counts = headline.SIZES[scale].counts
    return {name: RANGES[name] for name in names} | (
        {"self_taught": Choice(counts)} if "self_taught" in changes else {}
    )


def searchable(scale: str) -> list[str]:
    """The methods that have something to search, among those that run at this scale by default."""
    later = headline.SCALES[scale].without
    return [name for name in headline.methods(headline.SIZES[scale]) if space(scale, name) and name not in later]


def sized(scale: str) -> Scale:
    """The scale of `headline.py` for a search."""
    return for_search(headline.STUDY.scales[scale], EPOCHS[scale])


def for_search(scale: Scale, epochs: int) -> Scale:
    """A scale with validation images and shorter trials."""
    return dataclasses.replace(scale, student={**scale.student, "epochs": epochs}, arms=None, without=(), val=0.1)


def search(scale: str, method: str) -> Study:
    size = headline.SIZES[scale]
    template = headline.methods(size)[method]
    if "epochs" in template:
        template = {**template, "epochs": EPOCHS[scale]}
    if "dkd" in template.get("losses", {}):
        term = dataclasses.replace(template["losses"]["dkd"], warmup=max(1, EPOCHS[scale] // 12))
        template = {**template, "losses": {"dkd": term}}
    ranges = space(scale, method)
    base = headline.STUDY.base.replace(**sized(scale).student)
    start = {name: value for name, value in params(with_params(base, template)).items() if name in ranges}
    return Study(
        name="headline_search-" + re.sub("[ +]", "-", method),
        question=f"Which weights suit “{method}”?",
        base=headline.STUDY.base,
        teacher=headline.STUDY.teacher,
        arms={"baseline": {}},
        scales={scale: sized(scale)},
        teacher_per_seed=True,
        search=Search(
            space=ranges, template=template, trials=TRIALS[scale], winners=0, start=(start,), seed=SEED, batch=2
        ),
    )


def chosen(out: str, study: Study) -> dict[str, Any] | None:
    """The values with the highest validation accuracy, then the lowest validation loss, as means over the search's
    seeds; None if no configuration is done."""
    folder = open_folder(out) / study.name
    if study.search is None or not folder.exists("study.json"):
        return None
    names = list(ranges(study.search.space))
    read = read_results(folder)
    rows = read.trials[read.trials["trial_id"].isin(read.study["search"]["tried"])]
    rows = rows[(rows["state"] == "completed") & rows["val_acc"].notna()]
    last = read.epochs.sort_values("epoch").groupby("trial_id")["val_loss"].last()
    rows = rows.assign(val_loss=rows["trial_id"].map(last))
    means = rows.groupby([column(name) for name in names], dropna=False)[["val_acc", "val_loss"]].agg(["mean", "size"])
    means = means[means["val_acc", "size"] == study.search.seeds]
    if means.empty:
        return None
    order = means.sort_values([("val_acc", "mean"), ("val_loss", "mean")], ascending=[False, True])
    best = order.reset_index().iloc[0]
    return {name: _short(range_, best[column(name)].item()) for name, range_ in ranges(study.search.space).items()}


def _short(range_: Range, value: Any) -> Any:
    """As the space has it where the value is chosen from a list; a number of a range has three digits: a few trials
    cannot tell more."""
    if isinstance(range_, (Choice, Branch)):
        return next(choice for choice in choices(range_) if choice == value)
    return float(f"{value:.3g}") if isinstance(value, float) else value


# Defines the flags; the scale and the methods are known only when the flags have been read.
STUDY = dataclasses.replace(search("smoke", "kd"), scales=headline.STUDY.scales)


def more_flags() -> argparse.ArgumentParser:
    """The flags of this script beside those of every study."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--methods", metavar="A,B", help="only these methods, as in kd,dkd (default: all with weights)")
    return more


def main() -> None:
    def work() -> int:
        options, given = parsed_with(STUDY, sys.argv[0], sys.argv[1:], more_flags())
        methods = given["methods"]
        return search_all(options, None if methods is None else [name.strip() for name in methods.split(",")])

    exit_with(work)


def search_all(options: Options, methods: Sequence[str] | None) -> int:
    """Search for each method in turn and print the chosen values; returns the exit code of the first that failed, or 0.

    Raises:
        UserError: a scale or a method does not exist.
    """
    scale = options.scale or "smoke"
    if scale not in headline.STUDY.scales:
        raise UserError(unknown("scale", scale, headline.STUDY.scales))
    wrong = [unknown("method", m, searchable(scale)) for m in methods or () if m not in searchable(scale)]
    if wrong:
        raise UserError("; ".join(wrong))
    searches = {method: search(scale, method) for method in searchable(scale)}
    return search_each(searches, options, methods or searches, f"WEIGHTS[{scale!r}]", "studies/headline.py")


def search_each(
    searches: Mapping[str, Study], options: Options, methods: Iterable[str], literal: str, script: str
) -> int:
    """Run the searches of these methods in turn, then show and write what all searches under `--out` have chosen, as a
    literal for a script; returns the exit code of the first that failed, or 0."""
    for method in methods:
        code = run_options(searches[method], options)
        if code != 0:
            return code
    # Also the values that other runs into the same folder chose: methods may be searched side by side.
    values = {method: chosen(options.out, study) for method, study in searches.items()}
    found = {method: value for method, value in values.items() if value}
    if found and not options.plan:
        text = f"{literal} = {pprint.pformat(found, width=110, sort_dicts=False)}\n"
        show(text)
        file = f"{script.rpartition('/')[2].removesuffix('.py')}_weights.txt"
        open_folder(options.out).write(file, text.encode())
        say(f"weights: {options.out}/{file}; put them into {script}")
    return 0


if __name__ == "__main__":
    main()
