"""`scl report`: rebuild a study's page from its store."""

from __future__ import annotations

from argparse import Namespace

from scl.run.summary import report_again
from scl.store.files import open_folder


def run(given: Namespace) -> int:
    return report_again(open_folder(given.place), given.page, given.force, given.no_pictures)
