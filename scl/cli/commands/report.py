"""`scl report`: rebuild a study's page from its store."""

from __future__ import annotations

from argparse import Namespace

from scl.run.summary import report
from scl.store.files import open_folder
from scl.store.locks import locked
from scl.store.study_file import read_study


def run(given: Namespace) -> int:
    store = open_folder(given.place)
    read_study(store)
    with locked(store, command=f"scl report {given.place}"):
        return report(store)
