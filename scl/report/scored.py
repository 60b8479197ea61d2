"""What the metric of a study needs beyond a column: its chance, and values of trials of earlier versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from scl.store.predictions import LABELS
from scl.store.results import Results
from scl.study.metrics import DEFAULT, METRICS, Chance, Metric, balanced_accuracy, chance, macro_f1

OF_CLASSES = ("balanced_acc", "macro_f1")


def metric_of(study: Mapping[str, Any], trials: pd.DataFrame) -> Metric:
    """The metric that study.json names. Another column of numbers is taken for an accuracy; what is no column of
    numbers, for the default."""
    name = str(study.get("metric"))
    if name in METRICS:
        return METRICS[name]
    if name not in trials.columns or not is_numeric_dtype(trials[name]):
        return METRICS[DEFAULT]
    return replace(METRICS[DEFAULT], name=name, column=name, words=name, learnt_by=name)


def class_counts(results: Results) -> Sequence[float]:
    """The test images of each class. An earlier version recorded none: they are counted in the stored labels, or else
    all classes are taken to be equal. Empty if nothing is known of the classes."""
    counts = (results.study.get("class_counts") or {}).get("test")
    if counts:
        return list(counts)
    labels = results.predictions.get(LABELS)
    if labels is not None and len(labels):
        return [float(n) for n in np.bincount(labels)]
    data = results.study.get("data") or {}
    classes = data.get("classes")
    return [data["test"] / classes if data.get("test") else np.nan] * classes if classes else []


def chance_of(metric: str, results: Results) -> Chance:
    """Chance for a metric on the study's test images."""
    counts = class_counts(results)
    if counts and np.isnan(counts[0]):  # of unknown number
        return replace(chance(metric, [1] * len(counts)), error=np.nan)
    return chance(metric, counts)


def uneven(results: Results) -> bool:
    """Whether the largest class of the test images is half as large again as the mean class, or more."""
    return chance_of(DEFAULT, results).level >= 1.5 * chance_of("balanced_acc", results).level > 0


def with_classes(trials: pd.DataFrame, results: Results, metric: Metric) -> pd.DataFrame:
    """The trials, with balanced accuracy and macro F1 of those that lack them, from the stored predictions.

    Only for a metric that needs them. The teachers' are filled in alike.
    """
    columns = [*OF_CLASSES, *(METRICS[name].teacher for name in OF_CLASSES)]
    done = trials["state"] == "completed"
    if metric.name not in OF_CLASSES or trials.loc[done, columns].notna().all(axis=None):
        return trials
    predicted = results.predictions
    labels = predicted.get(LABELS)
    if labels is None or not len(labels):
        return trials
    known: dict[str, tuple[float, float]] = {}

    def scored(identity: Any) -> tuple[float, float]:
        mine = predicted.get(str(identity))
        if mine is None or len(mine) != len(labels):
            return np.nan, np.nan
        if identity not in known:
            most = int(max(mine.max(), labels.max())) + 1
            of = (labels[mine == labels], labels, mine)
            right, images, named = (np.bincount(each, minlength=most).tolist() for each in of)
            known[identity] = balanced_accuracy(right, images), macro_f1(right, images, named)
        return known[identity]

    filled = trials.copy()
    for ids, names in (("trial_id", OF_CLASSES), ("teacher_id", columns[2:])):
        found = [scored(i) if ok else (np.nan, np.nan) for i, ok in zip(trials[ids], done, strict=True)]
        for k, name in enumerate(names):
            new = pd.Series([pair[k] for pair in found], index=trials.index, dtype=float)
            filled[name] = trials[name].astype(float).fillna(new)
    return filled
