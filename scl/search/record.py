"""The fields of study.json that describe a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scl.masking import masked_value
from scl.search.driver import SearchDriver
from scl.search.journal import JOURNAL
from scl.search.pruners import settings_of
from scl.search.rebuild import UNTRAINED
from scl.search.trials import stored_space
from scl.study.config import Config
from scl.study.identity import requested, sha256, stored_name
from scl.study.limits import OBJECTIVES
from scl.study.space import point_of


def search_record(driver: SearchDriver, winners: Mapping[str, Config]) -> dict[str, Any]:
    """`winners`: configuration by arm; none while the search runs."""
    search, known = driver.search, driver.configurations
    trials = [] if driver.lost_storage else driver.study.get_trials(deepcopy=False)
    counted = [t for t in trials if t.state.name != "WAITING" and UNTRAINED not in t.user_attrs]
    states = [t.state.name for t in counted]
    by_config = {sha256(requested(c.trials[0].config)): c for c in known.by_key.values()}
    won = {arm: (config, by_config[sha256(requested(config))]) for arm, config in winners.items()}
    pruner = {"name": search.pruner_name, **settings_of(search, driver.template.total_epochs)}
    why = driver.ended_early
    return {
        "search_space": stored_space(search.space),
        "objectives": {o: OBJECTIVES[o] for o in search.objectives},
        "search": {
            "optuna_study": driver.study_name,
            "storage": masked_value(driver.plan.options.storage or JOURNAL),
            "trials": driver.total,
            "seed": search.seed,
            "seeds": search.seeds,
            "winners": search.winners,
            "template": requested(driver.template),
            "sampler": search.sampler,
            "pruner": pruner if search.judged_by else None,
            "constraints": dict(search.constraints) or None,
            "terminator": search.terminator,
            "terminated": why if why and driver.suggested < driver.total else None,
            "states": {state: states.count(state) for state in sorted(set(states))},
            "untrained": len(trials) - len(counted) - sum(t.state.name == "WAITING" for t in trials),
            "repeated": max(0, len(states) - len(known.by_key)),
            "tried": [trial.trial_id for trial in known.in_order()],
        },
        "winners": {
            arm: {
                "number": found.number,
                "trial_id": found.trials[0].trial_id,
                "params": _stored(point_of(config, search.space)),
                "val_acc": known.values(found).get("val_acc"),
                "validation": {o: v for o, v in known.values(found).items() if o in search.objectives},
            }
            for arm, (config, found) in won.items()
        },
    }


def _stored(point: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Parameter values by their stored names."""
    return None if point is None else {stored_name(name): value for name, value in point.items()}
