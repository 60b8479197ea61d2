"""`scl report`: rebuild a study's page from its store, or write its figures for a paper."""

from __future__ import annotations

from argparse import Namespace

from scl.errors import UserError, unknown
from scl.report.formatting import plural
from scl.report.paper_figures import DRAWN, FORMATS, WIDTHS, drawn, for_paper, saved, texts
from scl.report.questions import PANELS
from scl.report.results import read
from scl.run.summary import report_again
from scl.store.files import Folder, explain, open_folder
from scl.store.output import already_there, output_file
from scl.terminal import say


def run(given: Namespace) -> int:
    if given.figures is None:
        if given.formats or given.width:
            raise UserError("--formats and --width are of the files that --figures DIR writes; add --figures DIR")
        return report_again(open_folder(given.place), given.page, given.force, given.no_pictures)
    if given.page is not None:
        raise UserError("--page and --figures write different things; give one of them at a time")
    formats, width = FORMATS, given.width or "column"
    if given.formats is not None:
        formats = tuple(part.strip() for part in given.formats.split(",") if part.strip())
    for name in [form for form in formats if form not in FORMATS] or ([] if formats else [given.formats]):
        raise UserError(f"--formats: {unknown('format', name, FORMATS)}")
    if width not in WIDTHS:
        raise UserError(f"--width: {unknown('width', width, WIDTHS)}")
    return figures(open_folder(given.place, reading=True), given.figures, formats, width, given.force)


def figures(store: Folder, place: str, formats: tuple[str, ...], width: str, force: bool = False) -> int:
    """Write the figures of a study, their numbers and the main table into a folder; returns 0.

    place: a folder, made if it is not there, or a URI. formats, width: of FORMATS and WIDTHS.

    Raises:
        UserError: there is no store; a file is there already, without `force`; or what draws is not there.
    """
    results = read(store)
    study = str(results.study.get("study") or "study")
    found = saved(study, [panel(results.facts) for panel in PANELS])
    files: dict[str, str | bytes] = dict(texts(results.facts, found, formats))
    images = {f"{one.file}.{form}": one for one in found for form in formats if form in DRAWN}
    folder = _folder(place, [*files, *images], force)
    if images:
        say(f"drawing {plural(len(images), 'file')}")
        files |= drawn({name: for_paper(one, width) for name, one in images.items()})
    try:
        for name, content in files.items():
            folder.write(name, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise UserError(f"--figures {place}: {explain(error)}; name a folder that can be written") from error
    say(f"{plural(len(files), 'file')} in {place}")
    return 0


def _folder(place: str, names: list[str], force: bool) -> Folder:
    """The folder, in which each of these files may be written."""
    try:
        folder = open_folder(place)
        for name in names:
            if folder.is_local:
                output_file(f"{folder.path}/{name}", force)
            elif not force and folder.exists(name):
                raise UserError(already_there(f"{place.rstrip('/')}/{name}"))
    except OSError as error:
        raise UserError(f"--figures {place}: {explain(error)}; name a folder that can be written") from error
    except UserError as error:
        raise UserError(f"--figures {error}") from None
    return folder
