"""Optuna's storage of a search: a journal file in the study's folder, or a database. Optuna is imported late."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from scl.errors import Damaged, UserError, first_line, how_to_install
from scl.masking import masked_value, without_secrets
from scl.store.files import Folder, explain, open_folder
from scl.store.lease import check_held
from scl.store.study_file import read_study
from scl.store.tables import read_trials
from scl.study.identity import sha256
from scl.terminal import say

JOURNAL = "optuna.journal"
# SQLite's primary codes for permission, locks, memory, the disk and files that cannot be opened.
REFUSED = (
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH,
)  # fmt: skip
URLS = "sqlite:///PATH in a folder that exists, postgresql+psycopg://USER:PASSWORD@HOST/DB"


def load_optuna() -> Any:
    """The module, quiet. Raises UserError if it is not installed."""
    try:
        import optuna  # noqa: PLC0415
    except ModuleNotFoundError:
        raise UserError("a search needs Optuna, which is not installed: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    # CMA-ES and others learn nothing of constraints; what breaks one is sorted out here.
    warnings.filterwarnings("ignore", message="Constraints have been set, but", category=UserWarning)
    return optuna


def open_study(
    optuna: Any, store: Folder, url: str | None, contradiction: Callable[[Any], str] = lambda study: "", **settings: Any
) -> Any:
    """Create or load a study of Optuna. A storage that is damaged, and is this store's alone, is set aside.

    Args:
        store: the folder that holds the journal and the results of the search.
        url: the database; None for the journal.
        contradiction: how a study contradicts the results; empty if it does not.
        settings: of `optuna.create_study`.

    Raises:
        UserError: the storage cannot be opened, holds this search for results of another store, or is damaged and
            others may use it.
    """
    try:
        return _open_study(optuna, store, url, contradiction, settings)
    except Damaged as damage:
        _set_aside(store, url, str(damage))
    try:
        return _open_study(optuna, store, url, contradiction, settings)
    except Damaged as damage:
        raise UserError(f"{_place(store, url)} is damaged ({damage}) and cannot be moved; move it away") from None


def _open_study(
    optuna: Any, store: Folder, url: str | None, contradiction: Callable[[Any], str], settings: Mapping[str, Any]
) -> Any:
    """Raises as `open_study` does, and Damaged."""
    try:
        storage = _database(optuna, store, url) if url else _journal(optuna, store)
        study = optuna.create_study(storage=storage, load_if_exists=True, **settings)
        known = study.get_trials(deepcopy=False)
    except (UserError, Damaged, MemoryError):
        raise
    except ImportError as error:
        reason = without_secrets(first_line(error.__cause__ or error), url or "")
        raise UserError(
            f"--storage {masked_value(str(url))!r}: the database's driver is not installed ({reason}). For "
            f"postgresql+psycopg, {how_to_install('postgres')}; for another, install its SQLAlchemy driver"
        ) from error
    except Exception as error:
        reason = without_secrets(first_line(error), url or "")
        if url and _file_of(url) and _is_ours(store, url) and not _is_refused(error):
            raise Damaged(f"Optuna cannot read it: {type(error).__name__}: {reason[:200]}") from error
        if url:
            raise UserError(
                f"--storage {masked_value(url)!r}: Optuna cannot open it ({reason}); valid: {URLS}"
            ) from None
        if isinstance(error, OSError):
            raise UserError(f"{store}/{JOURNAL} cannot be opened: {explain(error)}") from error
        raise Damaged(f"Optuna cannot read it: {type(error).__name__}: {reason}") from error
    if problem := contradiction(study):
        if url and (_file_of(url) is None or optuna.get_all_study_names(storage) != [study.study_name]):
            raise UserError(
                f"--storage {masked_value(url)!r}: {problem}, which are in {store}. Name another --storage, or none: "
                f"the search is built anew from the results; or delete {study.study_name!r} in that database"
            )
        raise Damaged(problem)
    owner = study.user_attrs.get("results")
    if url and known and owner != str(store):
        _check_moved(optuna, store, str(owner), f"--storage {masked_value(url)!r}", known)
    if owner != str(store):
        study.set_user_attr("results", str(store))
    return study


def _check_moved(optuna: Any, store: Folder, owner: str, storage: str, known: list[Any]) -> None:
    """Check that this store is the one whose search the database holds, after its folder was moved.

    Its former place must be gone, else two stores would share one search; and every result that Optuna knows must be
    here, else a search would go on from results that are lost.

    Raises:
        UserError: it is another store, or lacks results.
    """
    about = f"{storage}: it holds {len(known)} trials of this search, whose results"
    before = Path(owner)
    if before.exists():
        if store.is_local and before.samefile(store.path):
            return  # another path to the same folder
        raise UserError(
            f"{about} are in {owner}; give the --out of those results, or another storage. If {store} is a copy that "
            f"shall go on in their place, rename {owner} first"
        )
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    ended = {t.user_attrs["trial_id"] for t in known if t.state in states and "trial_id" in t.user_attrs}
    lost = ended - set(read_trials(store)["trial_id"])
    if lost:
        raise UserError(
            f"{about} were in {owner}. That folder is not here, and {store} has {len(ended) - len(lost)} of the "
            f"{len(ended)} results; give the --out to which that folder was moved, or another storage"
        )
    say(f"search: its results have moved from {owner} to {store}")


def _place(store: Folder, url: str | None) -> str:
    return f"--storage {masked_value(url)!r}" if url else f"{store}/{JOURNAL}"


def _set_aside(store: Folder, url: str | None, reason: str) -> None:
    """Move a damaged storage away: the journal to the store's folder `damaged`, a file of SQLite beside itself.

    Raises:
        UserError: a database is not known to be this store's.
    """
    if url is None:
        store.set_aside(JOURNAL, reason)
        if not store.is_local:
            _journal_file(store).unlink(missing_ok=True)
        return
    file = _file_of(url)
    if file is None or not _is_ours(store, url):
        raise UserError(
            f"{_place(store, url)} is damaged ({reason}). Move it away or name another --storage: the search is built "
            "anew from the results"
        )
    moved = f"{file}.damaged-{secrets.token_hex(2)}"
    say(f"damaged: {file} ({reason}); moved to {moved}")
    for suffix in ("", "-journal", "-wal", "-shm"):  # SQLite would take these for parts of the new file
        with suppress(OSError):
            os.replace(f"{file}{suffix}", f"{moved}{suffix}")


def _is_ours(store: Folder, url: str) -> bool:
    """Whether the store's search is in this database, by its record."""
    try:
        return (read_study(store).get("search") or {}).get("storage") == masked_value(url)
    except UserError:
        return False


def _is_refused(error: BaseException | None) -> bool:
    """Whether SQLite or the system refused a file, which says nothing of its content."""
    while error is not None:
        if isinstance(error, OSError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in REFUSED:
            return True
        error = error.__cause__ or error.__context__
    return False


def _file_of(url: str) -> str | None:
    """The file of a URL of SQLite; None for another database."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415

    parsed = make_url(url)
    name = parsed.database or ""
    return name if parsed.get_backend_name() == "sqlite" and name and not name.startswith("file:") else None


def _database(optuna: Any, store: Folder, url: str) -> Any:
    from sqlalchemy.engine import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    shown = masked_value(url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    # An @ behind a slash: the slash belongs to the user's name or the password, and was not written as %2F.
    if parsed is None or ("@" in (parsed.database or "") and parsed.get_backend_name() != "sqlite"):
        raise UserError(
            f"--storage {shown!r}: not a database URL; valid: {URLS}, with a password behind USER and a colon; write "
            "@, :, / and ? in a user's name or password as %40, %3A, %2F and %3F"
        )
    if parsed.get_backend_name() == "sqlite":
        _check_sqlite(parsed.database or "", parsed.query, shown)
        _check_intact(parsed.database or "")
    return optuna.storages.RDBStorage(url)


def _check_sqlite(database: str, query: Mapping[str, Any], shown: str) -> None:
    """Raises UserError if a database of SQLite would be lost with this process, or is no file."""
    if not database or ":memory:" in database or query.get("mode") == "memory" or "mode=memory" in database:
        raise UserError(
            f"--storage {shown!r}: this database is in memory and is lost when the run ends; name a file, as in "
            "sqlite:///search.db, or leave --storage out"
        )
    path = Path(database)
    if path.exists() and not path.is_file():
        raise UserError(
            f"--storage {shown!r}: {database} is not a regular file; name a file, new or of an earlier search"
        )


def _check_intact(database: str) -> None:
    """Raises Damaged if a file of SQLite is damaged. What keeps it from being opened is for Optuna to say."""
    if not os.path.isfile(database) or not os.path.getsize(database):
        return
    try:
        with closing(sqlite3.connect(database)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.OperationalError:
        return
    except sqlite3.DatabaseError as error:
        raise Damaged(str(error)) from None
    if found != "ok":
        raise Damaged(str(found).splitlines()[0])


def _journal(optuna: Any, store: Folder) -> Any:
    if store.is_no_file(JOURNAL):
        raise Damaged("it is a folder or a special file")
    path = _journal_file(store)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not store.is_local and store.exists(JOURNAL):
        path.write_bytes(store.read(JOURNAL))
    mend(path)
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], 1):
        try:
            json.loads(line)
        except (ValueError, RecursionError):
            raise Damaged(f"its line {number} is no JSON") from None
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))


def _journal_file(store: Folder) -> Path:
    """The journal on this machine: in the store, or in a cache if the store is no disk, since no file grows there."""
    if store.is_local:
        return Path(store.path) / JOURNAL
    return Path.home() / ".cache" / "scl" / f"{sha256(str(store))[:16]}-{JOURNAL}"


def copy_journal(store: Folder) -> None:
    """Copy the journal into an object store. On a disk it is in the store already."""
    if not store.is_local:
        check_held(store)
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
