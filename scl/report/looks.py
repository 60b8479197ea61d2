"""The looks at a study: the analyses that share its error, out of all that study.json records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def counted(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The looks that count for the present seeds, in order; the last one is the present look.

    A look counts once for each set of seeds, and only if it could show a difference: of the same baseline on the same
    data (`of`, which earlier versions did not record), with two seeds or more, some of them the present ones. The pilot
    of Stein's rule is none, because only its spread was used. Merged parts have looks of their own.
    """
    whole = [look for look in study.get("looks") or [] if "part" not in look]
    if not whole:
        return []
    now = whole[-1]
    pilot = set((study.get("stein") or {}).get("pilot_seeds") or ())
    found: dict[frozenset[int], dict[str, Any]] = {}
    for look in whole:
        seeds = seeds_of(look)
        of_another = "of" in look and "of" in now and look["of"] != now["of"]
        if look is now or not (of_another or len(seeds) < 2 or seeds.isdisjoint(seeds_of(now)) or seeds == pilot):
            found.setdefault(seeds, look)
    order = list(found)
    return [found[seeds] for seeds in order[: order.index(seeds_of(now)) + 1]]


def of_other_seeds(study: Mapping[str, Any]) -> list[int]:
    """The seeds of earlier looks that have none of the present seeds. They do not count, but a reader should know."""
    looks = [look for look in study.get("looks") or [] if "part" not in look]
    now = seeds_of(looks[-1]) if looks else frozenset()
    return sorted({seed for look in looks if seeds_of(look).isdisjoint(now) for seed in seeds_of(look)})


def seeds_of(look: Mapping[str, Any]) -> frozenset[int]:
    """The seeds of a look. One that only counts them was at the first ones."""
    seeds = look.get("seeds", 0)
    return frozenset(seeds if isinstance(seeds, list) else range(int(seeds)))
