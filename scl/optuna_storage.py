"""Where Optuna keeps a search's trials: a journal file, or a database. Optuna is imported only when it is needed."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

from scl.config import UserError


def load_optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise UserError("a search needs Optuna, which is not installed: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def database(optuna: Any, url: str) -> Any:
    if not re.match(r"[a-z][a-z0-9+]*://", url):
        raise UserError(
            f"--storage {url!r}: not a database URL; valid: sqlite:///PATH, postgresql+psycopg://USER:PASSWORD@HOST/DB"
        )
    return optuna.storages.RDBStorage(url)


def storage_errors(optuna: Any) -> tuple[type[Exception], ...]:
    """What is raised where the storage itself is at fault."""
    from sqlalchemy.exc import SQLAlchemyError

    return optuna.exceptions.StorageInternalError, SQLAlchemyError


def masked(text: str) -> str:
    """The text with passwords of URLs hidden."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)


def mend(journal: Path) -> None:
    """Make a journal whole whose writer was killed: drop a half-written last line, and the lock it held.

    Only for who holds the study's folder: nobody else writes to it then.
    """
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink(missing_ok=True)
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        partial = journal.with_suffix(".mended")
        partial.write_bytes(whole)
        os.replace(partial, journal)
