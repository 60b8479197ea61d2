"""The numbers of single test images, once for the panel about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scl import stats
from scl.report.appearance import NO_ARMS, Appearance
from scl.report.drawing.arms import highest
from scl.report.facts import Facts
from scl.report.formatting import plain, plural
from scl.store.predictions import LABELS

MOST_COMPARED = 12  # arms that are compared by class: each one more widens the correction for all


@dataclass(frozen=True)
class PerImage:
    """images: their number. names: of the classes.

    errors: a row for each arm with seeds in common with the baseline, the fields of `stats.ImageDifference`.
    mistakes: a row for each trial: arm, seed, and the fields of `stats.Mistakes`.
    classes: a row for each arm and class: arm, the fields of `stats.ClassDifferences`, and p_holm over all rows.
    beyond: the number of lower arms that are left out. remarks: what the predictions lack, a sentence each. appearance:
    of the arms.
    """

    images: int
    names: Mapping[int, str]
    errors: pd.DataFrame
    mistakes: pd.DataFrame
    classes: pd.DataFrame
    beyond: int
    remarks: tuple[str, ...]
    appearance: Appearance = NO_ARMS


def per_image(facts: Facts) -> PerImage | None:
    """The numbers of the panel; None without predictions of a trial, or without the true classes."""
    predicted = facts.results.predictions
    labels = predicted.get(LABELS)
    arms = highest(facts, facts.drawn)
    rows = facts.learnt[facts.learnt["arm"].isin(arms)]
    usable = [i in predicted and labels is not None and len(predicted[i]) == len(labels) for i in rows["trial_id"]]
    known = rows[usable]
    if labels is None or not len(labels) or known.empty:
        return None
    of_arm = {str(arm): dict(zip(own["seed"], own["trial_id"], strict=True)) for arm, own in known.groupby("arm")}
    base = of_arm.get(facts.baseline, {})
    differences: dict[str, stats.ImageDifference] = {}
    classes: list[pd.DataFrame] = []
    for arm in arms:
        shared = [seed for seed in of_arm.get(arm, {}) if seed in base]
        if arm == facts.baseline or not shared:
            continue
        ours, theirs = (np.stack([predicted[i[seed]] == labels for seed in shared]) for i in (of_arm[arm], base))
        differences[arm] = stats.image_difference(ours, theirs, labels)
        if len(classes) < MOST_COMPARED:
            by_class = stats.class_differences(ours, theirs, labels)
            classes.append(pd.DataFrame(vars(by_class)).assign(arm=arm))
    every = pd.concat(classes, ignore_index=True) if classes else pd.DataFrame()
    if classes:
        every["p_holm"] = stats.holm(every["p"].to_numpy())
    fields = list(stats.ImageDifference.__dataclass_fields__)
    errors = pd.DataFrame([vars(d) for d in differences.values()], index=list(differences), columns=fields)
    own, remarks = _mistakes(facts, known, arms), _remarks(facts, rows, known)
    names, beneath = class_names(facts, labels), len(facts.drawn) - len(arms)
    return PerImage(len(labels), names, errors, own, every, beneath, remarks, facts.appearance)


def _mistakes(facts: Facts, known: pd.DataFrame, arms: list[str]) -> pd.DataFrame:
    predicted = facts.results.predictions
    labels = predicted[LABELS]
    out = []
    for trial in known[["arm", "seed", "trial_id", "teacher_id"]].itertuples():
        teacher = predicted.get(str(trial.teacher_id))
        if teacher is not None and len(teacher) == len(labels):
            found = stats.mistakes(predicted[trial.trial_id], teacher, labels)
            if found.images:
                out.append({"arm": trial.arm, "seed": trial.seed, **vars(found)})
    frame = pd.DataFrame(out, columns=["arm", "seed", "images", "same", "right"])
    return frame.assign(arm=pd.Categorical(frame["arm"], categories=arms)).sort_values(["arm", "seed"])


def class_names(facts: Facts, labels: stats.Array) -> dict[int, str]:
    """The name of each class, with its number if the store has no names or two names are alike."""
    names = [plain(name) for name in facts.study.get("class_names") or []]
    present = [int(i) for i in np.unique(labels)]
    classes = (facts.study.get("data") or {}).get("classes")
    if len(names) != classes or max(present) >= len(names) or len(set(names)) < len(names):
        return {i: f"class {i}" for i in present}
    return {i: f"class {i}" if names[i] == str(i) else names[i] for i in present}


def _remarks(facts: Facts, rows: pd.DataFrame, known: pd.DataFrame) -> tuple[str, ...]:
    """What a reader must know about the predictions: missing ones, and those that give another accuracy."""
    out = []
    if missing := len(rows) - len(known):
        out.append(f"Not in this panel: {plural(missing, 'completed trial')} without usable predictions.")
    predicted = facts.results.predictions
    labels = predicted[LABELS]
    teachers = {str(i) for i in known["teacher_id"].dropna()}
    if unknown := sum(len(predicted.get(i, ())) != len(labels) for i in teachers):
        out.append(f"No predictions of {plural(unknown, 'teacher')} are stored, so its mistakes are unknown.")
    elif teachers and all((predicted[i] == labels).all() for i in teachers):
        out.append("The teacher gets every test image right, so there are no mistakes to follow.")
    right = np.array([(predicted[i] == labels).mean() for i in known["trial_id"]])
    stored = known["test_acc"].to_numpy(dtype=float)
    if other := int((np.abs(right - stored) * len(labels) > 0.5).sum()):
        out.append(
            f"The stored predictions of {plural(other, 'trial')} give another accuracy than the column test_acc. This "
            "panel uses the predictions, all others the column."
        )
    return tuple(out)
