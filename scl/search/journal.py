"""Optuna's storage of a search: a journal file in the study's folder, or a database. Optuna is imported late."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from scl.errors import UserError, first_line
from scl.store.files import Folder, open_folder
from scl.store.masking import masked
from scl.study.identity import sha256

JOURNAL = "optuna.journal"


def load_optuna() -> Any:
    """The module, quiet. Raises UserError if it is not installed."""
    try:
        import optuna  # noqa: PLC0415
    except ModuleNotFoundError:
        raise UserError("a search needs Optuna, which is not installed: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def open_study(optuna: Any, store: Folder, url: str | None, **settings: Any) -> Any:
    """Create or load a study of Optuna.

    Args:
        store: the folder that holds the journal and the results of the search.
        url: the database; None for the journal.
        settings: of `optuna.create_study`.

    Raises:
        UserError: the storage cannot be opened, or holds this search for results in another folder.
    """
    try:
        study = optuna.create_study(
            storage=_database(optuna, url) if url else _journal(optuna, store), load_if_exists=True, **settings
        )
        known = study.get_trials(deepcopy=False)
    except UserError:
        raise
    except Exception as error:
        reason = masked(first_line(error))
        raise UserError(f"--storage {masked(url or JOURNAL)}: Optuna cannot open it ({reason})") from error
    owner = study.user_attrs.get("results")
    if url and known and owner != str(store):
        raise UserError(
            f"--storage {masked(url)}: it holds {len(known)} trials of this search, whose results are in {owner}; "
            "give the --out of those results, or another storage"
        )
    if owner != str(store):
        study.set_user_attr("results", str(store))
    return study


def _database(optuna: Any, url: str) -> Any:
    if not re.match(r"[a-z][a-z0-9+]*://", url):
        raise UserError(
            f"--storage {url!r}: not a database URL; valid: sqlite:///PATH, postgresql+psycopg://USER:PASSWORD@HOST/DB"
        )
    return optuna.storages.RDBStorage(url)


def _journal(optuna: Any, store: Folder) -> Any:
    path = _journal_file(store)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not store.is_local and store.exists(JOURNAL):
        path.write_bytes(store.read(JOURNAL))
    mend(path)
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))


def _journal_file(store: Folder) -> Path:
    """The journal on this machine: in the store, or in a cache if the store is no disk, since no file grows there."""
    if store.is_local:
        return Path(store.path) / JOURNAL
    return Path.home() / ".cache" / "scl" / f"{sha256(str(store))[:16]}-{JOURNAL}"


def copy_journal(store: Folder) -> None:
    """Copy the journal into an object store. On a disk it is in the store already."""
    if not store.is_local:
        store.write(JOURNAL, _journal_file(store).read_bytes())


def mend(journal: Path) -> None:
    """Repair a journal whose writer was killed: remove an incomplete last line, and the writer's lock.

    Only for the holder of the study's lock: nobody else writes to the journal then.
    """
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink(missing_ok=True)
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        open_folder(journal.parent).write(journal.name, whole)


def storage_errors(optuna: Any) -> tuple[type[Exception], ...]:
    """The errors that mean that the storage failed, and not the search."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    return optuna.exceptions.StorageInternalError, SQLAlchemyError, OSError
