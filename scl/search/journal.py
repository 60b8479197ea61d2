"""Optuna's storage of a search: a journal file in the study's folder, or a database. Optuna is imported late."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scl.errors import UserError, first_line, how_to_install
from scl.masking import masked_value, without_secrets
from scl.store.files import Folder, open_folder
from scl.store.tables import read_trials
from scl.study.identity import sha256
from scl.terminal import say

JOURNAL = "optuna.journal"
URLS = "sqlite:///PATH in a folder that exists, postgresql+psycopg://USER:PASSWORD@HOST/DB"


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
        UserError: the storage cannot be opened, or holds this search for results of another store.
    """
    try:
        study = optuna.create_study(
            storage=_database(optuna, url) if url else _journal(optuna, store), load_if_exists=True, **settings
        )
        known = study.get_trials(deepcopy=False)
    except UserError:
        raise
    except ImportError as error:
        reason = without_secrets(first_line(error.__cause__ or error), url or "")
        raise UserError(
            f"--storage {masked_value(str(url))!r}: the database's driver is not installed ({reason}). For "
            f"postgresql+psycopg, {how_to_install('postgres')}; for another, install its SQLAlchemy driver"
        ) from error
    except Exception as error:
        reason = without_secrets(first_line(error), url or "")
        if url:
            raise UserError(
                f"--storage {masked_value(url)!r}: Optuna cannot open it ({reason}); valid: {URLS}"
            ) from None
        raise UserError(
            f"{store}/{JOURNAL}: Optuna cannot read it ({reason}); rename it to start the search anew. Finished trials "
            "are kept, and none is trained twice"
        ) from error
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


def _database(optuna: Any, url: str) -> Any:
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


def _journal(optuna: Any, store: Folder) -> Any:
    path = _journal_file(store)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not store.is_local and store.exists(JOURNAL):
        path.write_bytes(store.read(JOURNAL))
    if path.exists() and not path.is_file():  # reading a pipe may never end
        raise UserError(f"{path}: it is no regular file, so it cannot be the search's journal; remove it")
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
