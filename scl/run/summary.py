"""What a run prints and writes at its end: the page, the main table in short, the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import isnan
from typing import Any

from scl.errors import UserError
from scl.report import render
from scl.report.effort import device_seconds
from scl.report.facts import Facts
from scl.report.findings import level_name, verdict
from scl.report.formatting import PERCENT, Unit, capital, duration, p_value, plural
from scl.report.limits import left_out, on_fewer_seeds
from scl.report.main_table import summary
from scl.report.registered import said as declared
from scl.report.results import read
from scl.run.layout import main_table, wrapped
from scl.search.trials import ARM
from scl.store.files import NOT_ALLOWED, Folder, explain, open_folder
from scl.store.lease import check_held
from scl.store.output import already_there, is_page_of, output_file, signed
from scl.store.study_file import read_study
from scl.streams import console
from scl.study.metrics import DEFAULT, Metric
from scl.terminal import cell, printable, say


def report_again(store: Folder, page: str | None, force: bool = False, no_pictures: bool = False) -> int:
    """Build the page of a store anew, beside a live run too; returns what `report` does.

    Args:
        page: the file to write; then the store is only read. None: `report.html` in the store or, if the store may only
            be read, a file in the present folder.
        force: replace the file `page`, whatever is in it. A page of this store that nobody changed is replaced anyway.
        no_pictures: show no pictures of test images.

    Raises:
        UserError: there is no store, or the page cannot be written.
    """
    read_study(replace(store, reading=True))
    if page is None:
        try:
            return report(store, no_pictures=no_pictures)
        except OSError as error:
            if error.errno not in NOT_ALLOWED:
                raise
        page = f"{store.path.rpartition('/')[2]}-report.html"
        say(f"{store} may only be read, so its page is written here; --page names another file")
    return report(replace(store, reading=True), page, force, no_pictures)


def report(
    store: Folder,
    page: str | None = None,
    force: bool = False,
    no_pictures: bool = False,
    also: Callable[[], None] = lambda: None,
) -> int:
    """Write the page, print the table, the verdict and where the page is; 0 when every trial is completed or pruned,
    else 1.

    Args:
        page: another file than `report.html` in the store.
        no_pictures: as in `report_again`.
        also: prints what else there is to say, before the place of the page.

    Raises:
        UserError: the page cannot be written or, without `force`, is there already and no page of this store.
    """
    results = replace(read(store), without_pictures=no_pictures)
    folder, name = (store, "report.html") if page is None else _page_file(page, results.study, force)
    failed = int((results.plan_states()["state"] == "failed").sum())
    # The page first: it is there even if the terminal is gone.
    try:
        content = signed(render(results), results.study)
    except ModuleNotFoundError as error:
        written = f"no page: {error.name} is not installed. Build it elsewhere with --report-only"
    else:
        try:
            if page is None:
                check_held(store)
            folder.write(name, content)
        except OSError as error:
            if page is None:
                raise
            raise UserError(f"--page {page}: {explain(error)}; name a file that can be written") from error
        written = f"page: {page or f'{store}/{name}'}"
    print_summary(results.facts)
    also()
    if failed:
        say(f"{plural(failed, 'trial')} failed; the page says which and why. The same command runs them again")
    say(written)
    return 1 if failed else 0


def _page_file(page: str, study: Mapping[str, Any], force: bool) -> tuple[Folder, str]:
    """The folder of a page, and its name there. Raises UserError if it may not be written."""
    own = partial(is_page_of, study)
    try:
        if "://" not in page:
            file = output_file(page, force, own)
            return open_folder(file.parent), file.name
        place, _, name = page.rpartition("/")
        folder = open_folder(place)
        if folder.exists(name) and not force and not own(folder.read(name)):
            raise UserError(already_there(page))
        return folder, name
    except OSError as error:
        raise UserError(f"--page {page}: {explain(error)}; name a file that can be written") from error
    except UserError as error:
        raise UserError(f"--page {error}") from None


def print_summary(facts: Facts) -> None:
    """The main table in short, the verdict and the time that training took, on stdout, in the digits of the page, which
    has the rest."""
    out = console()
    head = f"minus {facts.baseline}" if facts.contrasts else "difference"
    if facts.comparison and not isnan(facts.comparison.critical):
        head += f" [simultaneous {level_name(facts)} interval]"
    headings = ["arm", "n", f"{short(facts.measure)} ± sd, {facts.unit.name}", head, "p"]
    rows = [
        row_cells(row, facts.metric, facts.decimals, facts.unit)
        for row in summary(facts).to_dict("records")
        if row["arm"] != ARM  # many configurations under one name
    ]
    out.print(main_table(headings, rows, out.width))
    said = (*declared(facts), verdict(facts), left_out(facts), on_fewer_seeds(facts), time_taken(facts))
    text = printable("\n".join(text for text in said if text))
    out.print(cell(wrapped(text, out.width)))


def time_taken(facts: Facts) -> str:
    """Wall time of the last run that trained, and device time of all trials and of the teachers that were trained."""
    wall, students, teachers = facts.study.get("wall_seconds"), *device_seconds(facts)
    device, whose = students + teachers, ", teachers included" if teachers else ""
    parts = [] if wall is None else [f"Wall time {duration(float(wall))}"]
    if device:
        parts.append(f"device time {duration(device)} ({device / 3600:.2f} device hours) of training steps{whose}")
    return f"{capital(', '.join(parts))}." if parts else ""


def short(measure: Metric) -> str:
    """The metric as the heading of a column in a terminal."""
    return "test acc" if measure.name == DEFAULT else measure.title


def row_cells(row: Mapping[str, Any], metric: str, decimals: int, unit: Unit = PERCENT) -> list[str]:
    """An arm's row of `summary` as text, in the digits of the page."""
    sd = "" if isnan(row[f"{metric}_sd"]) else f" ± {unit.number(row[f'{metric}_sd'], decimals)}"
    low, high = (unit.bound(row[f"difference_{end}"], decimals) for end in ("low", "high"))
    span = "" if isnan(row["difference_low"]) else f" [{low}, {high}]"
    mean = f"{unit.number(row[f'{metric}_mean'], decimals)}{sd}"
    return [row["arm"], str(row["n"]), mean, f"{unit.difference(row['difference'], decimals)}{span}", p_value(row["p"])]
