"""Keeping passwords, tokens and keys out of stored files and messages.

Too much is hidden rather than too little: a password may hold any character, so everything between the user's name and
the last `@` is hidden, and so is every value whose name speaks of a secret. A URL without credentials stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from urllib.parse import unquote_plus

HIDDEN = "***"
# What goes before `://`, with the dialects of SQLAlchemy (`postgresql+psycopg`).
SCHEME = r"[A-Za-z][A-Za-z0-9+._-]{0,40}"
# Here the part before `@` is a key or a token. Elsewhere it may be a user's name, and that is no secret.
KEYS_AS_USERS = {"s3", "s3a", "s3n", "gs", "gcs", "hf", "http", "https", "ftp", "ws", "wss"}
# Names of secrets in a URL's query, in an environment and in a connection string.
SECRET = re.compile(
    r"pass(?!ive|enger|age)|pwd|secret|token|cred|auth|jwt|sas\b|^sas|private|signature|^sig$|^code$|session|odbc_connect"
    r"|(?<![a-z])key|(api|access|account|shared|secret|encryption|master|ssl)_?key|key$",
    re.IGNORECASE,
)
# The same outside of a URL, where more words are harmless: `token=…` may be a loss's option.
ASSIGNED = re.compile(
    r"""(\b[\w.-]{0,40}(?:passw(?:or)?d|passphrase|pwd|secret|(?:api|access|account|shared)[_-]?key|sharedaccesssignature"""
    r"""|(?:auth|access|session|security|bearer)[_-]?token)[\w.-]{0,40}["']?\s*[=:]\s*)"""
    r"""('[^'\n]*'|"[^"\n]*"|[^\s,;&'"][^\s,;&]*)""",
    re.IGNORECASE,
)
# A URL whose scheme was forgotten or mistyped (`me:password@host`); a path begins otherwise.
BARE = re.compile(r"((?:\A|=)(?![./~]|[A-Za-z]:\\)[^\s@:=]{0,200}):\S{1,2000}@(?=\S)")
MOST_MARKS = 100  # `?` and `#` that are looked at, since names from files may consist of them
URL = re.compile(rf"({SCHEME})://((?:(?!{SCHEME}://)[^\n])*)")


def masked(text: str) -> str:
    """A text, such as a message, without the credentials of its URLs and of its assignments (`password=…`)."""
    return ASSIGNED.sub(_assigned, URL.sub(lambda found: _without(found[1], found[2], prose=True), text))


def masked_value(value: str) -> str:
    """The same for a value that is one URL or none, as an argument of a command line: its query ends with it."""
    scheme, mark, rest = value.partition("://")
    name = re.search(rf"{SCHEME}\Z", scheme)
    if not mark or name is None:
        return masked(BARE.sub(rf"\1:{HIDDEN}@", value))
    return ASSIGNED.sub(_assigned, scheme[: name.start()] + _without(name[0], rest, prose=False))


def masked_command(words: Iterable[str]) -> str:
    """A command line without credentials, such as those of `--storage`."""
    return " ".join(map(masked_value, words))


def without_values(text: str, values: Iterable[str]) -> str:
    """A message that may repeat some values, such as a command line's, without their credentials."""
    for value in values:
        if (safe := masked_value(value)) != value:
            # A flag may stand before the value (`--storage=URL`), which a message repeats without it.
            for said, instead in ((value, safe), (value.partition("=")[2], safe.partition("=")[2])):
                if "://" in said:
                    text = text.replace(said, instead)
    return masked(text)


def secrets_of(url: str) -> list[str]:
    """The credentials of a database's URL, as SQLAlchemy reads them: a driver's message may repeat them alone."""
    from sqlalchemy.engine import make_url  # Optuna depends on it
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return []
    named = [value for name, value in parsed.query.items() if _secret(name)]
    parts: list[str] = [part for value in named for part in ((value,) if isinstance(value, str) else value)]
    return [part for part in (parsed.password, *parts) if part]


def without_secrets(text: str, url: str) -> str:
    """A message about a database without the credentials of its URL."""
    for secret in sorted(secrets_of(url), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return masked(text)


def _assigned(found: re.Match[str]) -> str:
    return found[1] + (found[2] if found[2].strip("'\"").startswith(HIDDEN) else HIDDEN)


def _without(scheme: str, rest: str, prose: bool) -> str:
    """A URL without credentials. rest: what follows `://`; prose: it may go on behind the URL."""
    address, mark, query = _split(rest)
    if prose and mark:
        query, space, after = _until_space(query)
    else:
        space = after = ""
    # A path of a local file (sqlite:///a@b) has neither user nor host.
    local = address.startswith("/") and scheme.lower().startswith(("sqlite", "file", "duckdb"))
    if "@" in address and not local:
        address = _without_user(scheme, address)
    return f"{scheme}://{address}{mark}{_without_secrets(query)}{space}{masked(after) if after else ''}"


def _split(rest: str) -> tuple[str, str, str]:
    """The address, and the query with its mark. A password may hold `?` and `#` too: an `@` follows those."""
    for mark in islice(re.finditer(r"[?#]", rest), MOST_MARKS):
        before, after = rest[: mark.start()], rest[mark.end() :]
        named = re.match(r"[\w.%-]+=", after) is not None
        port_alone = re.search(r":(?!\d+(/|\Z))", before) is None
        if "@" not in after or (named and ("@" in before or port_alone)):
            return before, mark[0], after
    return rest, "", ""


def _until_space(query: str) -> tuple[str, str, str]:
    found = re.search(r"""["'\s)>]""", query)
    return (query, "", "") if found is None else (query[: found.start()], found[0], query[found.end() :])


def _without_user(scheme: str, address: str) -> str:
    user, _, host = address.rpartition("@")
    name, colon, _ = user.partition(":")
    if KEYS_AS_USERS & set(scheme.lower().split("+")):
        # Without a colon, an `@` behind a slash belongs to a path.
        return f"{HIDDEN}@{host}" if colon or "/" not in user else address
    return f"{name}:{HIDDEN}@{host}" if colon else address


def _without_secrets(query: str) -> str:
    """A query without the values of secrets; its other parameters stay."""
    return "".join(map(_without_secret, re.split(r"([&;#?])", query)))


def _without_secret(part: str) -> str:
    name, sign, value = part.partition("=")
    if not sign or not value:
        return part
    plain = unquote_plus(value)
    inner = masked(plain) != plain or re.search(r"(?i)(pwd|password|key|secret|token)\s*=", plain)
    return f"{name}={HIDDEN}" if _secret(unquote_plus(name)) or inner else part


def _secret(name: str) -> bool:
    return SECRET.search(name) is not None
