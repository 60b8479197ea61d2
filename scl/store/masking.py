"""Keeping passwords out of stored files and messages."""

from __future__ import annotations

import re


def masked(text: str) -> str:
    """The text with the passwords of its URLs replaced by `***`."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)
