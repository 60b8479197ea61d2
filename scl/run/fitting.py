"""How many trials fit into memory side by side, learnt from cohorts that did not."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from scl.study.config import Config
from scl.study.fields import ARCHITECTURE

T = TypeVar("T")
SIZES = (*(name for name in ARCHITECTURE if name != "model"), "batch_size", "precision", "kernels", "optimizer")


def kind_of(config: Config) -> Hashable:
    """What decides how much memory a trial takes: its network, batch, precision and optimizer, and its losses' names.
    Weights, rates and seeds differ within a kind, as in the trials of a search."""
    return (
        config.model_name,
        config.ema > 0,
        config.patience > 0,
        tuple(getattr(config, name) for name in SIZES),
        tuple(sorted(name for name, term in config.losses.items() if term.weight > 0)),
    )


@dataclass
class Fitting:
    """Bounds of cohorts that hold certain kinds of trials. They can only make cohorts smaller, and change no number: a
    student trained in a cohort is what it is alone.

    most: kinds that ran out of memory together → as many trials of them as may start side by side.
    """

    most: dict[frozenset[Hashable], int] = field(default_factory=dict)

    def learn(self, kinds: Sequence[Hashable]) -> None:
        """Trials of these kinds, one entry for each, ran out of memory side by side. One that does so alone teaches
        nothing: no smaller cohort exists."""
        if len(kinds) > 1:
            half, which = -(-len(kinds) // 2), frozenset(kinds)
            self.most[which] = min(half, self.most.get(which, half))

    def pieces(self, cohort: Sequence[T], kind: Callable[[T], Hashable]) -> list[list[T]]:
        """A cohort, whole or in pieces that fit as far as is known, in its order.

        A bound holds for a cohort that has all of the kinds that ran out of memory together, since one of them alone
        may be what takes the memory.
        """
        if not self.most or not cohort:
            return [list(cohort)] if cohort else []
        kinds = [kind(one) for one in cohort]
        bounds = [(which, most) for which, most in self.most.items() if which <= set(kinds)]
        found: list[list[int]] = [[]]
        for i in range(len(cohort)):
            grown = [*found[-1], i]
            if any(sum(kinds[j] in which for j in grown) > most for which, most in bounds):
                found.append([i])
            else:
                found[-1] = grown
        return [[cohort[i] for i in piece] for piece in found]
