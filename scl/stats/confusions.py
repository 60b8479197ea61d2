"""Which class is taken for which, and how that differs between two arms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scl.stats.images import class_differences
from scl.stats.intervals import Array
from scl.stats.pairs import holm


def confusion(predicted: Array, labels: Array, classes: int) -> Array:
    """Images of each class (rows) that are taken for each class (columns), mean over seeds: (classes, classes).

    predicted: classes (seeds, images); labels: (images,). What is predicted beyond `classes` counts nowhere.
    """
    known = predicted < classes
    at = (labels.astype(np.int64) * classes + predicted.astype(np.int64))[known]
    return np.bincount(at, minlength=classes * classes).reshape(classes, classes) / len(predicted)


def pair_differences(
    ours: Array, theirs: Array, labels: Array, pairs: Sequence[tuple[int, int]], of: int
) -> pd.DataFrame:
    """How much more often each pair is confused by one arm than by another: a row a pair, in this order.

    ours, theirs: predicted classes (seeds, images), the same seeds. pairs: (class, what it is taken for). of: the
    number of pairs among which these were picked for their differences; Holm's correction is over all of them.

    Columns: `label`, `predicted`, `images` of the class, `ours`, `theirs`, `difference` (shares of the class's images),
    `se` and `p` for other seeds and other images of the class (see `class_differences`), `p_holm`.
    """
    by_class = {
        b: pd.DataFrame(vars(class_differences(ours == b, theirs == b, labels))).set_index("label")
        for b in dict.fromkeys(b for _, b in pairs)
    }
    rows = [{"label": a, "predicted": b, **by_class[b].loc[a].to_dict()} for a, b in pairs]
    columns = ["label", "predicted", "images", "ours", "theirs", "difference", "se", "p"]
    found = pd.DataFrame(rows, columns=columns)
    p = found["p"].to_numpy(float)
    rest = np.ones(max(of - len(p), 0))  # a pair that was not picked has a larger p
    return found.assign(p_holm=holm(np.concatenate([p, rest]))[: len(p)] if len(p) else [])
