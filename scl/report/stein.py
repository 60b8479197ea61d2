"""The answer of Stein's two stages: the pair's difference, with the interval whose width was fixed before the pilot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scl.report.formatting import PERCENT, Unit, name_of, plural


def stein_sentence(study: Mapping[str, Any], decimals: int, unit: Unit = PERCENT) -> str:
    """What `--interval` found, in a sentence or two; empty if this run had no such interval.

    Args:
        study: the content of study.json.
        decimals, unit: of a difference.
    """
    found = study.get("stein")
    if not found:
        return ""
    (one, two), d = found["between"], max(decimals, 1)
    low, high = found["low"], found["high"]
    answer = "shown" if low > 0 or high < 0 else "not shown"
    sentence = (
        f"By Stein's two stages, {name_of(one)} minus {name_of(two)} is {unit.gain(found['estimate'], d)}, 95 % "
        f"interval {unit.interval(low, high, d, signs=True)}, over {plural(found['n'], 'seed')}: a difference is "
        f"{answer}. "
        f"The pair and a width of {unit.as_given(found['width'])} were fixed before a pilot of "
        f"{plural(found['pilot'], 'seed')}, which chose the number of seeds. The interval is of "
        "this pair alone and needs no correction."
    )
    cap, wanted = found.get("cap"), found.get("wanted")
    if cap is not None and wanted is not None and wanted > cap:
        sentence += f" The width needs {plural(wanted, 'seed')}; --max-seeds {cap} allowed fewer, so it is wider."
    return sentence
