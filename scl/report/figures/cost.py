"""What accuracy costs: the arms' means against parameters, multiply-adds and latency."""

from __future__ import annotations

from scl import stats
from scl.report.facts import Facts
from scl.report.figures.cloud import Cloud, draw_cloud
from scl.report.figures.compare import MOST_ARMS_DRAWN, highest

__all__ = ["PREDICTION", "costs", "draw_cloud"]

PREDICTION = {
    "params": "parameters",
    "macs": "multiply-adds of one image",
    "latency_ms": "latency of one image, ms",
}
TRAINING = {"train_seconds": "training time of one trial, s"}


def costs(facts: Facts) -> tuple[Cloud, ...]:
    """A cloud for each cost of a prediction that differs between arms; the cost of training where none does.

    A point an arm that learnt; of very many the best, and those that stand on a front. Costs are those of the
    student alone: a teacher and connectors are gone by then.
    """
    rows = facts.completed[facts.completed["arm"].isin(facts.drawn)]
    means = rows.groupby("arm")[[*PREDICTION, *TRAINING, facts.metric]].mean()
    means = means.loc[[arm for arm in facts.drawn if arm in means.index]]

    def clouds(columns: dict[str, str]) -> tuple[Cloud, ...]:
        out = []
        for column, title in columns.items():
            known = means.dropna(subset=[column])
            if known[column].nunique() < 2:
                continue
            if len(known) > MOST_ARMS_DRAWN:
                on = stats.pareto(known[column].to_numpy(dtype=float), known[facts.metric].to_numpy(dtype=float))
                known = known[on | known.index.isin(highest(facts, facts.drawn))]
            x, y = known[column].to_numpy(dtype=float), 100 * known[facts.metric].to_numpy(dtype=float)
            arms = tuple(str(arm) for arm in known.index)
            front = stats.pareto(x, y)
            out.append(
                Cloud(title, arms, x, y, (None,) * len(x), 100 * facts.teacher, facts.arms, facts.baseline, front)
            )
        return tuple(out)

    return clouds(PREDICTION) or clouds(TRAINING)
