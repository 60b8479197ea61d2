"""The look at a study that a plan would be: what a look is at, and the level of its intervals."""

from __future__ import annotations

from typing import Any

from scl import stats
from scl.errors import UserError
from scl.plan.plan import Plan
from scl.report.looks import counted, seeds_of
from scl.store.study_file import read_study
from scl.study.identity import requested, sha256


def looked_at(plan: Plan) -> str:
    """What a look is at: the baseline's configuration and the data. A study with others does not share its error."""
    return sha256([requested(plan.arms[plan.study.baseline]), plan.context.fingerprint])[:16]


def level_of_plan(plan: Plan) -> tuple[int, float]:
    """The number of the look that this plan would be, and the level of its intervals."""
    try:
        earlier: dict[str, Any] = read_study(plan.context.store)
    except UserError:
        earlier = {}
    now = {"seeds": plan.seeds, "of": looked_at(plan)}
    looks = counted({**earlier, "looks": [*(earlier.get("looks") or []), now]})
    planned = plan.options.looks or earlier.get("planned_looks") or ()
    return len(looks), stats.level_of_look([len(seeds_of(look)) for look in looks], planned)
