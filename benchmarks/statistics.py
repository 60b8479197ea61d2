"""How often does the page's rule find a difference that is not there, and how often one that is? By simulation.

    python benchmarks/statistics.py --quick            # 2,000 studies a row, under 2 minutes
    python benchmarks/statistics.py --json FILE        # 20,000 studies a row, under 20 minutes

Each row is a truth about the scatter of the arms. No arm differs from the baseline, so whatever is found is false: the
family-wise error is the share of studies with a false finding, nominally 5 %. `coverage` is the share of single
intervals that hold their true difference. `power` is the share of studies that find an effect which the linear model
finds in 80 %. The figures come from the functions that the page uses, on batches of studies.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from benchmarks.record import parsed, record
from scl import stats
from scl.stats.dunnett import MaxT
from scl.stats.rule import criticals, differences_spread

ARMS = 8
LOOKS = (3, 5, 10)


@dataclass(frozen=True)
class Truth:
    """Accuracies in units of σ, the sd of a typical arm: sd · noise + slope · luck of the seed + luck of its teacher.

    sds, slopes: (arms,), the baseline first. tau: sd of the luck of a seed's teacher, which all arms but the baseline
    share. luck: sd of the seed's luck.
    """

    name: str
    sds: Sequence[float] = (1.0,) * ARMS
    slopes: Sequence[float] | None = None
    tau: float = 0.0
    luck: float = 1.0

    def draw(self, rng: np.random.Generator, studies: int, seeds: int) -> stats.Array:
        """(studies, seeds, arms)."""
        arms = len(self.sds)
        y = rng.standard_normal((studies, seeds, arms)) * np.asarray(self.sds)
        slopes = np.ones(arms) if self.slopes is None else np.asarray(self.slopes)
        y += self.luck * rng.standard_normal((studies, seeds, 1)) * slopes
        y[..., 1:] += self.tau * rng.standard_normal((studies, seeds, 1))
        return y


def sds(baseline: float = 1.0, last: float = 1.0, arms: int = ARMS) -> list[float]:
    return [baseline, *[1.0] * (arms - 2), last]


TRUTHS = (
    Truth("equal variances"),
    Truth("baseline 2 ×", sds(baseline=2)),
    Truth("baseline 5 ×", sds(baseline=5)),
    Truth("one arm 5 ×", sds(last=5)),
    Truth("arms' sds 1 … 5", np.linspace(1, 5, ARMS).tolist()),
    Truth("a teacher per seed, τ = 1 σ", tau=1),
    Truth("a teacher per seed, τ = 2 σ", tau=2),
    Truth("non-additive luck, slopes 0 … 2", slopes=np.linspace(0, 2, ARMS).tolist()),
    Truth("the same, luck 2 σ", slopes=np.linspace(0, 2, ARMS).tolist(), luck=2),
    Truth("30 arms, baseline 2 ×", sds(baseline=2, arms=30)),
    Truth("4 arms, equal variances", sds(arms=4)),
    Truth("4 arms, one arm 5 ×", sds(last=5, arms=4)),
    Truth("15 arms, two of them 5 ×", [*[1.0] * 13, 5, 5]),
)

# A rule: accuracies (studies, seeds, arms) → differences and half widths of their intervals, (studies, arms − 1) each.
Rule = Callable[[stats.Array], tuple[stats.Array, stats.Array]]


def decides(y: stats.Array, level: float = stats.LEVEL) -> tuple[stats.Array, stats.Array]:
    """The rule that decides the verdict."""
    found = differences_spread(y[..., 1:] - y[..., :1])
    return found.mean, criticals(found.df, y.shape[-1] - 1, level)[:, None] * found.se


def model(y: stats.Array) -> tuple[stats.Array, stats.Array]:
    """Dunnett's intervals in the model accuracy ~ arm + seed."""
    _, seeds, arms = y.shape
    residual = y - y.mean(1, keepdims=True) - y.mean(2, keepdims=True) + y.mean((1, 2), keepdims=True)
    df = (arms - 1) * (seeds - 1)
    se = np.sqrt(2 * (residual**2).sum((1, 2)) / df / seeds)
    means = y.mean(1)
    half = MaxT(df, arms - 1).critical() * se
    return means[:, 1:] - means[:, :1], np.repeat(half[:, None], arms - 1, 1)


def holm(y: stats.Array) -> tuple[stats.Array, stats.Array]:
    """Paired t tests with Holm's correction. For the first step of Holm, which decides about the family-wise error."""
    _, seeds, arms = y.shape
    apart = y[..., 1:] - y[..., :1]
    critical = stats.t_critical(seeds - 1, 1 - (1 - stats.LEVEL) / (arms - 1))
    return apart.mean(1), critical * apart.std(1, ddof=1) / math.sqrt(seeds)


RULES: Mapping[str, Rule] = {"rule": decides, "model": model, "paired t, Holm": holm}


def false_findings(rule: Rule, truth: Truth, seeds: int, studies: int, seed: int) -> tuple[float, float]:
    """The family-wise error, and the coverage of single intervals."""
    found, half = rule(truth.draw(np.random.default_rng(seed), studies, seeds))
    outside = np.abs(found) > half
    return float(outside.any(1).mean()), float(1 - outside.mean())


def power(rule: Rule, seeds: int, studies: int, seed: int) -> float:
    """The power for the difference of one arm that the model detects in 80 % of studies, if arms scatter alike."""
    y = TRUTHS[0].draw(np.random.default_rng(seed), studies, seeds)
    y[..., -1] += detected_by_the_model(seeds)
    found, half = rule(y)
    return float((found[:, -1] > half[:, -1]).mean())


def detected_by_the_model(seeds: int) -> float:
    """In σ; by the noncentral t distribution."""
    df = (ARMS - 1) * (seeds - 1)
    critical = MaxT(df, ARMS - 1).critical()
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if special.nctdtr(df, middle, critical) > 1 - stats.POWER else (low, middle)
    return low * math.sqrt(2 / seeds)


def looks(truth: Truth, studies: int, seed: int, planned: Sequence[int]) -> float:
    """The share of studies in which a declared contrast of two equal arms is `shown` at any of three looks."""
    y = truth.draw(np.random.default_rng(seed), studies, LOOKS[-1])
    apart = y[..., 1] - y[..., 0]
    shown = np.zeros(studies, dtype=bool)
    for i, n in enumerate(LOOKS, 1):
        level = stats.level_of_look(LOOKS[:i], planned)
        now = apart[:, :n]
        shown |= np.abs(now.mean(1)) > stats.t_critical(n - 1, level) * now.std(1, ddof=1) / math.sqrt(n)
    return float(shown.mean())


def looks_at_the_verdict(truth: Truth, studies: int, seed: int, planned: Sequence[int]) -> float:
    """The share of studies whose verdict finds a difference at any of three looks."""
    y = truth.draw(np.random.default_rng(seed), studies, LOOKS[-1])
    shown = np.zeros(studies, dtype=bool)
    for i, n in enumerate(LOOKS, 1):
        found, half = decides(y[:, :n], stats.level_of_look(LOOKS[:i], planned))
        shown |= (np.abs(found) > half).any(1)
    return float(shown.mean())


def pairs(truth: Truth, seeds: int, studies: int, seed: int) -> float:
    """The share of studies in which any pair of arms is found to differ, by the page's own table of pairs."""
    y = truth.draw(np.random.default_rng(seed), studies, seeds)
    return float(np.mean([(stats.all_pairs(pd.DataFrame(one)).p < 1 - stats.LEVEL).any() for one in y]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 studies a row instead of 20,000")
    parser.add_argument("--seed", type=int, default=0, help="of the random stream")
    options = parsed(parser)
    studies, seed = 2000 if options.quick else 20_000, options.seed
    began = time.monotonic()
    figures: dict[str, Any] = {}
    for n in LOOKS:
        print(f"\nn = {n}, {studies:,} studies a row{'':19}" + "".join(f"{name:>26}" for name in RULES))
        for truth in TRUTHS:
            row = {name: false_findings(rule, truth, n, studies, seed) for name, rule in RULES.items()}
            figures[f"n = {n}: {truth.name}"] = {k: [round(e, 4), round(c, 4)] for k, (e, c) in row.items()}
            print(f"{truth.name:<48}" + "".join(f"{f'{e:.3f} (coverage {c:.3f})':>26}" for e, c in row.values()))
        row_of_power = {name: power(rule, n, studies, seed) for name, rule in RULES.items()}
        figures[f"n = {n}: power"] = {name: round(p, 4) for name, p in row_of_power.items()}
        print(f"{'power':<48}" + "".join(f"{p:>26.3f}" for p in row_of_power.values()))
        few = max(studies // 10, 200)
        row_of_pairs = {truth.name: pairs(truth, n, few, seed) for truth in (TRUTHS[0], TRUTHS[1], TRUTHS[3])}
        figures[f"n = {n}: any pair"] = row_of_pairs
        print(f"any pair ({few:,} studies): " + ", ".join(f"{name} {e:.3f}" for name, e in row_of_pairs.items()))
    print(f"\nlooks at {', '.join(map(str, LOOKS))} seeds, a false finding at any of them")
    for truth in (TRUTHS[0], TRUTHS[1], TRUTHS[3]):
        for name, planned in (("unplanned", ()), ("planned", LOOKS)):
            declared, verdict = (
                looks(truth, studies, seed, planned),
                looks_at_the_verdict(truth, studies, seed, planned),
            )
            figures[f"looks, {name}: {truth.name}"] = {"declared": declared, "verdict": verdict}
            print(f"{truth.name:<30}{name:<12}declared contrast {declared:.3f}   verdict {verdict:.3f}")
    print(f"\n{time.monotonic() - began:.0f} s")
    record("statistics", figures, options.json, studies)


if __name__ == "__main__":
    main()
