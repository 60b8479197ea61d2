"""Numbers as they are given: text, read strictly, or a value of Python. For flags, keywords, `--set` and `--fix`.

A text has ASCII digits, as in 12, 0.1 or 1e-3, perhaps with a sign and spaces around it. Python reads more: `1_0`,
digits of other scripts, `nan`, 1e400 as infinity and 1e-400 as 0. Each of these is most likely a slip.
"""

from __future__ import annotations

import math
import re
from typing import Any

from scl.errors import shown
from scl.study.term import as_real, as_whole

MOST_DIGITS = 400  # Python refuses to convert more than 4,300, and no number here has so many
WHOLE = re.compile(rf"\s*[+-]?[0-9]{{1,{MOST_DIGITS}}}\s*", re.ASCII)
REAL = re.compile(rf"\s*[+-]?(?=\.?[0-9])[0-9]{{0,{MOST_DIGITS}}}(\.[0-9]*)?([eE][+-]?[0-9]{{1,9}})?\s*", re.ASCII)


def whole_from(given: Any) -> int:
    """The whole number that a text or a value is. Raises ValueError if it is none, or has more than 64 bits."""
    if isinstance(given, str):
        given = int(given) if WHOLE.fullmatch(given) else given
    whole = as_whole(given)
    if whole is None:
        raise ValueError(f"no whole number: {shown(given)}")
    return whole


def real_from(given: Any) -> float:
    """The finite number that a text or a value is, −0 as 0. Raises ValueError if it is none; a text may also be too
    large or too near 0 for a float."""
    if isinstance(given, str):
        real = float(given) + 0.0 if REAL.fullmatch(given) else None
        if real == 0 and re.search("[1-9]", re.split("[eE]", given)[0]):
            real = None
    else:
        real = as_real(given)
    if real is None or not math.isfinite(real):
        raise ValueError(f"no finite number: {shown(given)}")
    return real
