"""Optuna's samplers by the names of SAMPLERS. Optuna is imported late, by who calls this."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from scl.errors import UserError, how_to_install
from scl.study.identity import stream_seed
from scl.study.search import Search
from scl.study.space import Branch, ranges


def check_installed(search: Search) -> None:
    """Raises UserError if the sampler's library is not installed."""
    if search.sampler == "cmaes" and find_spec("cmaes") is None:
        raise UserError(
            "sampler cmaes needs the package cmaes, which is not installed: pip install cmaes; or, "
            f"{how_to_install('cmaes')}"
        )


def make_sampler(optuna: Any, search: Search, name: str, known: int) -> Any:
    """The sampler of a search.

    Args:
        name: of the search in Optuna's storage.
        known: trials in it. The same command draws the same suggestions; a search that was cut off draws new ones.
    """
    samplers = optuna.samplers
    seed = stream_seed("sampler", name, known) % 2**32
    if search.sampler == "random":
        return samplers.RandomSampler(seed=seed)
    if search.sampler == "qmc":
        # One sequence, which a search that was cut off continues: its place is the number of trials.
        return samplers.QMCSampler(seed=stream_seed("sampler", name) % 2**32, scramble=True)
    if search.sampler == "gp":
        return samplers.GPSampler(seed=seed)
    if search.sampler == "cmaes":
        # It has no choices: those are drawn by TPE. Trials that were pruned count with their last value.
        choices = samplers.TPESampler(seed=seed)
        return samplers.CmaEsSampler(
            seed=seed,
            independent_sampler=choices,
            warn_independent_sampling=False,
            consider_pruned_trials=search.judged_by == "epochs",
        )
    conditional = any(isinstance(range_, Branch) for range_ in ranges(search.space).values())
    return samplers.TPESampler(seed=seed, multivariate=True, group=conditional, constant_liar=True)
