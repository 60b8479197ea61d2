"""What a study declares before it trains: the differences that answer its question, and arms that cannot win.

A contrast is a question and a weight for each of its arms. The weights sum to 0, so the weighted sum of accuracies is a
difference. It may be written in three forms: two arms, for a − b; two such pairs, for (a − b) − (c − d); or a dict of
arms and weights.

Example:
    contrasts = {
        "Does KD help?": ("kd", "baseline"),
        "Does KD help small networks more?": (("small kd", "small"), ("large kd", "large")),
        "Is KD better than the mean of both?": {"kd": 1, "at": -0.5, "sp": -0.5},
    }
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from scl.errors import UserError, shown, unknown
from scl.study.term import as_real

Weights = dict[str, float]

# The verdict crowns none of these.
ROLES = {
    "control": "an arm that shows where a difference comes from",
    "reference": "an arm to compare with, such as the teacher's network trained alone",
}
LONGEST_QUESTION = 300  # characters
ROUNDING = 1e-9  # of the largest weight: what a sum of thirds may be away from 0
FORMS = 'two arms, as in ("kd", "baseline"); two such pairs, for (a − b) − (c − d); or a dict of arms and weights'


def weights_of(declared: Mapping[str, Any], arms: Collection[str]) -> dict[str, Weights]:
    """Question → arm → weight, from any of the three forms.

    Raises:
        UserError: a question is no text; a contrast has no such form, names an unknown arm, has weights that do not sum
            to 0, or says the same as another one.
    """
    if not isinstance(declared, Mapping):
        raise UserError(f"contrasts must be a dict of questions and arms, got {shown(declared)}")
    found: dict[str, Weights] = {}
    for question, contrast in declared.items():
        _check_question(question)
        try:
            weights = _weights(contrast)
            _check(weights, arms)
        except ValueError as error:
            raise UserError(f"contrast {question!r}: {error}") from None
        twin = next((other for other, known in found.items() if direction(known) == direction(weights)), None)
        if twin is not None:
            raise UserError(f"contrasts {twin!r} and {question!r} compare the same arms in the same way; remove one")
        found[question] = weights
    return found


def checked_roles(roles: Mapping[str, str], arms: Collection[str], baseline: str) -> dict[str, str]:
    """Arm → role. Raises UserError for an unknown arm or role, and if the baseline has one."""
    if not isinstance(roles, Mapping):
        raise UserError(f"roles must be a dict of arms and roles, got {shown(roles)}")
    for arm, role in roles.items():
        if arm not in arms:
            raise UserError(f"roles: {unknown('arm', arm, arms)}")
        if arm == baseline:
            raise UserError(
                f"roles: {arm!r} is the baseline, with which all arms are compared, and cannot win anyway; give it none"
            )
        if not isinstance(role, str) or role not in ROLES:
            meanings = "; ".join(f"{name}: {meaning}" for name, meaning in ROLES.items())
            raise UserError(f"roles, arm {arm!r}: {unknown('role', role, ROLES)} ({meanings})")
    return dict(roles)


def direction(weights: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """What a contrast compares, without its sign and scale: equal for a − b, b − a and 2·a − 2·b."""
    ordered = sorted(weights.items())
    scale = math.copysign(max(abs(w) for w in weights.values()), ordered[0][1])
    return tuple((arm, round(weight / scale, 9)) for arm, weight in ordered)


def _check_question(question: Any) -> None:
    printable = isinstance(question, str) and question.strip() and not any(ord(c) < 32 for c in question)
    if not printable or len(question) > LONGEST_QUESTION:
        raise UserError(
            f"contrasts: a question must be text of 1 to {LONGEST_QUESTION} printable characters, got {shown(question)}"
        )


def _weights(contrast: Any) -> Weights:
    """The weights of a contrast in any form. Raises ValueError."""
    if isinstance(contrast, Mapping):
        return {arm: _weight(arm, weight) for arm, weight in contrast.items()}
    if isinstance(contrast, (tuple, list)) and len(contrast) == 2:
        if all(isinstance(arm, str) for arm in contrast):
            return _difference(*contrast)
        if all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in contrast):
            (a, b), (c, d) = contrast
            names = (a, b, c, d)
            if all(isinstance(arm, str) for arm in names):
                if len(set(names)) < 4:
                    raise ValueError(
                        f"two pairs name four different arms, got {shown(contrast)}; an arm of both pairs cancels or "
                        "counts twice: name two arms, or give weights"
                    )
                return {a: 1.0, b: -1.0, c: -1.0, d: 1.0}
    raise ValueError(f"must be {FORMS}; got {shown(contrast)}")


def _difference(arm: str, other: str) -> Weights:
    if arm == other:
        raise ValueError(f"compares {arm!r} with itself; name two arms")
    return {arm: 1.0, other: -1.0}


def _weight(arm: Any, weight: Any) -> float:
    real = as_real(weight)
    if real is None or not math.isfinite(real) or real == 0:
        raise ValueError(
            f"the weight of {shown(arm)} must be a finite number other than 0, got {shown(weight)}; leave out arms "
            "that do not count"
        )
    return float(real)


def _check(weights: Weights, arms: Collection[str]) -> None:
    wrong = [unknown("arm", arm, arms) for arm in weights if arm not in arms]
    if wrong:
        raise ValueError("; ".join(wrong))
    if len(weights) < 2:
        raise ValueError(f"compares two arms or more, got {shown(weights)}")
    total = math.fsum(weights.values())
    if abs(total) > ROUNDING * max(abs(w) for w in weights.values()):
        raise ValueError(
            f"its weights sum to {total:g} and must sum to 0, so that it is a difference, as in "
            '{"a": 1, "b": -0.5, "c": -0.5}; write a third as 1/3'
        )
