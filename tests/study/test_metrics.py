"""Metrics of a study: formulas against scikit-learn, chance against rules that never look at an image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, top_k_accuracy_score

from scl.errors import UserError
from scl.store.columns import ACCURACIES
from scl.store.schema import EPOCHS, TRIALS
from scl.study import checks
from scl.study.metrics import COSTS, METRICS, balanced_accuracy, chance, macro_f1
from scl.study.study import Study

# Labels with very unequal classes; class 3 is absent from them.
LABELS = np.repeat([0, 1, 2, 4, 5, 6], [500, 60, 20, 10, 7, 3])


def counts(of: np.ndarray, classes: int = 8) -> list[int]:
    return [int(n) for n in np.bincount(of, minlength=classes)]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_metrics_by_class_are_those_of_scikit_learn(share: float) -> None:
    rng = np.random.default_rng(0)
    predicted = np.where(rng.random(len(LABELS)) < share, LABELS, rng.integers(0, 8, len(LABELS)))
    right = counts(LABELS[predicted == LABELS])
    assert balanced_accuracy(right, counts(LABELS)) == pytest.approx(balanced_accuracy_score(LABELS, predicted))
    found = macro_f1(right, counts(LABELS), counts(predicted))
    assert found == pytest.approx(f1_score(LABELS, predicted, average="macro", zero_division=0))


def test_nothing_is_known_without_images() -> None:
    assert math.isnan(balanced_accuracy([0, 0], [0, 0]))
    assert math.isnan(macro_f1([0, 0], [0, 0], [0, 0]))


def test_chance_is_what_the_largest_class_gives() -> None:
    named, present = np.zeros_like(LABELS), np.unique(LABELS)
    shares = np.array([(i == LABELS).mean() for i in present])
    rows = np.tile(shares, (len(LABELS), 1))
    at = {name: chance(name, counts(LABELS)).level for name in METRICS}
    assert at == pytest.approx({
        "test_acc": accuracy_score(LABELS, named),
        "balanced_acc": balanced_accuracy_score(LABELS, named),
        "macro_f1": f1_score(LABELS, named, average="macro", zero_division=0),
        "test_acc5": top_k_accuracy_score(LABELS, rows, k=5, labels=present),
        "test_loss": log_loss(LABELS, rows, labels=present),
    })  # fmt: skip
    assert chance("test_acc", [50] * 4).level == chance("balanced_acc", [50] * 4).level == 0.25
    assert chance("test_acc", [50] * 4).error == pytest.approx(chance("balanced_acc", [50] * 4).error)
    assert chance("test_acc", []).level == 0


def test_every_metric_has_its_columns() -> None:
    for metric in METRICS.values():
        assert {metric.column, metric.validation, metric.teacher, metric.learnt_by} <= set(TRIALS.names), metric
        assert metric.validation in EPOCHS.names
        shares = {metric.column, metric.validation, metric.teacher}
        assert (metric.unit == "%") == (shares <= set(ACCURACIES)), metric
        assert (metric.direction, metric.sign) in (("max", 1), ("min", -1))
    assert set(COSTS) <= set(TRIALS.names)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("latency_ms=5,params=1e6", {"latency_ms": 5.0, "params": 1e6}),
        (["latency_ms=5", "macs=2e6"], {"latency_ms": 5.0, "macs": 2e6}),
        ({"file_bytes": 1000}, {"file_bytes": 1000.0}),
        ({}, {}),
    ],
)
def test_bounds_of_costs(given: object, found: dict[str, float]) -> None:
    assert checks.at_most(given) == found


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("latency=5", "latency_ms"),
        ("latency_ms=0", "above 0"),
        ("latency_ms=nan", "finite"),
        ("latency_ms=fast", "finite"),
        ("latency_ms", "NAME=VALUE"),
        ({"params": True}, "finite"),
        ({"params": None}, "finite"),
    ],
)
def test_bounds_that_are_refused(given: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        checks.at_most(given)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"metric": "accuracy"}, "unknown metric 'accuracy'.*balanced_acc"),
        ({"metric": None}, "metric must be the name of a metric"),
        ({"constraints": {"watts": 3}}, "unknown cost 'watts'.*latency_ms"),
        ({"constraints": {"params": -1}}, "params must be a finite number, above 0"),
        ({"constraints": 5}, "constraints must be a dict"),
    ],
)
def test_studies_that_are_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        Study(name="s", question="?", arms={"baseline": {}}, **fields)  # type: ignore[arg-type]
